// The transactions that outseal begins on a service's session: what they are known by, and the
// savepoint that a handler runs behind.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "sql/connection.h"
#include "sql/text.h"

namespace outseal::sql {

// --- Begin and end (PostgreSQL) ------------------------------------------------------------------

const Text& begin_text(Isolation isolation);
extern const Text kCommit;

// --- Identity (PostgreSQL) -----------------------------------------------------------------------

/// The statement that asks for the number of the transaction at hand, to travel with its BEGIN; and
/// its answer.
Statement& current_transaction(Connection& connection);
std::string read_identity(Statement& current);

/// The statement that fails in any transaction but this one, bound.
Statement& prove_transaction(Connection& connection, std::string_view identity);

struct TransactionFate {
  bool is_at_hand = false;
  /// What has become of it if it is not.
  OwnTransaction::State state = OwnTransaction::State::in_doubt;
};
/// Works whatever the session's encoding.
TransactionFate find_fate(Connection& connection, std::string_view identity);

/// For the rest of the transaction no statement waits longer for a lock.
void limit_lock_waits(Connection& connection, std::chrono::milliseconds wait);

// --- The savepoint -------------------------------------------------------------------------------
// What a handler did can be undone while the lock of its key is kept and its failure recorded. The
// savepoint's name is drawn for each process, so that a handler cannot release or shadow it by one
// of its own; not for each call, which would fill pg_stat_statements.

/// The statement that sets it.
Statement& savepoint(Connection& connection);
void set_savepoint(Connection& connection);
void release_savepoint(Connection& connection);
/// PostgreSQL runs the text by itself: its transaction may have failed.
const Text& rollback_to_savepoint();

}  // namespace outseal::sql
