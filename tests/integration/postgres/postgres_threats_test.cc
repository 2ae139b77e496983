// Who has to trust whom: the sentences of migrations/README.md, "Threat model", that the privileges
// in postgres_roles_test.cc do not show.
#include <tuple>
#include <vector>

#include "integration/postgres/postgres_site.h"
#include "sql/connection.h"
#include "sql/log.h"
#include "support/pgbouncer.h"

namespace outseal::test {
namespace {

using namespace std::chrono_literals;

Operation operation(const std::string& scope) {
  return {.scope = scope, .principal = "p", .key = "k", .fingerprint = fingerprint("5")};
}

Handler answering(const std::string& body) {
  return [body](Transaction&) {
    return Reply{.status = 201, .body = body, .content_type = "text/plain"};
  };
}

/// The code of the Error that `call` throws.
template <typename Call>
ErrorCode code_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code();
  }
  FAIL("no error was thrown");
  return ErrorCode::internal;
}

/// OBJECT: PRIVILEGE(its columns, if not all) ..., a line each, of the grantee that follows.
constexpr const char* kPrivileges = R"(
    WITH granted (object, grantee, privilege, columns) AS (
      SELECT c.relname, a.grantee, a.privilege_type, ''
      FROM pg_class c CROSS JOIN aclexplode(c.relacl) a
      WHERE c.relnamespace = 'outseal'::regnamespace
      UNION ALL SELECT c.relname, a.grantee, a.privilege_type,
             '(' || string_agg(t.attname, ',' ORDER BY t.attname) || ')'
      FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid CROSS JOIN aclexplode(t.attacl) a
      WHERE c.relnamespace = 'outseal'::regnamespace GROUP BY 1, 2, 3
      UNION ALL SELECT DISTINCT p.proname || '()', a.grantee, a.privilege_type, ''
      FROM pg_proc p CROSS JOIN aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
      WHERE p.pronamespace = 'outseal'::regnamespace
      UNION ALL SELECT 'schema', a.grantee, a.privilege_type, ''
      FROM pg_namespace n CROSS JOIN aclexplode(n.nspacl) a WHERE n.nspname = 'outseal')
    SELECT string_agg(line, chr(10) ORDER BY line COLLATE "C") FROM (
      SELECT object || ': ' || string_agg(privilege || columns, ' ' ORDER BY privilege) AS line
      FROM granted WHERE grantee = )";

std::string privileges_of(const Site& site, const std::string& role) {
  const std::string oid = role == "public" ? "0" : "'outseal_" + role + "'::regrole";
  return site.ask(kPrivileges + oid + " GROUP BY object) l");
}

}  // namespace

TEST_CASE("a producer has the privileges that it needs") {
  if (skipped_without_postgres()) return;
  const Site site;
  CHECK(privileges_of(site, "producer") ==
        R"(answer_effect(): EXECUTE
append(): EXECUTE
appended_after(): EXECUTE
audit_pending: INSERT(act,detail,subject)
begin_effect(): EXECUTE
begin_operation(): EXECUTE
claim_operation(): EXECUTE
effect: SELECT
effect_step(): EXECUTE
effects_of(): EXECUTE
finish_attempt(): EXECUTE
finish_operation(): EXECUTE
forget_expired(): EXECUTE
hand_over_operation(): EXECUTE
hold_operation(): EXECUTE
)"
        "idempotency: "
        "INSERT(body,completed_at,content_type,created_at,expires_at,fingerprint,"
        "fingerprint_version,key_hash,purge_at,reply_headers,scope,state,status)"
        R"( SELECT
inbox: INSERT SELECT
inbox_attempt: INSERT SELECT UPDATE(attempt_id,attempts,cause,changed_at,reason,state)
inbox_cursor: INSERT SELECT UPDATE(position,tried_to,updated_at)
inbox_event: SELECT
inbox_position: INSERT SELECT UPDATE(last_event_id,position,updated_at)
inbox_tail: SELECT
is_locked(): EXECUTE
key_hash(): EXECUTE
operation_of(): EXECUTE
operation_status(): EXECUTE
outbox: INSERT(content_type,event_id,headers,key,payload,payload_bytes,topic,type)
provider_key_of(): EXECUTE
purge_operations(): EXECUTE
purge_received(): EXECUTE
purge_taken(): EXECUTE
schema: USAGE
schema_migration: SELECT
send_effect(): EXECUTE
settle_effect(): EXECUTE
take_over_operation(): EXECUTE
uuid_v7(): EXECUTE)");
}

