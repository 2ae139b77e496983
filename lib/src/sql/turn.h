// PostgreSQL: the locks that operators' programs take, and who has them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "sql/connection.h"

namespace outseal::sql {

/// One of the operators' programs at a time, up to the end of its transaction.
/// @returns false if the row that they take turns by is gone.
bool lock_turn(Connection& connection);
/// One of those who change the schema. Those who only read which migrations there are, as its
/// programs do, do not stand in the way.
void lock_migrations(Connection& connection);
/// Nothing is appended, or read, from here to the end of the transaction.
void lock_outbox_table(Connection& connection);

/// The weakest lock of a table that another one waits for.
/// Source: PostgreSQL docs, section "Explicit Locking", table 13.2.
enum class WeakestLock : std::int64_t {
  reads = 1,   ///< ACCESS EXCLUSIVE waits for every lock.
  writes = 3,  ///< SHARE ROW EXCLUSIVE lets readers be.
};
/// Who has a lock: a session, or a prepared transaction.
struct LockHolder {
  std::int64_t process = 0;  ///< Of the session.
  std::string user;
  std::string application;              ///< Of the session.
  std::optional<std::string> prepared;  ///< The name of the transaction.
  std::string table;
};
/// Who has a lock of `table`, or of any if it is empty: the prepared transactions first, then the
/// strongest lock. Who still waits for another one comes last.
std::optional<LockHolder> find_lock_holder(Connection& connection, WeakestLock weakest,
                                           std::string_view table);
/// Whose turn it is.
std::optional<LockHolder> find_turn_holder(Connection& connection);

}  // namespace outseal::sql
