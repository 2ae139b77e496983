// Takes the driver's handle out of a service's SOCI session. Nothing else includes SOCI.
#include <soci/postgresql/soci-postgresql.h>
#include <soci/session.h>
#include <soci/sqlite3/soci-sqlite3.h>

#include "outseal/session.h"

namespace outseal {
namespace {

/// By the backend's name, not by dynamic_cast: SOCI's libraries do not export the types' RTTI.
Session::Handle find_handle(void* session) noexcept {
  auto& own = *static_cast<soci::session*>(session);
  soci::details::session_backend* backend = own.get_backend();
  if (backend == nullptr) return {};
  const std::string name = own.get_backend_name();
  if (name == "postgresql")
    return {.postgres = static_cast<soci::postgresql_session_backend*>(backend)->conn_};
  if (name != "sqlite3") return {};
  // SOCI includes sqlite3.h inside a namespace of its own; it is the same C type.
  auto* handle = static_cast<soci::sqlite3_session_backend*>(backend)->conn_;
  return {.sqlite = reinterpret_cast<::sqlite3*>(handle)};
}

}  // namespace

Session::Session(soci::session& session) noexcept
    : connection_{&session}, handle_of_{find_handle} {}

}  // namespace outseal