TEST_CASE("each other role has the privileges that it needs, and the public none") {
  if (skipped_without_postgres()) return;
  const Site site;
  const auto of = [&](const std::string& role) { return privileges_of(site, role); };
  CHECK(of("public").empty());
  CHECK(of("relay") == R"(audit: INSERT SELECT
halt: DELETE INSERT SELECT UPDATE
journal: DELETE INSERT SELECT UPDATE
outbox: DELETE SELECT
parked: INSERT SELECT UPDATE
schema: USAGE
schema_migration: SELECT
subscription: INSERT SELECT UPDATE
turn: SELECT UPDATE)");
  CHECK(of("reconciler") == R"(audit: INSERT SELECT
audit_pending: DELETE SELECT
decide_effect(): EXECUTE
effect: SELECT
finding: INSERT SELECT UPDATE
halt: SELECT
idempotency: SELECT
inbox: SELECT
inbox_attempt: SELECT
inbox_cursor: SELECT
inbox_event: SELECT
inbox_position: SELECT
inbox_tail: SELECT
journal: SELECT
outbox: SELECT
parked: SELECT
run: INSERT SELECT UPDATE
schema: USAGE
schema_migration: SELECT
subscription: SELECT
turn: SELECT UPDATE)");
  CHECK(of("sink") == R"(inbox_event: INSERT SELECT
inbox_tail: INSERT SELECT UPDATE
schema: USAGE
schema_migration: SELECT)");
}

TEST_CASE("a restore that has lost what roles may do is mended by granting it anew") {
  if (skipped_without_postgres()) return;
  const Site site;
  const std::string open =
      "SELECT count(*) FROM pg_proc p, aclexplode(p.proacl) a"
      " WHERE p.pronamespace = 'outseal'::regnamespace AND a.grantee = 0";
  site.ask("GRANT EXECUTE ON FUNCTION outseal.purge_operations(bigint, bigint) TO PUBLIC");
  REQUIRE(site.ask(open) == "1");
  site.ask("SELECT outseal.grant_roles()");
  CHECK(site.ask(open) == "0");
}

TEST_CASE("a producer that knows the id of another one's event can take it first") {
  if (skipped_without_postgres()) return;
  const Site site;
  const auto session = site.session("the_producer");
  const EventId id = new_event_id();
  site.ask("SELECT outseal.append('t', 'k', 'x', '{}'::text, event_id => '" + id.to_string() +
           "')");
  Transaction tx{*session};
  CHECK(code_of([&] {
          Event event = paid("k");
          event.id = id;
          append(tx, event);
          tx.commit();
        }) == ErrorCode::constraint);
}

TEST_CASE("a key is one of its subscription, whatever the topic") {
  if (skipped_without_postgres()) return;
  const Site site;
  site.ask(
      "SELECT outseal.append('theirs', 'k', 'poison', repeat('x', 3000)),"
      " outseal.append('ours', 'k', 'x', '{}'::text),"
      " outseal.append('ours', 'ours/k', 'x', '{}'::text)");
  CHECK(site.drill.drain(site.url("the_relay"), "main").code == 0);
  CHECK(site.drill.stored("main").size() == 1);
  CHECK(site.ask("SELECT count(*) FROM outseal.parked WHERE topic = 'ours' AND key = 'k'") == "1");
}

TEST_CASE("producers see each other's records, unless a policy keeps them apart") {
  if (skipped_without_postgres()) return;
  const Site site;
  const auto session = site.session("the_producer");
  CHECK(execute(*session, operation("theirs"), answering("secret")).outcome == Outcome::executed);
  CHECK(execute(*session, operation("ours"), answering("fine")).outcome == Outcome::executed);
  std::string seen;
  *session << "SELECT string_agg(scope, ' ' ORDER BY scope) FROM outseal.idempotency",
      soci::into(seen);
  CHECK(seen == "ours theirs");
  site.ask(
      "ALTER TABLE outseal.idempotency ENABLE ROW LEVEL SECURITY;"
      "CREATE POLICY ours ON outseal.idempotency TO the_producer USING (scope = 'ours')");
  *session << "SELECT string_agg(scope, ' ' ORDER BY scope) FROM outseal.idempotency",
      soci::into(seen);
  CHECK(seen == "ours");
  CHECK(execute(*session, operation("ours"), answering("again")).outcome == Outcome::replayed);
  // Another one's key does not run again, and its answer is not given.
  CHECK_THROWS_AS(std::ignore = execute(*session, operation("theirs"), answering("again")), Error);
  site.ask(
      "UPDATE outseal.idempotency SET expires_at = now() - interval '1 day',"
      " purge_at = now() - interval '1 day'");
  CHECK(purge_operations(*session).records == 2);
}

