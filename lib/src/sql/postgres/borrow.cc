// Takes libpq's handle out of a service's SOCI session.
#include <soci/postgresql/soci-postgresql.h>
#include <soci/session.h>

#include "sql/postgres/connection.h"

namespace outseal::sql::postgres {

::PGconn* driver_handle(soci::session& session) {
  // By name, not by dynamic_cast: SOCI's library does not export the type's RTTI.
  if (session.get_backend() == nullptr || session.get_backend_name() != "postgresql")
    return nullptr;
  return static_cast<soci::postgresql_session_backend*>(session.get_backend())->conn_;
}

}  // namespace outseal::sql::postgres
