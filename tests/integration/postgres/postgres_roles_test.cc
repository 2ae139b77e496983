// The four roles: each may do its programs' whole job, and nothing else.
#include <doctest/doctest.h>
#include <soci/postgresql/soci-postgresql.h>
#include <soci/soci.h>

#include <memory>
#include <string>
#include <vector>

#include "integration/postgres/postgres_site.h"
#include "outseal/outseal.h"
#include "sql/connection.h"
#include "support/postgres_server.h"

namespace outseal::test {
namespace {

using namespace std::chrono_literals;

/// What the database says to `sql` of a user: an SQLSTATE, or "done". Nothing of it stays.
std::string attempt(sql::Connection& connection, const std::string& sql) {
  connection.execute("BEGIN");
  std::string said = "done";
  try {
    connection.execute(sql);
  } catch (const Error& error) {
    said = error.detail_code();
    CHECK(error.code() == ErrorCode::denied);
    CHECK(error.hint().find("role") != std::string::npos);
  }
  connection.rollback();
  return said;
}

void check_denied(const Site& site, const std::string& user,
                  const std::vector<std::string>& attempts) {
  const auto connection = sql::open(Url::parse("--db", site.url(user)));
  for (const std::string& sql : attempts) {
    INFO(user << ": " << sql);
    CHECK(attempt(*connection, sql) == "42501");
  }
}

const std::vector<std::string> kTables{
    "outbox",       "subscription", "journal",        "parked",           "idempotency",
    "effect",       "inbox",        "inbox_position", "inbox_tail",       "turn",
    "run",          "finding",      "audit",          "schema_migration", "inbox_event",
    "inbox_cursor", "halt",         "inbox_attempt",  "audit_pending"};

}  // namespace

TEST_CASE("a producer appends, executes and purges") {
  if (skipped_without_postgres()) return;
  const Site site;
  const auto session = site.session("the_producer");
  {
    Transaction tx{*session};
    append(tx, paid("a"));
    append(tx, std::vector<Event>{paid("b"), paid("c")});
    tx.commit();
  }
  for (const std::string payload : {"'x'::bytea", "'x'::text", "'{}'::json", "'{}'::jsonb"})
    *session << "SELECT outseal.append('t', 'k', 'x', " + payload + ")";
  *session << "INSERT INTO outseal.outbox (topic, key, type, payload) VALUES ('t', 'k', 'x', 'y')";
  const Operation operation{.scope = "payments",
                            .principal = "shop",
                            .key = "order 7",
                            .fingerprint = fingerprint("amount=5")};
  const Handler charge = [](Transaction& tx) {
    append(tx, paid("d"));
    return Reply{.status = 201, .body = "charged", .content_type = "text/plain"};
  };
  CHECK(execute(*session, operation, charge).outcome == Outcome::executed);
  CHECK(execute(*session, operation, charge).outcome == Outcome::replayed);
  CHECK(site.ask("SELECT count(*) FROM outseal.outbox") == "9");

  // One that has expired is executed anew, and one is purged.
  const std::string expire =
      "UPDATE outseal.idempotency SET created_at = now() - interval '9 days',"
      " completed_at = now() - interval '9 days', expires_at = now() - interval '1 day',"
      " purge_at = now() - interval '1 day'";
  site.ask(expire);
  CHECK(execute(*session, operation, charge).outcome == Outcome::executed);
  site.ask(expire);
  CHECK(purge_operations(*session).records == 1);
}

TEST_CASE("a relay publishes, parks, redrives, removes what is old, and is rebased") {
  if (skipped_without_postgres()) return;
  const Site site;
  site.ask(
      "SELECT outseal.append('t', 'p', 'poison', repeat('x', 3000)),"
      " outseal.append('t', 'p', 'x', '{}'::text), outseal.append('t', 'q', 'x', '{}'::text);"
      // By the transaction that appends: a row that another one wrote is not shown to be bound.
      "UPDATE outseal.outbox SET created_at = created_at - interval '60 days'");
  const std::string url = site.url("the_relay");
  const Ended drained = site.drill.drain(url, "main");
  INFO(drained.output);
  CHECK(drained.code == 0);
  CHECK(site.drill.relay({"status", "--db", url}).says("parked        2"));
  CHECK(site.drill.relay({"parked", "list", "--db", url}).says("refused"));
  CHECK(site.drill.relay({"parked", "redrive", "--db", url, "--key", "p", "--reason", "once more"})
            .code == 0);
  CHECK(site.drill.drain(url, "main").code == 0);
  CHECK(
      site.drill.relay({"parked", "discard", "--db", url, "--all", "--reason", "too long"}).code ==
      0);
  CHECK(site.drill.drain(url, "main").code == 0);
  CHECK(site.drill.stored("main").size() == 2);

  site.ask("UPDATE outseal.journal SET acked_at = acked_at - interval '200 days'");
  const Ended retained = site.drill.drain(url, "main");
  CHECK(retained.code == 0);
  CHECK(retained.says("event=retained"));
  CHECK(site.ask("SELECT count(*) FROM outseal.outbox") == "0");
  CHECK(site.ask("SELECT count(*) FROM outseal.journal") == "1");

  site.ask("UPDATE outseal.subscription SET source_timeline = 77");
  CHECK(site.drill.drain(url, "main").code == 5);
  const Ended rebased = site.drill.rebase(url, "main");
  INFO(rebased.output);
  CHECK(rebased.code == 0);
  CHECK(site.drill.drain(url, "main").code == 0);

  // Another cluster's log is stamped anew, which is for the schema's owner.
  site.ask("SELECT outseal.append('t', 'p', 'x', '{}'::text)");
  site.ask("UPDATE outseal.subscription SET source_system = '1'");
  // The event waits. That it was passed over would be read out of numbers of another cluster.
  const Ended compared = run_program(
      {"outseal-reconcile", "run", "--db", site.url("the_reconciler"), "--check", "journal_sink"},
      site.drill.log());
  INFO(compared.output);
  CHECK(compared.code == 0);
  CHECK(compared.says("its cursor belongs to another cluster"));
  const Ended denied = site.drill.rebase(url, "main");
  CHECK(denied.code == 3);
  CHECK(denied.says("42501"));
  CHECK(denied.says("this is for the owner of outseal's tables"));
  CHECK(site.drill.rebase(site.url("admin"), "main").code == 0);
  CHECK(site.drill.drain(url, "main").code == 0);
  CHECK(site.drill.stored("main").size() == 3);
}

TEST_CASE("a reconciler reads everything and writes down what it finds") {
  if (skipped_without_postgres()) return;
  const Site site;
  site.ask("SELECT outseal.append('t', 'k', 'x', '{}'::text)");
  CHECK(site.drill.drain(site.url("the_relay"), "main").code == 0);
  const std::string url = site.url("the_reconciler");
  CHECK(site.drill.findings(url).empty());
  site.ask("SELECT outseal.append('t', 'k', 'x', '{}'::text)");
  site.ask("UPDATE outseal.outbox SET created_at = created_at - interval '1 day' WHERE seq = 2");
  CHECK(site.drill.findings(url).size() == 1);
  const auto reconcile = [&](const std::vector<std::string>& words) {
    std::vector<std::string> all{"outseal-reconcile"};
    all.insert(all.end(), words.begin(), words.end());
    return run_program(all, site.drill.log()).code;
  };
  CHECK(reconcile({"findings", "show", "1", "--db", url}) == 0);
  CHECK(reconcile({"findings", "resolve", "1", "--as", "accepted", "--reason", "known", "--db",
                   url}) == 0);
  CHECK(site.ask("SELECT count(*) FROM outseal.audit") == "1");
}

TEST_CASE("a producer can neither read the log nor touch what is the relay's") {
  if (skipped_without_postgres()) return;
  const Site site;
  site.ask("SELECT outseal.append('t', 'k', 'x', '{}'::text)");
  check_denied(
      site, "the_producer",
      {"SELECT payload FROM outseal.outbox",
       "SELECT count(*) FROM outseal.outbox",
       "COPY outseal.outbox TO STDOUT",
       "UPDATE outseal.outbox SET payload = 'other'",
       "DELETE FROM outseal.outbox",
       "INSERT INTO outseal.outbox (topic, type, payload) VALUES ('t', 'x', '') RETURNING event_id",
       "INSERT INTO outseal.outbox (tx, topic, type, payload) VALUES ('3', 't', 'x', '')",
       "INSERT INTO outseal.outbox (seq, topic, type, payload) OVERRIDING SYSTEM VALUE"
       " VALUES (1000, 't', 'x', '')",
       "SELECT setval('outseal.outbox_seq_seq', 1)",
       "SELECT nextval('outseal.outbox_seq_seq')",
       "SELECT * FROM outseal.subscription",
       "UPDATE outseal.subscription SET state = 'paused'",
       "SELECT * FROM outseal.journal",
       "SELECT * FROM outseal.parked",
       "INSERT INTO outseal.journal DEFAULT VALUES",
       "SELECT * FROM outseal.finding",
       "SELECT * FROM outseal.run",
       "SELECT * FROM outseal.audit",
       "UPDATE outseal.idempotency SET status = 500",
       "UPDATE outseal.idempotency SET expires_at = now()",
       "INSERT INTO outseal.idempotency (key_hash, scope, fingerprint, state, created_at,"
       " lease_owner) VALUES (sha256('a'), 's', sha256('b'), 'in_progress', now(), 'x')",
       "UPDATE outseal.idempotency SET lease_until = now()",
       "UPDATE outseal.idempotency SET fence = fence",
       "SELECT 1 FROM outseal.idempotency FOR UPDATE",
       "INSERT INTO outseal.idempotency (key_hash, scope, fingerprint, state, created_at,"
       " fence) VALUES (sha256('a'), 's', sha256('b'), 'in_progress', now(), 1)",
       "INSERT INTO outseal.effect DEFAULT VALUES",
       "UPDATE outseal.effect SET state = 'confirmed'",
       "SELECT 1 FROM outseal.effect FOR UPDATE",
       "SELECT outseal.require_fence('', 1)",
       "SELECT outseal.lease_end('0')",
       "DELETE FROM outseal.effect",
       "DELETE FROM outseal.idempotency",
       "DELETE FROM outseal.inbox",
       "DELETE FROM outseal.inbox_position",
       "DELETE FROM outseal.inbox_event",
       "UPDATE outseal.inbox_tail SET position = 0",
       "SELECT 1 FROM outseal.turn FOR UPDATE",
       "INSERT INTO outseal.outbox (topic, type, payload, created_at)"
       " VALUES ('t', 'x', '', '9999-12-31')",
       "DELETE FROM outseal.schema_migration",
       "INSERT INTO outseal.inbox_event DEFAULT VALUES",
       "UPDATE outseal.inbox_event SET payload = 'other'",
       "DELETE FROM outseal.inbox_cursor",
       "DELETE FROM outseal.inbox_attempt",
       "UPDATE outseal.inbox_attempt SET position = 1",
       "UPDATE outseal.inbox_attempt SET key = 'other'",
       "SELECT outseal.grant_roles()",
       "LOCK TABLE outseal.outbox IN ACCESS EXCLUSIVE MODE",
       "LOCK TABLE outseal.idempotency IN SHARE MODE",
       "LOCK TABLE outseal.effect IN SHARE MODE",
       "LOCK TABLE outseal.inbox IN SHARE MODE",
       "LOCK TABLE outseal.inbox_position IN SHARE MODE",
       "LOCK TABLE outseal.inbox_cursor IN SHARE MODE",
       "LOCK TABLE outseal.inbox_attempt IN SHARE MODE",
       "LOCK TABLE outseal.inbox_event IN SHARE MODE",
       "LOCK TABLE outseal.schema_migration IN SHARE MODE",
       "LOCK TABLE outseal.turn IN SHARE MODE"});
}

TEST_CASE("a relay can neither append nor change what was appended") {
  if (skipped_without_postgres()) return;
  const Site site;
  check_denied(site, "the_relay",
               {"SELECT outseal.append('t', 'k', 'x', ''::bytea)",
                "SELECT outseal.append('t', 'k', 'x', ''::text)",
                "SELECT outseal.append('t', 'k', 'x', '{}'::jsonb)",
                "SELECT outseal.uuid_v7()",
                "INSERT INTO outseal.outbox (topic, type, payload) VALUES ('t', 'x', '')",
                "UPDATE outseal.outbox SET payload = 'other'",
                "UPDATE outseal.outbox SET tx = '3'",
                "SELECT 1 FROM outseal.outbox FOR UPDATE",
                "SELECT * FROM outseal.idempotency",
                "DELETE FROM outseal.idempotency",
                "SELECT * FROM outseal.effect",
                "SELECT * FROM outseal.inbox",
                "UPDATE outseal.inbox_tail SET position = 0",
                "SELECT * FROM outseal.inbox_event",
                "DELETE FROM outseal.subscription",
                "DELETE FROM outseal.parked",
                "UPDATE outseal.audit SET actor = 'somebody'",
                "DELETE FROM outseal.audit",
                "SELECT * FROM outseal.finding",
                "SELECT * FROM outseal.run",
                "UPDATE outseal.schema_migration SET checksum = ''",
                "SELECT outseal.grant_roles()"});
}

TEST_CASE("a relay's user in the receiver's database can carry events there, and nothing else") {
  if (skipped_without_postgres()) return;
  const Site site;
  site.ask(
      "INSERT INTO outseal.inbox_event VALUES (1, now(), now(), gen_random_uuid(), 's', 't', 'k',"
      " 'x', 'text/plain', '{}', '')");
  std::vector<std::string> attempts{
      "SELECT outseal.append('t', 'k', 'x', ''::bytea)", "SELECT * FROM outseal.inbox_cursor",
      "UPDATE outseal.inbox_event SET payload = 'other'", "SELECT outseal.grant_roles()"};
  for (const std::string& table : kTables) {
    attempts.push_back("DELETE FROM outseal." + table);
    if (table == "inbox_event" || table == "inbox_tail") continue;
    attempts.push_back("INSERT INTO outseal." + table + " DEFAULT VALUES");
    if (table != "schema_migration") attempts.push_back("SELECT * FROM outseal." + table);
  }
  check_denied(site, "the_sink", attempts);
}

TEST_CASE("a receiving service takes what a relay carried there, and forgets what is old") {
  if (skipped_without_postgres()) return;
  const Site site;
  site.ask("SELECT outseal.append('t', 'k', 'x', '{}'::text)");
  PostgresServer& server = site.server;
  const std::string there = server.fresh_database();
  REQUIRE(
      run_program({"outseal-migrate", "up", "--db", server.url(there)}, site.drill.log()).code ==
      0);
  const Ended drained = site.drill.relay(
      {"run", "--db", site.url("the_relay"), "--sink", server.url(there, "the_sink"), "--drain"});
  INFO(drained.output);
  CHECK(drained.code == 0);
  {
    soci::session session{soci::postgresql, server.conninfo(there, "the_producer")};
    const EventHandler fail = [](Transaction&, const InboxEvent&) { throw 1; };
    CHECK(consume([&]() -> Session { return session; }, "/outseal/main#main", fail,
                  {.attempts_max = 1, .until_empty = true})
              .parked == 1);
    CHECK(redrive_parked(session, "/outseal/main#main") == 1);
    CHECK(consume_message(session, "a queue", new_event_id(), [](Transaction&) {}).arrival ==
          Arrival::fresh);
    Transaction tx{session};
    CHECK(take(tx, "/outseal/main#main").size() == 1);
    CHECK(receive(tx, "by id", new_event_id()));
    CHECK(receive_in_order(tx, "by position", {Position{1}, new_event_id()}).arrival ==
          Arrival::fresh);
    tx.commit();
    server.execute("UPDATE outseal.inbox_event SET received_at = 'epoch'", there);
    CHECK(purge_taken(session, "/outseal/main#main", 1h) == 1);
    CHECK(purge_received(session, 0ms) == 2);
  }
  server.drop_database(there);
}

TEST_CASE("a reconciler can change nothing but its own findings") {
  if (skipped_without_postgres()) return;
  const Site site;
  std::vector<std::string> attempts{"SELECT outseal.append('t', 'k', 'x', ''::bytea)",
                                    "UPDATE outseal.audit SET actor = 'somebody'",
                                    "INSERT INTO outseal.schema_migration DEFAULT VALUES",
                                    "SELECT outseal.grant_roles()"};
  for (const std::string& table : kTables) {
    if (table != "audit_pending") attempts.push_back("DELETE FROM outseal." + table);
    if (table != "run" && table != "finding" && table != "audit")
      attempts.push_back("INSERT INTO outseal." + table + " DEFAULT VALUES");
    if (table != "run" && table != "finding" && table != "turn" && table != "audit_pending")
      attempts.push_back("SELECT 1 FROM outseal." + table + " FOR UPDATE");
  }
  check_denied(site, "the_reconciler", attempts);
}

TEST_CASE("no role can change the schema, and who has none can do nothing") {
  if (skipped_without_postgres()) return;
  const Site site;
  std::vector<std::string> changes{
      "CREATE TABLE outseal.mine (id integer)",
      "DROP FUNCTION outseal.uuid_v7() CASCADE",
      "DROP SCHEMA outseal CASCADE",
      "DROP INDEX outseal.outbox_tx_seq",
      "CREATE FUNCTION outseal.mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
      "CREATE OR REPLACE FUNCTION outseal.uuid_v7() RETURNS uuid LANGUAGE sql AS 'SELECT NULL'",
      "CREATE TRIGGER mine BEFORE INSERT ON outseal.outbox FOR EACH ROW"
      " EXECUTE FUNCTION suppress_redundant_updates_trigger()"};
  for (const std::string& table : kTables) {
    changes.push_back("ALTER TABLE outseal." + table + " ADD COLUMN mine integer");
    changes.push_back("DROP TABLE outseal." + table + " CASCADE");
    changes.push_back("TRUNCATE outseal." + table + " CASCADE");
  }
  for (const std::string user : {"the_producer", "the_relay", "the_reconciler", "the_sink"})
    check_denied(site, user, changes);
  for (const std::string& table : kTables) changes.push_back("SELECT * FROM outseal." + table);
  changes.emplace_back("SELECT outseal.append('t', 'k', 'x', ''::bytea)");
  check_denied(site, "nobody", changes);
}

}  // namespace outseal::test