TEST_CASE("nobody makes a key execute again before it has expired") {
  if (skipped_without_postgres()) return;
  const Site site;
  const auto session = site.session("the_producer");
  CHECK(execute(*session, operation("s"), answering("one")).outcome == Outcome::executed);
  const auto forget = [&] {
    *session << "SELECT FROM outseal.purge_operations(99999999999999, 1000)";
    *session << "SELECT FROM outseal.forget_expired((SELECT key_hash FROM outseal.idempotency))";
  };
  forget();
  CHECK(site.ask("SELECT count(body) FROM outseal.idempotency") == "1");
  site.ask("UPDATE outseal.idempotency SET purge_at = now()");  // Its response is over, no more.
  forget();
  CHECK(site.ask("SELECT count(*) || ' ' || count(body) FROM outseal.idempotency") == "1 0");
  CHECK(execute(*session, operation("s"), answering("two")).outcome == Outcome::expired);
}

TEST_CASE("who knows the hash of a key can hold its lock, and then it is in progress for a time") {
  if (skipped_without_postgres()) return;
  const Site site;
  const auto session = site.session("the_producer");
  CHECK(execute(*session, operation("s"), answering("one")).outcome == Outcome::executed);
  const auto stranger = sql::open(Url::parse("--db", site.url("nobody")));
  const std::string number = site.ask(
      "SELECT ('x' || encode(substr(key_hash, 25), 'hex'))::bit(64)::bigint"
      " FROM outseal.idempotency");
  stranger->execute("SELECT pg_advisory_lock(" + number + ")");
  // What is known already is answered all the same.
  CHECK(execute(*session, operation("s"), answering("two")).outcome == Outcome::replayed);
  site.ask("DELETE FROM outseal.idempotency");
  CHECK(execute(*session, operation("s"), answering("two"), {.wait = 50ms}).outcome ==
        Outcome::in_progress);
}

TEST_CASE("operators in a schema that is named after a user are not run with that user's rights") {
  if (skipped_without_postgres()) return;
  const Site site;
  site.ask("CREATE TABLE public.trodden (who name); GRANT ALL ON public.trodden TO public");
  // What matches the types of an expression exactly would win over PostgreSQL's own.
  const auto squat = [&](const std::string& user) {
    const std::string name = "\"" + user + "\"";
    const auto trap = [&](const std::string& sign, const std::string& left,
                          const std::string& right, const std::string& result,
                          const std::string& value) {
      return "CREATE FUNCTION " + name + ".trap(" + left + ", " + right + ") RETURNS " + result +
             " LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.trodden VALUES (current_user);"
             " RETURN " +
             value + "; END $$; CREATE OPERATOR " + name + "." + sign + " (FUNCTION = " + name +
             ".trap, LEFTARG = " + left + ", RIGHTARG = " + right + ");";
    };
    return "CREATE SCHEMA " + name + "; GRANT USAGE ON SCHEMA " + name + " TO public;" +
           trap("=", "oid", "regnamespace", "bool", "$1 OPERATOR(pg_catalog.=) $2::oid") +
           trap("/", "float8", "int4", "float8", "$1 OPERATOR(pg_catalog./) $2::float8") +
           trap("*", "int8", "interval", "interval", "$1::float8 OPERATOR(pg_catalog.*) $2");
  };
  const std::string owner = site.ask("SELECT current_user");
  const std::vector<std::string> users{owner, "the_relay", "the_reconciler", "the_producer"};
  for (const std::string& user : users) site.ask(squat(user));
  // The trap works where nobody looks out.
  site.ask("SELECT 1::float8 / 2");
  REQUIRE(site.ask("SELECT count(*) FROM public.trodden") == "1");

  const std::string own = site.server.url(site.database);
  const auto session = site.session("the_producer");
  CHECK(execute(*session, operation("s"), answering("one")).outcome == Outcome::executed);
  {
    Transaction tx{*session};
    append(tx, paid("k"));
    tx.commit();
  }
  const auto run = [&](const std::vector<std::string>& line) {
    const Ended ended = run_program(line, site.drill.log());
    INFO(ended.output);
    CHECK(ended.code == 0);
  };
  CHECK(site.drill.drain(site.url("the_relay"), "main").code == 0);
  run({"outseal-reconcile", "run", "--db", site.url("the_reconciler")});
  run({"outseal-migrate", "status", "--db", own});
  run({"outseal-relay", "status", "--db", own});
  run({"outseal-migrate", "down", "--to", "0", "--force", "--db", own});
  run({"outseal-migrate", "up", "--db", own});
  CHECK(site.ask("SELECT count(*) FROM public.trodden") == "1");
}

