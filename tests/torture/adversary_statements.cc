// What the service of the adversarial suite does by SQL of its own and to its connection.
#include <libpq-fe.h>
#include <soci/postgresql/soci-postgresql.h>
#include <soci/sqlite3/soci-sqlite3.h>

#include <memory>
#include <string>

#include "torture/adversary_service.h"

namespace outseal::test::adversary {
namespace {

using namespace sqlite_api;  // SOCI includes sqlite3.h inside of it.

constexpr const char* kKeys[] = {"", "a", "z\u00fcrich"};
constexpr const char* kSavepoints[] = {"a", "b", "a"};

sqlite_api::sqlite3* sqlite_of(soci::session& session) {
  if (session.get_backend() == nullptr || session.get_backend_name() != "sqlite3") return nullptr;
  return static_cast<soci::sqlite3_session_backend*>(session.get_backend())->conn_;
}

PGconn* postgres_of(soci::session& session) {
  if (session.get_backend() == nullptr || session.get_backend_name() != "postgresql")
    return nullptr;
  return static_cast<soci::postgresql_session_backend*>(session.get_backend())->conn_;
}

std::string shown(const std::string& key) { return key.empty() ? "-" : key; }

}  // namespace

SessionState state_of(soci::session& session) {
  if (sqlite_api::sqlite3* handle = sqlite_of(session))
    return sqlite3_get_autocommit(handle) != 0 ? SessionState::idle : SessionState::open;
  switch (PQtransactionStatus(postgres_of(session))) {
    case PQTRANS_IDLE:
      return SessionState::idle;
    case PQTRANS_INERROR:
      return SessionState::failed;
    case PQTRANS_UNKNOWN:
      return SessionState::gone;
    default:
      return SessionState::open;
  }
}

void Service::look_around(bool begun) {
  const SessionState state = state_of(*session_);
  if (state == SessionState::gone || state == SessionState::idle) {
    current_ = 0;
  } else if (begun || current_ == 0) {
    current_ = new_label();
  }
}

bool Service::sql(const std::string& text) {
  try {
    *session_ << text;
    return true;
  } catch (const soci::soci_error& error) {
    std::string what = error.what();
    for (char& letter : what)
      if (letter == '\n') letter = ' ';
    tell_("# " + text + ": " + what);
    return false;
  }
}

bool Service::add_row(int label, int n) {
  return sql("INSERT INTO work (label, n) VALUES (" + std::to_string(label) + ", " +
             std::to_string(n) + ")");
}

std::string Service::end_by_sql(const std::string& text, Act act, bool begins) {
  const int before = current_;
  const bool failed = state_of(*session_) == SessionState::failed;
  const bool commits = act == Act::raw_commit || act == Act::commit_and_chain ||
                       act == Act::commit_begin || act == Act::release;
  if (before != 0 && (commits || act == Act::prepare))
    tell_("tx " + std::to_string(before) + " ending");
  const bool done = sql(text);
  // RELEASE ends a transaction only on SQLite, if a savepoint began it.
  const bool ended = begins || state_of(*session_) == SessionState::idle;
  if (done && ended && !failed && before != 0) {
    if (commits) tell_("tx " + std::to_string(before) + " foreign");
    if (act == Act::prepare) tell_("tx " + std::to_string(before) + " prepared");
  }
  look_around(done && begins);
  return done ? "ok" : "error";
}

std::string Service::append_by_sql(const Move& move) {
  const std::string n = std::to_string(++last_n_);
  const std::string key = kKeys[move.b / 8 % 3];
  const EventId id = move.a % 8 == 0 ? pooled_id(move.b) : new_event_id();
  const std::string label = std::to_string(current_);
  tell_("event " + n + " " + id.to_string() + " " + shown(key) + " sql " + label);
  const std::string values = "('" + id.to_string() + "', '" + key + "')";
  bool done = false;
  if (move.act == Act::append_by_trigger)
    done = sql("INSERT INTO work (label, n, event, key) VALUES (" + label + ", " + n + ", '" +
               id.to_string() + "', '" + key + "')");
  else
    done =
        sql("WITH appended AS (SELECT outseal.append('t', '" + key + "', 'x', text '" + n +
            "', event_id => '" + id.to_string() + "') AS id) INSERT INTO work (label, n) SELECT " +
            label + ", " + n + " FROM appended WHERE id IS NOT NULL");
  return done ? "ok" : "error";
}

std::string Service::use_helper(const Move& move) {
  const int before = current_;
  const int n = ++last_n_;
  try {
    soci::transaction helper{*session_};
    look_around();
    add_row(current_, n);
    const bool failed = state_of(*session_) == SessionState::failed;
    const std::string label = std::to_string(current_);
    switch (move.a % 3) {
      case 0:
        if (before != 0) tell_("tx " + label + " ending");
        helper.commit();
        if (before != 0 && !failed) tell_("tx " + label + " foreign");
        return "commit";
      case 1:
        helper.rollback();
        return "rollback";
      default:
        return "nothing";
    }
  } catch (const soci::soci_error&) {
    return "error";
  }
}

std::string Service::break_sqlite(Act act) {
  sqlite_api::sqlite3* handle = sqlite_of(*session_);
  if (handle == nullptr) return "none";
  bool done = false;
  if (act == Act::or_rollback) {
    done = sql("INSERT OR ROLLBACK INTO strict VALUES (1)");
  } else if (act == Act::interrupt) {
    sqlite3_progress_handler(
        handle, 1, [](void*) { return 1; }, nullptr);
    done = sql("UPDATE account SET v = v + 1 WHERE id IN (SELECT id FROM strict)");
    sqlite3_progress_handler(handle, 0, nullptr, nullptr);
  } else {
    sql("PRAGMA max_page_count = 1");  // SQLite makes that the present size.
    done = sql("INSERT INTO filler VALUES (zeroblob(100000))");
    sql("PRAGMA max_page_count = 1000000");
  }
  return done ? "ok" : "error";
}

std::string Service::act_by_sql(const Move& move) {
  const std::string savepoint = kSavepoints[move.a % 3];
  const auto run = [&](const std::string& text) -> std::string {
    return sql(text) ? "ok" : "error";
  };
  switch (move.act) {
    case Act::row:
      return add_row(current_, ++last_n_) ? "ok" : "error";
    case Act::append_by_trigger:
    case Act::append_by_sql:
      return append_by_sql(move);
    case Act::update:
      return run(move.a % 2 == 0 ? "SELECT v FROM account"
                                 : "UPDATE account SET v = v + 1 WHERE id = 1");
    case Act::savepoint:
      return run("SAVEPOINT " + savepoint);
    case Act::rollback_to:
      return run("ROLLBACK TO " + savepoint);
    case Act::release:
      return end_by_sql("RELEASE " + savepoint, move.act, false);
    case Act::helper:
      return use_helper(move);
    case Act::raw_begin:
      return run("BEGIN");
    case Act::raw_commit:
      return end_by_sql(move.a % 2 == 0 ? "COMMIT" : "END", move.act, false);
    case Act::raw_rollback:
      return end_by_sql("ROLLBACK", move.act, false);
    case Act::commit_and_chain:
      return end_by_sql("COMMIT AND CHAIN", move.act, true);
    case Act::rollback_and_chain:
      return end_by_sql("ROLLBACK AND CHAIN", move.act, true);
    case Act::commit_begin:
      return end_by_sql("COMMIT; BEGIN", move.act, true);
    case Act::rollback_begin:
      return end_by_sql("ROLLBACK; BEGIN", move.act, true);
    case Act::prepare:
      return end_by_sql("PREPARE TRANSACTION 'p" + std::to_string(++last_n_) + "'", move.act,
                        false);
    case Act::violation:
      return run(site_.postgres() && move.a % 2 == 0 ? "SELECT 1 / 0"
                                                     : "INSERT INTO strict VALUES (1)");
    case Act::deferred_violation:
      return run(site_.postgres() ? "INSERT INTO later VALUES (9), (9)"
                                  : "INSERT INTO later VALUES (9)");
    case Act::mend_deferred:
      return run("DELETE FROM later");
    default:
      return break_sqlite(move.act);
  }
}

std::string Service::act_on_session(const Move& move) {
  switch (move.act) {
    case Act::reconnect:
      statements_.reset();
      session_->reconnect();
      site_.prepare(*session_);
      return "ok";
    case Act::close:
      statements_.reset();
      session_->close();
      return "ok";
    case Act::terminate: {
      PGconn* handle = postgres_of(*session_);
      if (handle == nullptr) return "none";
      if (beside_ == nullptr) beside_ = site_.open(true);
      const int pid = PQbackendPID(handle);
      *beside_ << "SELECT pg_terminate_backend(" + std::to_string(pid) + ")";
      for (int left = 1; left != 0;)
        *beside_ << "SELECT count(*) FROM pg_stat_activity WHERE pid = " + std::to_string(pid),
            soci::into(left);
      return "ok";
    }
    case Act::latin1:
      return sql("SET client_encoding TO 'LATIN1'") ? "ok" : "error";
    case Act::utf8:
      return sql("SET client_encoding TO 'UTF8'") ? "ok" : "error";
    case Act::set_role:
      return sql("SET LOCAL ROLE adversary_nobody") ? "ok" : "error";
    case Act::reset_role:
      return sql("RESET ROLE") ? "ok" : "error";
    case Act::deallocate:
      return sql("DEALLOCATE ALL") ? "ok" : "error";
    default:
      return sql("INSERT INTO other.work (label, n) VALUES (" + std::to_string(current_) + ", " +
                 std::to_string(++last_n_) + ")")
                 ? "ok"
                 : "error";
  }
}

std::string Service::act_beside(const Move& move) {
  if (beside_ == nullptr) beside_ = site_.open(true);
  const std::string n = std::to_string(++last_n_);
  try {
    if (move.act == Act::beside_event) {
      const std::string id = (move.a % 2 == 0 ? pooled_id(move.b) : new_event_id()).to_string();
      tell_("event " + n + " " + id + " a beside 0");
      *beside_ << "INSERT INTO work (label, n, event, key) VALUES (0, " + n + ", '" + id +
                      "', 'a')";
    } else if (move.act == Act::beside_update) {
      *beside_ << "UPDATE account SET v = v + 1 WHERE id = 1";
    } else if (move.act == Act::beside_lock && !locked_) {
      *beside_ << "BEGIN IMMEDIATE";
      locked_ = true;
    } else if (move.act == Act::beside_unlock && locked_) {
      locked_ = false;
      *beside_ << "COMMIT";
    }
    return "ok";
  } catch (const soci::soci_error&) {
    return "error";
  }
}

}  // namespace outseal::test::adversary
