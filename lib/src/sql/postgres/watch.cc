#include "sql/postgres/watch.h"

#include <libpq-events.h>

#include <cstring>

#include "outseal/error.h"

namespace outseal::sql::postgres {
namespace {

void note_result(Watch& watch, const PGresult* result) {
  if (PQresultStatus(result) == PGRES_COMMAND_OK) {
    const std::string_view tag = PQcmdStatus(const_cast<PGresult*>(result));
    if (tag == "SAVEPOINT") watch.seen.savepoint = true;
    if (tag == "ROLLBACK") watch.seen.rolled_back = watch.any_rollback = true;
    // "ROLLBACK TO" says "ROLLBACK", too. It was a whole one if there is no savepoint (AND CHAIN
    // may follow), or if another BEGIN comes behind it.
    const bool begins = tag == "BEGIN" || tag == "START TRANSACTION";
    if (!watch.seen.committed && watch.any_rollback && (begins || !watch.seen.savepoint))
      watch.seen.replaced = true;
    // What comes behind that is another transaction's.
    if (!watch.seen.replaced && (tag == "COMMIT" || tag == "PREPARE TRANSACTION"))
      watch.seen.committed = true;
    // Not "DEALLOCATE": SOCI deallocates each statement of its own so.
    if (tag == "DEALLOCATE ALL" || tag == "DISCARD ALL") watch.prepared.reset();
  } else if (const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE)) {
    if (std::strcmp(state, "40001") == 0 || std::strcmp(state, "40P01") == 0)
      watch.seen.conflict = true;
    if (std::strcmp(state, "26000") == 0) watch.prepared.reset();
  }
}

// Source: PostgreSQL docs, "libpq: Event System".
int on_event(PGEventId event, void* info, void*) {
  switch (event) {
    case PGEVT_REGISTER: {
      auto* conn = static_cast<PGEventRegister*>(info)->conn;
      return PQsetInstanceData(conn, on_event, new Watch);
    }
    case PGEVT_CONNRESET:
      if (auto* data = PQinstanceData(static_cast<PGEventConnReset*>(info)->conn, on_event))
        *static_cast<Watch*>(data) = {};
      return 1;
    case PGEVT_CONNDESTROY:
      delete static_cast<Watch*>(
          PQinstanceData(static_cast<PGEventConnDestroy*>(info)->conn, on_event));
      return 1;
    case PGEVT_RESULTCREATE: {
      const auto* created = static_cast<PGEventResultCreate*>(info);
      if (auto* data = PQinstanceData(created->conn, on_event))
        note_result(*static_cast<Watch*>(data), created->result);
      return 1;
    }
    default:
      return 1;
  }
}

}  // namespace

Watch& watch_of(PGconn* handle) {
  if (PQinstanceData(handle, on_event) == nullptr &&
      PQregisterEventProc(handle, on_event, "outseal", nullptr) == 0)
    throw Error{ErrorCode::internal, "borrow", "libpq refused to register an event procedure"};
  return *static_cast<Watch*>(PQinstanceData(handle, on_event));
}

}  // namespace outseal::sql::postgres
