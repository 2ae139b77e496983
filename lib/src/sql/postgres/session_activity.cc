#include "sql/postgres/session_activity.h"

#include <libpq-events.h>

#include <string_view>

#include "outseal/error.h"

namespace outseal::sql::postgres {
namespace {

using Shared = std::shared_ptr<SessionActivity>;

void note_transaction(SessionActivity& activity, bool begins, bool commits, bool back) {
  if (commits || (back && !activity.savepoint) || (begins && activity.returned)) {
    ++activity.transaction;
    activity.savepoint = activity.returned = false;
  } else if (back) {
    activity.returned = true;
  }
}

void note_tag(SessionActivity& activity, std::string_view tag) {
  const bool back = tag == "ROLLBACK";
  const bool begins = tag == "BEGIN" || tag == "START TRANSACTION";
  const bool commits = tag == "COMMIT" || tag == "PREPARE TRANSACTION";
  if (back || begins || commits) activity.failure.clear();
  note_transaction(activity, begins, commits, back);
  if (tag == "SAVEPOINT") activity.savepoint = true;
  // Not "DEALLOCATE": SOCI deallocates each statement of its own so.
  if (tag == "DEALLOCATE ALL" || tag == "DISCARD ALL") activity.prepared.clear();
  if (activity.current == nullptr) return;
  Observed& seen = *activity.current;
  if (tag == "SAVEPOINT") seen.savepoint = true;
  if (back) seen.returned = true;
  if (begins && seen.returned) seen.begun_anew = true;
  if (commits) seen.committed = activity.committed = true;
  if (back || commits) seen.suspect = true;
}

/// Whether the error is that a prepared statement of ours is gone, or that its name is taken: the
/// service has used it, or several sessions share the server's. The message may be translated.
bool lost_names(std::string_view state, const PGresult* result) {
  const char* message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
  return (state == "26000" || state == "42P05") && message != nullptr &&
         std::string_view{message}.find("outseal_") != std::string_view::npos;
}

void note_failure(SessionActivity& activity, std::string_view state, const PGresult* result) {
  if (lost_names(state, result)) {
    activity.prepared.clear();
    ++activity.names;
  }
  if (activity.failure.empty()) activity.failure = state;
}

void note_result(SessionActivity& activity, const PGresult* result) {
  ++activity.statements;
  if (PQresultStatus(result) == PGRES_COMMAND_OK)
    note_tag(activity, PQcmdStatus(const_cast<PGresult*>(result)));
  else if (const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE))
    note_failure(activity, state, result);
}

void note_end(SessionActivity& activity) {
  if (activity.current != nullptr) activity.current->gone = true;
  activity.prepared.clear();
  activity.failure.clear();
}

SessionActivity* activity_in(PGconn* conn);

// Source: PostgreSQL docs, "libpq: Event System".
int on_event(PGEventId event, void* info, void*) {
  switch (event) {
    case PGEVT_REGISTER: {
      auto* conn = static_cast<PGEventRegister*>(info)->conn;
      return PQsetInstanceData(conn, on_event, new Shared{std::make_shared<SessionActivity>()});
    }
    case PGEVT_CONNRESET:
      if (SessionActivity* activity = activity_in(static_cast<PGEventConnReset*>(info)->conn)) {
        note_end(*activity);
        activity->current = nullptr;
      }
      return 1;
    case PGEVT_CONNDESTROY: {
      auto* conn = static_cast<PGEventConnDestroy*>(info)->conn;
      if (SessionActivity* activity = activity_in(conn)) {
        note_end(*activity);
        activity->gone = true;
        if (activity->committed) activity->address = address_of(conn);
        delete static_cast<Shared*>(PQinstanceData(conn, on_event));
      }
      return 1;
    }
    case PGEVT_RESULTCREATE: {
      const auto* created = static_cast<PGEventResultCreate*>(info);
      if (SessionActivity* activity = activity_in(created->conn))
        note_result(*activity, created->result);
      return 1;
    }
    default:
      return 1;
  }
}

SessionActivity* activity_in(PGconn* conn) {
  auto* data = static_cast<Shared*>(PQinstanceData(conn, on_event));
  return data == nullptr ? nullptr : data->get();
}

}  // namespace

std::shared_ptr<SessionActivity> activity_of(PGconn* handle) {
  if (PQinstanceData(handle, on_event) == nullptr &&
      PQregisterEventProc(handle, on_event, "outseal", nullptr) == 0)
    throw Error{ErrorCode::internal, "session", "libpq refused to register an event procedure"};
  Shared activity = *static_cast<Shared*>(PQinstanceData(handle, on_event));
  if (activity->statements == 0) activity->savepoint = PQtransactionStatus(handle) != PQTRANS_IDLE;
  return activity;
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
