#include "store/turns.h"

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "outseal/error.h"
#include "sql/turn.h"

namespace outseal::store {
namespace {

using sql::LockHolder;
using sql::WeakestLock;

/// The SQLSTATE lock_not_available: a wait was longer than lock_timeout.
constexpr std::string_view kLockTimeout = "55P03";

std::string quoted(std::string_view text) {
  std::string literal = "'";
  for (const char c : text) literal += c == '\'' ? "''" : std::string(1, c);
  return literal + "'";
}

/// Says who has what `error` waited for in vain, unless nobody has it any more.
void name_holder(const std::optional<LockHolder>& holder, const Error& error) {
  if (!holder) return;
  const std::string holds = "holds outseal." + holder->table + " and did not give way";
  if (holder->prepared) {
    const std::string gid = quoted(*holder->prepared);
    throw Error{ErrorCode::conflict,
                "wait for a lock",
                "the prepared transaction " + gid + " of " + holder->user + " " + holds,
                {.hint = "decide it: COMMIT PREPARED " + gid + " or ROLLBACK PREPARED " + gid +
                         "; then try again",
                 .detail_code = error.detail_code()}};
  }
  const std::string process = std::to_string(holder->process);
  throw Error{ErrorCode::conflict,
              "wait for a lock",
              "process " + process + " of the server, user " + holder->user + ", application \"" +
                  holder->application + "\", " + holds,
              {.hint = "wait for it, or end it by pg_terminate_backend(" + process + ")",
               .detail_code = error.detail_code()}};
}

/// Runs `body`, which waits for a lock, and calls `name`, which says who has it, when it has waited
/// in vain.
void wait_for(sql::Connection& connection, const std::function<void()>& body,
              const std::function<void(const Error&)>& name) {
  connection.execute("SAVEPOINT outseal_turn");
  try {
    body();
  } catch (const Error& error) {
    if (error.detail_code() != kLockTimeout) throw;
    connection.execute("ROLLBACK TO outseal_turn");
    name(error);
    throw;
  }
  connection.execute("RELEASE outseal_turn");
}

/// The same for a table, or all of them if `table` is empty.
void wait_for(sql::Connection& connection, WeakestLock weakest, std::string_view table,
              const std::function<void()>& body) {
  wait_for(connection, body, [&](const Error& error) {
    name_holder(sql::find_lock_holder(connection, weakest, table), error);
  });
}

}  // namespace

void take_turns(sql::Connection& connection) {
  if (connection.dialect() == "sqlite") return;
  bool found = false;
  const auto take = [&] { found = sql::lock_turn(connection); };
  wait_for(connection, take,
           [&](const Error& error) { name_holder(sql::find_turn_holder(connection), error); });
  if (!found)
    throw Error{ErrorCode::schema_mismatch,
                "take turns",
                "outseal.turn has lost its row",
                {.hint = "give it one back, of its defaults"}};
}

void take_turns_migrating(sql::Connection& connection) {
  if (connection.dialect() == "sqlite") return;
  wait_for(connection, WeakestLock::writes, "schema_migration",
           [&] { sql::lock_migrations(connection); });
}

void lock_outbox(sql::Connection& connection) {
  if (connection.dialect() == "sqlite") return;
  wait_for(connection, WeakestLock::reads, "outbox", [&] { sql::lock_outbox_table(connection); });
}

void wait_for_tables(sql::Connection& connection, const std::function<void()>& body) {
  if (connection.dialect() == "sqlite") return body();
  wait_for(connection, WeakestLock::reads, "", body);
}

void as_owner(std::string_view operation, const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::denied) throw;
    throw Error{ErrorCode::denied,
                operation,
                error.message(),
                {.hint = "this is for the owner of outseal's tables, or a superuser: none of "
                         "outseal's roles may",
                 .detail_code = error.detail_code()}};
  }
}

}  // namespace outseal::store
