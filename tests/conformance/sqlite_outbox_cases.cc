// What SQLite's outbox takes from producers in any language, and what it refuses.
#include <doctest/doctest.h>
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>

#include <cstdlib>
#include <optional>
#include <string>

#include "conformance/store_helpers.h"
#include "conformance/store_relay_fixture.h"
#include "store/migrations.h"
#include "support/temp_folder.h"

namespace outseal::test {
namespace {

constexpr const char* kId = "01a2298c-df00-770b-8187-78d64ede4474";

/// What a statement is refused with; nothing if it is not.
std::optional<Error> refusal(sql::Connection& connection, const std::string& sql) {
  try {
    connection.execute(sql);
    return std::nullopt;
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::constraint);
    return error;
  }
}

/// An INSERT with `columns` given as SQL, and the others as any event has them.
std::string insert(const std::string& columns, const std::string& values,
                   const std::string& verb = "INSERT") {
  return verb + " INTO outseal_outbox (" + columns + ", topic, type, payload) VALUES (" + values +
         ", 't', 'x', 'by hand')";
}
std::string insert_id(const std::string& verb, const std::string& end = {}) {
  return insert("event_id", "'" + std::string{kId} + "'", verb) + end;
}

}  // namespace

TEST_CASE("what an authorizer of the session's forbids is denied") {
  const auto store = make_store();
  const auto session = store->session();
  auto* handle = static_cast<soci::sqlite3_session_backend*>(session->get_backend())->conn_;
  sqlite_api::sqlite3_set_authorizer(
      handle, [](auto...) { return SQLITE_DENY; }, nullptr);
  CHECK(code_of([&] { Transaction tx{*session}; }) == ErrorCode::denied);
}

TEST_CASE("text that goes on behind a NUL byte, or is bytes, is refused by name") {
  Fixture f;
  const auto constraint = [&](const std::string& topic, const std::string& id,
                              const std::string& more = "'k', 'x', '{}', 'text/plain'") {
    const auto error = refusal(
        *f.connection,
        "INSERT INTO outseal_outbox (topic, event_id, key, type, headers, content_type, payload)"
        " VALUES (" +
            topic + ", " + id + ", " + more + ", '1')");
    return error ? error->constraint() : "none";
  };
  const std::string id = "'" + std::string{kId} + "'";
  const std::string kNul = "outbox_text_has_no_nul";
  CHECK(constraint("'orders' || char(0) || 'evil'", id) == kNul);
  CHECK(constraint("'orders'", id + " || char(0)") == kNul);
  CHECK(constraint("'orders'", id + " || char(0) || 'x'") == kNul);
  CHECK(constraint("'orders'", id, "'a' || char(0) || 'b', 'x', '{}', 'text/plain'") == kNul);
  CHECK(constraint("'orders'", id, "'k', char(0), '{}', 'text/plain'") == kNul);
  CHECK(constraint("'orders'", id, "'k', 'x', '{}' || char(0) || '}', 'text/plain'") == kNul);
  CHECK(constraint("'orders'", id, "'k', 'x', '{}', 'text/plain' || char(0)") == kNul);
  CHECK(constraint("'orders'", "CAST(" + id + " AS BLOB)") == "outbox_text_is_text");
  CHECK(constraint("'orders'", id, "'k', 'x', '{}', x'61'") == "outbox_text_is_text");
  CHECK(constraint("'orders'", id + " || 'a'") == "outbox_event_id_is_uuid");
  CHECK(constraint("'orders'", "upper(" + id + ")") == "outbox_event_id_is_uuid");
  CHECK(constraint("'orders evil'", id) == "outbox_topic_valid");
  CHECK(constraint("'orders'", id) == "none");
}

TEST_CASE("the default id of an event is a UUIDv7 of its time") {
  Fixture f;
  f.execute(
      "INSERT INTO outseal_outbox (topic, type, payload) WITH RECURSIVE n (i) AS"
      " (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 500) SELECT 't', 'x', i FROM n");
  CHECK(f.number("SELECT count(DISTINCT event_id) FROM outseal_outbox WHERE substr(event_id, 15, 1)"
                 " = '7' AND substr(event_id, 20, 1) GLOB '[89ab]' AND replace(substr(event_id, 1,"
                 " 13), '-', '') = printf('%012x', created_at) AND abs(created_at / 1000"
                 " - CAST(strftime('%s', 'now') AS INTEGER)) < 600") == 500);
}

TEST_CASE("an event's number is not given by hand") {
  Fixture f;
  for (const char* payload : {"a", "b", "c"}) f.append(payload);
  f.publish();
  f.execute("DELETE FROM outseal_outbox WHERE seq = 2");
  for (const std::string verb : {"INSERT", "INSERT OR REPLACE", "INSERT OR IGNORE"})
    for (const char* seq : {"-2", "0", "2", "4", "9223372036854775807"}) {
      CAPTURE(verb);
      CAPTURE(seq);
      const auto error = refusal(*f.connection, insert("seq", seq, verb));
      CHECK((error && error->message().find("leave seq out") != std::string::npos));
    }
  const auto error = refusal(*f.connection, insert("seq", "-1"));
  CHECK((error && error->constraint() == "outbox_seq_positive"));
  CHECK_FALSE(refusal(*f.connection, insert("seq", "NULL")));
  CHECK(f.publish().bytes == "4:by hand;");
}

TEST_CASE("an event is never replaced, and a used id is refused or ignored as it is asked for") {
  Fixture f;
  REQUIRE_FALSE(refusal(*f.connection, insert_id("INSERT")));
  f.publish();
  for (const std::string verb : {"REPLACE", "INSERT OR REPLACE"}) {
    const auto error = refusal(*f.connection, insert_id(verb));
    CHECK((error && error->constraint() == "outbox_event_is_never_replaced"));
  }
  const auto error = refusal(*f.connection, insert_id("INSERT"));
  CHECK((error && error->table() == "outseal_outbox"));
  CHECK_FALSE(refusal(*f.connection, insert_id("INSERT OR IGNORE")));
  CHECK_FALSE(refusal(*f.connection, insert_id("INSERT", " ON CONFLICT (event_id) DO NOTHING")));
  CHECK_FALSE(refusal(*f.connection, insert("key", "'k'", "INSERT OR REPLACE")));
  CHECK(f.publish().bytes == "2:by hand;");
}

TEST_CASE("a dump brings the events' numbers back, and then refuses others") {
  Fixture f;
  for (const char* payload : {"a", "b", "c"}) f.append(payload);
  f.publish();
  f.execute("DELETE FROM outseal_outbox WHERE seq < 3");
  const TempFolder folder;
  const Url url = Url::parse("--db", "sqlite:" + folder.file("restored.db"));
  const std::string command =
      "sqlite3 '" + f.store->url().rest + "' .dump | sqlite3 '" + folder.file("restored.db") + "'";
  REQUIRE(std::system(command.c_str()) == 0);  // NOLINT(cert-env33-c): both are ours.
  const auto restored = sql::open(url);
  CHECK_NOTHROW(store::require_schema(*restored));
  CHECK(refusal(*restored, insert("seq", "2")));
  CHECK_FALSE(refusal(*restored, insert("key", "'k'")));
  const auto numbers = restored->prepare("SELECT group_concat(seq) FROM outseal_outbox");
  REQUIRE(numbers->step());
  CHECK(numbers->text(0) == "3,4");
}

}  // namespace outseal::test
