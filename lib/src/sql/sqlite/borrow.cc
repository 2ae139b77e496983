// The only file that includes SOCI: takes the driver's handle out of a service's session.
#include <soci/session.h>
#include <soci/sqlite3/soci-sqlite3.h>

#include "outseal/error.h"
#include "sql/sqlite/connection.h"

namespace outseal::sql {

namespace {

::sqlite3* driver_handle(soci::session& session) {
  // By name, not by dynamic_cast: SOCI's library does not export the type's RTTI.
  if (session.get_backend() == nullptr || session.get_backend_name() != "sqlite3")
    throw Error{ErrorCode::invalid_config,
                "borrow",
                "the SOCI session is closed or not one of the sqlite3 backend",
                {.hint = "open it with soci::session(soci::sqlite3, \"dbname=PATH\")"}};
  auto* backend = static_cast<soci::sqlite3_session_backend*>(session.get_backend());
  // SOCI includes sqlite3.h inside a namespace of its own; it is the same C type.
  return reinterpret_cast<::sqlite3*>(backend->conn_);
}

}  // namespace

std::unique_ptr<Connection> borrow(soci::session& session) {
  return sqlite::wrap(driver_handle(session));
}

const void* handle_of(soci::session& session) { return driver_handle(session); }

}  // namespace outseal::sql
