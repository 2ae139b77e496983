// What the service's calls refuse rather than pass over: rows that a trigger has dropped, and
// values that would be stored as something else.
#include <functional>
#include <string>
#include <tuple>
#include <vector>

#include "conformance/store_helpers.h"
#include "conformance/store_suite.h"

using namespace outseal;
using namespace outseal::test;

namespace {

/// Makes a trigger of somebody's that drops each row that `act` would write to outseal's `table`.
void drop_rows(soci::session& session, const std::string& table,
               const std::string& act = "INSERT") {
  if (session.get_backend_name() == "sqlite3") {
    session << "CREATE TRIGGER dropping BEFORE " + act + " ON outseal_" + table +
                   " BEGIN SELECT RAISE(IGNORE); END";
    return;
  }
  session << "CREATE OR REPLACE FUNCTION dropped() RETURNS trigger LANGUAGE plpgsql"
             " AS $$ BEGIN RETURN NULL; END $$";
  session << "CREATE TRIGGER dropping BEFORE " + act + " ON outseal." + table +
                 " FOR EACH ROW EXECUTE FUNCTION dropped()";
}

void drop_none(soci::session& session, const std::string& table) {
  const bool sqlite = session.get_backend_name() == "sqlite3";
  session << "DROP TRIGGER dropping" + (sqlite ? std::string{} : " ON outseal." + table);
}

/// What `call` throws when a row of outseal's `table` is dropped.
void check_dropped(const std::string& table, const std::function<void()>& call) {
  CAPTURE(table);
  try {
    call();
    FAIL("no error was thrown");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::invalid_config);
    CHECK(error.message().find("trigger") != std::string::npos);
    CHECK(error.message().ends_with(table));
    CHECK_FALSE(error.hint().empty());
  }
}

}  // namespace

TEST_CASE("an event or a record that a trigger drops is an error, and nothing is committed") {
  const auto store = make_store();
  const auto session = store->session();
  drop_rows(*session, "outbox");
  for (const std::size_t events : {1U, 3U, 1'200U})
    for (const bool at_once : {false, true}) {
      CAPTURE(events);
      check_dropped("outbox", [&] {
        Transaction tx{*session, {.append_at_once = at_once}};
        *session << "UPDATE account SET balance = balance - 5 WHERE id = 1";
        append(tx, std::vector<Event>(events, paid()));
        tx.commit();
      });
    }
  check_dropped("outbox", [&] {
    change(*session, "BEGIN");
    Transaction tx = Transaction::join(*session);
    append(tx, paid());
  });
  change(*session, "ROLLBACK");
  check_dropped("outbox",
                [&] { std::ignore = execute(*session, charge("k"), charging(*session, {})); });
  drop_none(*session, "outbox");
  drop_rows(*session, "idempotency");
  for (const Verdict verdict : {Verdict::success, Verdict::final_failure})
    check_dropped("idempotency", [&] {
      std::ignore = execute(*session, charge("k"), charging(*session, {.verdict = verdict}));
    });
  CHECK(balance(*session, 1) == 100);
  CHECK(count(*session, "outseal_outbox") == 0);
}

TEST_CASE("what the inbox is to remember and a trigger drops is an error, never a duplicate") {
  const auto store = make_store();
  const auto session = store->session();
  const EventId first = new_event_id();
  const auto by_id = [&] {
    Transaction tx{*session};
    const bool fresh = receive(tx, "s", first);
    CHECK(fresh);
    tx.commit();
  };
  const auto by_position = [&] {
    Transaction tx{*session};
    const Receipt receipt = receive_in_order(tx, "s", {.position = Position{1}, .id = first});
    CHECK(receipt.arrival == Arrival::fresh);
    tx.commit();
  };
  const auto out_of_inbox = [&] {
    Transaction tx{*session};
    const auto events = take(tx, "s");
    CHECK(events.size() == 1);
    tx.commit();
  };
  change(*session,
         "INSERT INTO outseal_inbox_event (stream, position, event_id, topic, key, type,"
         " content_type, headers, created_at, received_at, payload) VALUES ('s', 1, '" +
             first.to_string() +
             "', 'orders', 'k', 'paid', 'text/plain', '{\"a\": \"b\"}', {long_ago}, {long_ago},"
             " 'body')");
  const auto check = [&](const std::string& table, const auto& call) {
    for (const char* act : {"INSERT", "UPDATE"}) {
      if (table == "inbox" && *act == 'U') continue;
      drop_rows(*session, table, act);
      check_dropped(table, call);
      drop_none(*session, table);
    }
    call();
  };
  check("inbox", by_id);
  check("inbox_position", by_position);
  check("inbox_cursor", out_of_inbox);
}

TEST_CASE("headers that are too long as JSON are refused before anything is written") {
  const auto store = make_store();
  const auto session = store->session();
  Transaction tx{*session};
  Event event = paid();
  event.headers = {{"h", std::string(15'000, '\x01')}};  // Within 16 KiB, but 90 KB as JSON.
  CHECK(code_of([&] { append(tx, event); }) == ErrorCode::invalid_argument);
  event.headers = {{"h", std::string(10'900, '\x01')}};
  append(tx, event);
  tx.commit();
  CHECK(count(*session, "outseal_outbox") == 1);
}

TEST_CASE("a text is UTF-8 however its content type is written") {
  const auto store = make_store();
  const auto session = store->session();
  Transaction tx{*session};
  for (const char* type :
       {"APPLICATION/JSON", "Application/Cloudevents+JSON ; x=y", "Text/Plain"}) {
    CAPTURE(type);
    Event event = paid();
    event.content_type = type;
    event.payload = "\xff";
    CHECK(code_of([&] { append(tx, event); }) == ErrorCode::invalid_argument);
  }
}

TEST_CASE("an event id that is used again is named, with what to do") {
  const auto store = make_store();
  const auto session = store->session();
  Event event = paid();
  event.id = new_event_id();
  const auto pay = [&](bool at_once, std::size_t others) {
    Transaction tx{*session, {.append_at_once = at_once}};
    append(tx, event);
    append(tx, std::vector<Event>(others, paid()));
    tx.commit();
  };
  pay(false, 0);
  for (const bool at_once : {false, true})
    for (const std::size_t others : {0U, 2U}) {
      CAPTURE(others);
      try {
        pay(at_once, others);
        FAIL("no error was thrown");
      } catch (const Error& error) {
        CHECK(error.code() == ErrorCode::constraint);
        CHECK(error.message().find(event.id->to_string()) != std::string::npos);
        CHECK(error.hint().find("used once") != std::string::npos);
      }
    }
}

TEST_CASE("an empty handler and an unknown verdict are refused, and find names itself") {
  const auto store = make_store();
  const auto session = store->session();
  CHECK(code_of([&] { std::ignore = execute(*session, charge("k"), Handler{}); }) ==
        ErrorCode::invalid_argument);
  CHECK(code_of([&] {
          std::ignore = execute(*session, charge("k"),
                                charging(*session, {.verdict = static_cast<Verdict>(7)}));
        }) == ErrorCode::invalid_argument);
  CHECK(balance(*session, 1) == 100);
  CHECK(count(*session, "outseal_idempotency") == 0);
  try {
    std::ignore = find(*session, charge(""));
    FAIL("no error was thrown");
  } catch (const Error& error) {
    CHECK(error.operation() == "find");
  }
}
