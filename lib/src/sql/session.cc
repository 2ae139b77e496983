// Sessions over a driver's own handle. Over SOCI's: soci_session.cc, which is a library of its own.
#include "outseal/session.h"

#include "outseal/error.h"
#include "sql/connection.h"
#include "sql/postgres/connection.h"
#include "sql/sqlite/connection.h"

namespace outseal {

Session::Session(pg_conn* connection) noexcept
    : connection_{connection}, handle_of_{[](void* own) noexcept {
        return Handle{.postgres = static_cast<pg_conn*>(own)};
      }} {}

Session::Session(sqlite3* connection) noexcept
    : connection_{connection}, handle_of_{[](void* own) noexcept {
        auto* handle = static_cast<sqlite3*>(own);
        return Handle{.sqlite = sql::sqlite::is_open(handle) ? handle : nullptr};
      }} {}

namespace sql {

std::unique_ptr<Connection> wrap(Session session, bool named) {
  const Session::Handle handle = session.handle();
  if (handle.sqlite != nullptr) return sqlite::wrap(handle.sqlite);
  if (handle.postgres != nullptr) return postgres::wrap(handle.postgres, named);
  throw Error{ErrorCode::invalid_config,
              "session",
              "the session is not open, or SOCI has opened it with an unsupported backend",
              {.hint = "open it first: with PQconnectdb(), sqlite3_open() or SOCI's backends "
                       "postgresql and sqlite3"}};
}

const void* handle_of(Session session) noexcept {
  const Session::Handle handle = session.handle();
  if (handle.sqlite != nullptr) return handle.sqlite;
  return handle.postgres;
}

}  // namespace sql
}  // namespace outseal
