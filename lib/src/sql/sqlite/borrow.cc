// Takes SQLite's handle out of a service's SOCI session.
#include <soci/session.h>
#include <soci/sqlite3/soci-sqlite3.h>

#include "sql/sqlite/connection.h"

namespace outseal::sql::sqlite {

::sqlite3* driver_handle(soci::session& session) {
  // By name, not by dynamic_cast: SOCI's library does not export the type's RTTI.
  if (session.get_backend() == nullptr || session.get_backend_name() != "sqlite3") return nullptr;
  auto* backend = static_cast<soci::sqlite3_session_backend*>(session.get_backend());
  // SOCI includes sqlite3.h inside a namespace of its own; it is the same C type.
  return reinterpret_cast<::sqlite3*>(backend->conn_);
}

}  // namespace outseal::sql::sqlite