TEST_CASE("nobody but their own roles stops the programs of operators") {
  if (skipped_without_postgres()) return;
  const Site site;
  CHECK(site.drill.drain(site.url("the_relay"), "main").code == 0);
  for (const std::string user : {"nobody", "the_producer", "the_sink"}) {
    const auto other = sql::open(Url::parse("--db", site.url(user)));
    other->execute("BEGIN");
    for (const std::string attempt :
         {"SELECT pg_advisory_lock(7311704027001)", "SELECT 1 FROM outseal.turn FOR UPDATE",
          "LOCK TABLE outseal.turn IN EXCLUSIVE MODE",
          "LOCK TABLE outseal.schema_migration IN EXCLUSIVE MODE"}) {
      other->execute("SAVEPOINT s");
      try {
        other->execute(attempt);
      } catch (const Error&) {
        other->execute("ROLLBACK TO s");
      }
    }
    for (const std::string act : {"pause", "resume"})
      CHECK(site.drill.relay({act, "--db", site.url("the_relay"), "--reason", "test"}).code == 0);
    const auto fine = [&](const std::vector<std::string>& line) {
      CHECK(run_program(line, site.drill.log()).code == 0);
    };
    fine({"outseal-reconcile", "run", "--db", site.url("the_reconciler")});
    for (const std::string way : {"down", "up"})
      fine({"outseal-migrate", way, "--db", site.server.url(site.database)});
  }
}

TEST_CASE("who is not let in learns which session has the turn") {
  if (skipped_without_postgres()) return;
  const Site site;
  CHECK(site.drill.drain(site.url("the_relay"), "main").code == 0);
  const auto holder = sql::open(Url::parse("--db", site.url("the_reconciler")));
  holder->execute("SET application_name = 'the slow one'; BEGIN");
  holder->execute("SELECT 1 FROM outseal.turn FOR UPDATE");
  const Ended paused =
      site.drill.relay({"pause", "--db", site.url("the_relay"), "--reason", "test"});
  INFO(paused.output);
  CHECK(paused.code == 3);
  CHECK(paused.says("user the_reconciler, application \"the slow one\""));
}

TEST_CASE("rows that a policy hides from a program are an error, never a silence") {
  if (skipped_without_postgres()) return;
  const Site site;
  site.ask(
      "SELECT outseal.append('seen', 'k', 'x', '{}'::text),"
      " outseal.append('hidden', 'k', 'x', '{}'::text)");
  const auto connected = sql::open(Url::parse("--db", site.url("the_relay")));
  site.ask(
      "ALTER TABLE outseal.outbox ENABLE ROW LEVEL SECURITY;"
      "CREATE POLICY only_seen ON outseal.outbox USING (topic = 'seen')");
  const auto check_refused = [](const Ended& ended) {
    INFO(ended.output);
    CHECK(ended.code == 3);
    for (const std::string said : {"outseal.outbox", "only_seen", "BYPASSRLS"})
      CHECK(ended.says(said));
  };
  check_refused(site.drill.drain(site.url("the_relay"), "main"));
  check_refused(run_program({"outseal-reconcile", "run", "--db", site.url("the_reconciler")},
                            site.drill.log()));

  // A connection that was there before, inside and outside of a transaction.
  const auto read = [](sql::Connection& connection) {
    try {
      sql::find_oldest_event(connection);
      return std::string{"read"};
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::denied);
      return error.hint();
    }
  };
  CHECK(read(*connected).find("BYPASSRLS") != std::string::npos);
  connected->begin(1s);
  CHECK(read(*connected).find("BYPASSRLS") != std::string::npos);
  connected->rollback();
  if (pgbouncer_is_installed()) {
    const PgBouncer pooler{site.server, 1};
    const auto pooled = sql::open(Url::parse("--db", pooler.url(site.database, "the_relay")));
    CHECK(read(*pooled).find("BYPASSRLS") != std::string::npos);
    // Nothing stays behind in the session, which is lent to others.
    soci::session other{soci::postgresql, site.server.conninfo(site.database, "the_relay") +
                                              " port=" + std::to_string(pooler.port())};
    std::string setting;
    other << "SELECT current_setting('row_security')", soci::into(setting);
    CHECK(setting == "on");
  }

  site.ask("ALTER ROLE the_relay BYPASSRLS");
  const Ended drained = site.drill.drain(site.url("the_relay"), "main");
  site.ask("ALTER ROLE the_relay NOBYPASSRLS");
  INFO(drained.output);
  CHECK(drained.code == 0);
  CHECK(site.drill.stored("main").size() == 2);
}

}  // namespace outseal::test
