// What other programs may rely on when they append by SQL alone, on PostgreSQL.
#include <optional>
#include <utility>
#include <vector>

#include "integration/postgres/postgres_fixture.h"

namespace outseal::test {
namespace {

const std::string kInsert = "INSERT INTO outseal.outbox (topic, key, type, payload) VALUES ";

/// What the server says to `sql`: nothing if it is well.
std::optional<Error> said_to(const PostgresDatabase& database, const std::string& sql) {
  try {
    database.open()->execute(sql);
  } catch (const Error& error) {
    return error;
  }
  return std::nullopt;
}

/// Checks that the constraint is named to those who read the message, and to those who read fields.
void check_refused(const PostgresDatabase& database, const std::string& sql,
                   const std::string& constraint) {
  INFO(sql);
  const auto error = said_to(database, sql);
  REQUIRE(error.has_value());
  CHECK(error->code() == ErrorCode::constraint);
  CHECK(error->message() ==
        "new row for relation \"outbox\" violates check constraint \"" + constraint + "\"");
  CHECK(
      database.value("DO $$ DECLARE named text; hint text; BEGIN " + sql +
                     "; EXCEPTION WHEN check_violation THEN"
                     " GET STACKED DIAGNOSTICS named = CONSTRAINT_NAME,"
                     " hint = PG_EXCEPTION_HINT; PERFORM set_config('test.named', named || ' ' ||"
                     " (hint <> '')::text, false); END $$; SELECT current_setting('test.named')") ==
      constraint + " true");
  CHECK(database.events() == "0");
}

}  // namespace

TEST_CASE("what a row may hold does not depend on a setting of the caller's") {
  const PostgresDatabase database;
  const auto connection = database.open();
  connection->execute("SET standard_conforming_strings = off; SET escape_string_warning = off");
  connection->execute("SELECT outseal.append('t', '1', 'x', '1', '{\"a\":\"b\"}')");
  connection->execute("SELECT outseal.append('t', '1', 'x', 'xyz')");
  CHECK_THROWS_AS(connection->execute(kInsert + R"(('t', '1', 'x', E'\\x7b7d'))"), const Error&);
  CHECK(database.events() == "2");
}

TEST_CASE("a row that is changed later is checked as well") {
  const PostgresDatabase database;
  database.open()->execute("SELECT outseal.append('t', '1', 'x', '1')");
  for (const char* change :
       {"payload = NULL", "topic = 'no topic'", "content_type = ''", "headers = '[]'"}) {
    CAPTURE(change);
    const auto error = said_to(database, std::string{"UPDATE outseal.outbox SET "} + change);
    REQUIRE(error.has_value());
    CHECK(error->code() == ErrorCode::constraint);
  }
}

TEST_CASE("a rule in the way of an event is named as such") {
  const PostgresDatabase database;
  const auto session = database.session();
  *session << "CREATE RULE mine AS ON INSERT TO outseal.outbox DO INSTEAD NOTHING";
  Transaction tx{*session};
  append(tx, event("x"));
  CHECK(code_of([&] { tx.commit(); }) == ErrorCode::invalid_config);
}

TEST_CASE("a text keeps each of its characters, however it is appended") {
  const PostgresDatabase database;
  const std::string json = R"({"path":"C:\\new","price":"5 \u20ac","tab":"\t"})";
  const std::string literal = "'" + json + "'";
  database.open()->execute(kInsert + "('t', '1', 'x', " + literal + ")");
  for (const char* type : {"", "::text", "::json"})
    database.open()->execute("SELECT outseal.append('t', '1', 'x', " + literal + type + ")");
  const auto connection = database.open();
  // As a driver binds a string: as text, and without a type.
  for (const char* parameter : {"$1::text", "$1"}) {
    const auto insert = connection->prepare(kInsert + "('t', '1', 'x', " + parameter + ")");
    const sql::StatementScope use{*insert};
    use->bind_text(0, json);
    use->step();
  }
  CHECK(database.value("SELECT count(*) FROM outseal.outbox WHERE payload = " + literal) == "6");
  CHECK(database.events() == "6");
}

TEST_CASE("append() takes each type of payload, and NULL for what it knows a default of") {
  const PostgresDatabase database;
  const std::string row =
      "SELECT concat_ws(' ', key = '', headers, content_type, payload, payload_bytes)"
      " FROM outseal.outbox ORDER BY seq DESC LIMIT 1";
  const std::vector<std::pair<std::string, std::string>> payloads{
      {"'{\"a\" :1}'::text", "{\"a\" :1}"},
      {"'{\"a\" :1}'::json", "{\"a\" :1}"},
      {"'{\"a\" :1}'::jsonb", "{\"a\": 1}"},
      {"'\\x7b7d'::bytea", "\\x7b7d"}};
  for (const auto& [payload, stored] : payloads) {
    database.open()->execute("SELECT outseal.append('t', NULL, 'x', " + payload +
                             ", NULL, NULL, NULL)");
    CHECK(database.value(row) == "t {} application/json " + stored);
  }
  database.open()->execute(
      "SELECT outseal.append('t', 'k', 'x', 'y', '{\"trace\":\"1\"}', content_type => "
      "'text/plain')");
  CHECK(database.value(row) == "f {\"trace\": \"1\"} text/plain y");
  check_refused(PostgresDatabase{}, "SELECT outseal.append('t', 'k', 'x', NULL::text)",
                "outbox_payload_is_one");
}

TEST_CASE("what an event cannot be is refused by the name of its constraint") {
  const PostgresDatabase database;
  const auto column = [](const std::string& name, const std::string& value) {
    return "INSERT INTO outseal.outbox (topic, type, payload, " + name +
           ") VALUES ('t', 'x', '{}', " + value + ")";
  };
  const auto topic = [](const std::string& value) {
    return kInsert + "(" + value + ", '', 'x', '')";
  };
  for (const char* bad : {"''", "'a b'", "'ä'", "E'a\\n'", "repeat('a', 256)"})
    check_refused(database, topic(bad), "outbox_topic_valid");
  check_refused(database, column("key", "repeat('ä', 257)"), "outbox_key_length");
  check_refused(database, kInsert + "('t', '', '', '')", "outbox_type_length");
  check_refused(database, kInsert + "('t', '', repeat('a', 256), '')", "outbox_type_length");
  check_refused(database, column("content_type", "''"), "outbox_content_type_length");
  check_refused(database, column("content_type", "repeat('a', 256)"), "outbox_content_type_length");
  check_refused(database, column("created_at", "'infinity'"), "outbox_created_at_ms");
  check_refused(database, column("created_at", "'1969-12-31Z'"), "outbox_created_at_ms");
  check_refused(database, column("payload_bytes", "'a'"), "outbox_payload_is_one");
  check_refused(database, "INSERT INTO outseal.outbox (topic, type) VALUES ('t', 'x')",
                "outbox_payload_is_one");
  // Bytes that have become the text of their hexadecimal form.
  for (const char* bytes : {"'{}'::bytea", "''::bytea", "'\\x7B7D'"})
    check_refused(database, kInsert + "('t', '', 'x', " + bytes + ")", "outbox_payload_is_no_hex");
  check_refused(database, R"(SELECT outseal.append('t', '', 'x', '\x7b7d'))",
                "outbox_payload_is_no_hex");
  CHECK_FALSE(said_to(database, kInsert + R"(('t', '', 'x', '\xi'))").has_value());
}

TEST_CASE("headers are a flat object of strings whose text has a bound") {
  const PostgresDatabase database;
  const auto insert = [](const std::string& headers) {
    return "INSERT INTO outseal.outbox (topic, type, payload, headers) VALUES ('t', 'x', '{}', " +
           headers + ")";
  };
  for (const char* bad : {"'[]'", "'null'", "'1'", "'\"{}\"'", R"('{"a":1}')", R"('{"a":null}')",
                          R"('{"a":{"b":"c"}}')", R"('{"a":["b"]}')", R"('{"a":"\"","b":true}')"})
    check_refused(database, insert(bad), "outbox_headers_are_strings");
  // Few bytes as jsonb, and a gigabyte as text.
  check_refused(database, insert("(SELECT jsonb_agg(1e1000) FROM generate_series(1, 100))"),
                "outbox_headers_are_strings");
  check_refused(database, insert("json_build_object('a', repeat('b', 65527))"),
                "outbox_headers_are_strings");
  CHECK_FALSE(said_to(database, insert("json_build_object('a', repeat('b', 65500))")).has_value());
  for (const char* good : {"'{}'", "' { } '", R"('{"a":"{[1]}, \"b\" :: \\","é":"\u0041"}')",
                           "E'{\\n\"a\" : \"b\" ,\\n\"c\":\"\"}'", R"('{"a":"b"}'::jsonb)"})
    CHECK_FALSE(said_to(database, insert(good)).has_value());
  CHECK(database.events() == "6");
}

TEST_CASE("append() says so if a trigger has swept the row away") {
  const PostgresDatabase database;
  database.open()->execute(
      "CREATE FUNCTION swept() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
      "CREATE TRIGGER zz BEFORE INSERT ON outseal.outbox FOR EACH ROW EXECUTE FUNCTION swept()");
  for (const char* payload : {"'{}'", "'{}'::bytea", "'{}'::json", "'{}'::jsonb"}) {
    const auto error =
        said_to(database, "SELECT outseal.append('t', 'k', 'x', " + std::string{payload} + ")");
    REQUIRE(error.has_value());
    CHECK(error->detail_code() == "27000");
    CHECK(error->message().find("was not appended") != std::string::npos);
  }
}

TEST_CASE("a producer's search_path does not decide what an event may be") {
  const PostgresDatabase database;
  check_refused(
      database,
      "CREATE SCHEMA evil; CREATE FUNCTION evil.octet_length(text) RETURNS integer LANGUAGE"
      " sql AS 'SELECT 1'; CREATE FUNCTION evil.never(text, text) RETURNS boolean LANGUAGE"
      " sql AS 'SELECT false'; CREATE OPERATOR evil.!~ (LEFTARG = text, RIGHTARG = text,"
      " FUNCTION = evil.never); SET LOCAL search_path = evil, pg_catalog; " +
          kInsert + "('no topic', '', 'x', '')",
      "outbox_topic_valid");
}

TEST_CASE("a database in another encoding than UTF-8 is refused") {
  if (skipped_without_postgres()) return;
  PostgresServer& server = shared_server();
  server.execute(
      "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
  {
    const auto connection = sql::open(Url::parse("--db", server.url("latin")));
    try {
      store::migrate_up(*connection, store::newest_version("postgresql"), {});
      FAIL("it was taken");
    } catch (const Error& error) {
      CHECK(error.message().find("outseal needs UTF8") != std::string::npos);
      CHECK(error.hint().find("ENCODING 'UTF8'") != std::string::npos);
    }
  }
  server.drop_database("latin");
}

}  // namespace outseal::test
