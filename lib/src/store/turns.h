// One operator's program at a time, and whom it waits for: a wait in vain names the session, or the
// prepared transaction, that holds the lock, with the command that ends it.
#pragma once

#include <functional>
#include <string_view>

#include "sql/connection.h"

namespace outseal::store {

/// Makes the programs of operators take turns, from here to the end of the transaction: on
/// PostgreSQL by a row of outseal.turn, which nobody but their roles may lock. On SQLite the write
/// lock does that already.
/// @throws Error{conflict} naming who holds it, if it was held for longer than the transaction
///         waits for locks.
void take_turns(sql::Connection& connection);

/// The same for those who change the schema, by the table that notes its migrations.
void take_turns_migrating(sql::Connection& connection);

/// Keeps everybody else off the outbox, readers as well, up to the end of the transaction. Nothing
/// on SQLite.
/// @throws Error{conflict} as take_turns(). Error{denied} unless the user owns it.
void lock_outbox(sql::Connection& connection);

/// Runs `body`, whose statements take ACCESS EXCLUSIVE locks of outseal's tables, as DROP does.
/// @throws Error{conflict} as take_turns().
void wait_for_tables(sql::Connection& connection, const std::function<void()>& body);

/// Runs `body`, which does what none of outseal's roles may.
/// @throws Error{denied} of `operation`, saying so, if the user is not the schema's owner.
void as_owner(std::string_view operation, const std::function<void()>& body);

}  // namespace outseal::store
