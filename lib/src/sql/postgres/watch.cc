#include "sql/postgres/watch.h"

#include <libpq-events.h>

#include <string_view>

#include "outseal/error.h"

namespace outseal::sql::postgres {
namespace {

using Shared = std::shared_ptr<Watch>;

void note_transaction(Watch& watch, bool begins, bool commits, bool back) {
  if (commits || (back && !watch.savepoint) || (begins && watch.returned)) {
    ++watch.transaction;
    watch.savepoint = watch.returned = false;
  } else if (back) {
    watch.returned = true;
  }
}

void note_tag(Watch& watch, std::string_view tag) {
  const bool back = tag == "ROLLBACK";
  const bool begins = tag == "BEGIN" || tag == "START TRANSACTION";
  const bool commits = tag == "COMMIT" || tag == "PREPARE TRANSACTION";
  if (back || begins || commits) watch.failure.clear();
  note_transaction(watch, begins, commits, back);
  if (tag == "SAVEPOINT") watch.savepoint = true;
  // Not "DEALLOCATE": SOCI deallocates each statement of its own so.
  if (tag == "DEALLOCATE ALL" || tag == "DISCARD ALL") watch.prepared.clear();
  if (watch.current == nullptr) return;
  Observed& seen = *watch.current;
  if (tag == "SAVEPOINT") seen.savepoint = true;
  if (back) seen.returned = true;
  if (begins && seen.returned) seen.begun_anew = true;
  if (commits) seen.committed = watch.committed = true;
  if (back || commits) seen.suspect = true;
}

/// Whether the error is that a prepared statement of ours is gone, or that its name is taken: the
/// service has used it, or several sessions share the server's. The message may be translated.
bool lost_names(std::string_view state, const PGresult* result) {
  const char* message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
  return (state == "26000" || state == "42P05") && message != nullptr &&
         std::string_view{message}.find("outseal_") != std::string_view::npos;
}

void note_failure(Watch& watch, std::string_view state, const PGresult* result) {
  if (lost_names(state, result)) {
    watch.prepared.clear();
    ++watch.names;
  }
  if (watch.failure.empty()) watch.failure = state;
}

void note_result(Watch& watch, const PGresult* result) {
  ++watch.statements;
  if (PQresultStatus(result) == PGRES_COMMAND_OK)
    note_tag(watch, PQcmdStatus(const_cast<PGresult*>(result)));
  else if (const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE))
    note_failure(watch, state, result);
}

void note_end(Watch& watch) {
  if (watch.current != nullptr) watch.current->gone = true;
  watch.prepared.clear();
  watch.failure.clear();
}

Watch* watch_in(PGconn* conn);

// Source: PostgreSQL docs, "libpq: Event System".
int on_event(PGEventId event, void* info, void*) {
  switch (event) {
    case PGEVT_REGISTER: {
      auto* conn = static_cast<PGEventRegister*>(info)->conn;
      return PQsetInstanceData(conn, on_event, new Shared{std::make_shared<Watch>()});
    }
    case PGEVT_CONNRESET:
      if (Watch* watch = watch_in(static_cast<PGEventConnReset*>(info)->conn)) {
        note_end(*watch);
        watch->current = nullptr;
      }
      return 1;
    case PGEVT_CONNDESTROY: {
      auto* conn = static_cast<PGEventConnDestroy*>(info)->conn;
      if (Watch* watch = watch_in(conn)) {
        note_end(*watch);
        watch->gone = true;
        if (watch->committed) watch->address = address_of(conn);
        delete static_cast<Shared*>(PQinstanceData(conn, on_event));
      }
      return 1;
    }
    case PGEVT_RESULTCREATE: {
      const auto* created = static_cast<PGEventResultCreate*>(info);
      if (Watch* watch = watch_in(created->conn)) note_result(*watch, created->result);
      return 1;
    }
    default:
      return 1;
  }
}

Watch* watch_in(PGconn* conn) {
  auto* data = static_cast<Shared*>(PQinstanceData(conn, on_event));
  return data == nullptr ? nullptr : data->get();
}

}  // namespace

std::shared_ptr<Watch> watch_of(PGconn* handle) {
  if (PQinstanceData(handle, on_event) == nullptr &&
      PQregisterEventProc(handle, on_event, "outseal", nullptr) == 0)
    throw Error{ErrorCode::internal, "borrow", "libpq refused to register an event procedure"};
  Shared watch = *static_cast<Shared*>(PQinstanceData(handle, on_event));
  if (watch->statements == 0) watch->savepoint = PQtransactionStatus(handle) != PQTRANS_IDLE;
  return watch;
}

Address address_of(PGconn* handle) {
  Address address;
  PQconninfoOption* options = PQconninfo(handle);
  for (const PQconninfoOption* option = options; option != nullptr && option->keyword != nullptr;
       ++option)
    if (option->val != nullptr) address.emplace_back(option->keyword, option->val);
  PQconninfoFree(options);
  return address;
}

}  // namespace outseal::sql::postgres
