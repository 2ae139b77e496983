// Drills: a dump is restored, into another cluster or the same one, behind a sink that has gone on.
#include <doctest/doctest.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "integration/failover/postgres_drill.h"
#include "outseal/error.h"
#include "sinks/registry.h"
#include "sql/connection.h"
#include "store/migrations.h"
#include "store/rebase.h"
#include "support/postgres_server.h"

namespace outseal::test {
namespace {

/// A transaction that has appended an event and does not end yet.
class Late {
 public:
  Late(const std::string& url, const std::string& key)
      : connection_{sql::open(Url::parse("--db", url))} {
    connection_->execute("BEGIN");
    connection_->execute("SELECT outseal.append('t', '" + key + "', 'x', '{}'::text)");
  }
  void commit() { connection_->execute("COMMIT"); }

 private:
  std::unique_ptr<sql::Connection> connection_;
};

/// An event that the sinks refuse, and two of its key.
void append_poison(const PostgresServer& server) {
  server.execute(
      "SELECT outseal.append('t', 'p', 'poison', repeat('x', 3000)), "
      "outseal.append('t', 'p', 'x', '{}'::text), outseal.append('t', 'p', 'x', '{}'::text)",
      "shop");
}

/// In the database that was restored: one by one, and in a subtransaction.
void append_more(const PostgresServer& server, int count) {
  server.execute(appending(count), "shop");
  server.execute(
      "DO $$ BEGIN BEGIN PERFORM outseal.append('t', 'k1', 'x', '{}'::text); "
      "EXCEPTION WHEN division_by_zero THEN NULL; END; END $$",
      "shop");
}

/// A database that is dumped in the middle of everything, and sinks that go on behind it.
class Source {
 public:
  Source(PostgresServer& server, const Drill& drill, const std::string& dump)
      : url{server.url("shop")} {
    server.create_database("shop");
    REQUIRE(run_program({"outseal-migrate", "up", "--db", url}, drill.log()).code == 0);
    server.execute(appending(10), "shop");
    drill.publish(url, "other", 4);
    drill.publish(url, "main", 100);
    Late first{url, "l1"};
    server.execute(appending(5), "shop");
    drill.publish(url, "main", 100);
    Late second{url, "l2"};
    append_poison(server);
    server.execute(appending(3), "shop");
    drill.publish(url, "main", 100);
    second.commit();
    drill.publish(url, "main", 100);  // A late one, with a lower number than those before it.
    first.commit();
    Late third{url, "l3"};
    server.execute(appending(6), "shop");
    drill.bind(url, "main", 4, 2);  // The first late one and another have arrived.
    third.commit();
    server.dump_to(dump, "shop");

    drill.publish(url, "main", 2);  // The rest of that batch, and two of those that wait.
    drill.publish(url, "other", 5);
    append_more(server, 2);
    drill.publish(url, "main", 100);
    drill.publish(url, "main", 100);
  }

  std::string url;
};

/// An operator gives the poison up. Those behind it are published then.
void discard_poison(const Drill& drill, const std::string& url, const std::string& name) {
  const Ended act = drill.relay({"parked", "discard", "--db", url, "--subscription", name, "--key",
                                 "p", "--reason", "too long"});
  INFO(act.output);
  CHECK(act.code == 0);
}

void check_all_published(const Drill& drill, const std::string& url, const std::string& name,
                         std::size_t ghosts) {
  INFO(name);
  for (const int round : {1, 2}) {
    const Ended drained = drill.drain(url, name);
    INFO(drained.output);
    CHECK(drained.code == 0);
    if (round == 1) discard_poison(drill, url, name);
  }
  const Verdict verdict = drill.verify(url, name);
  CHECK(joined(verdict.violations) == "");
  CHECK(verdict.ghosts.size() == ghosts);
}

void check_findings(const Drill& drill, const std::string& url, std::size_t ghosts) {
  std::size_t found = 0;
  for (const std::string& finding : drill.findings(url)) {
    INFO(finding);
    CHECK(finding.starts_with("journal_sink main@"));
    CHECK(finding.ends_with(" ghost"));
    ++found;
  }
  CHECK(found == ghosts);
}

}  // namespace

TEST_CASE("a dump that was restored into another cluster is published to its end, and once") {
  if (skipped_without_postgres()) return;
  Drill drill;
  PostgresServer source;
  PostgresServer target;
  SUBCASE("whose transactions have lower numbers") { source.execute(idling(5'000)); }
  SUBCASE("whose transactions have higher numbers") { target.execute(idling(10'000)); }
  // The restore takes so many itself: the new events have numbers that old ones have as well.
  SUBCASE("whose transactions have the same numbers") { source.execute(idling(110)); }
  const std::string dump = drill.file("dump.sql");
  const Source origin{source, drill, dump};
  const std::size_t published = drill.stored("main").size();
  target.create_database("shop");
  target.execute(
      "CREATE ROLE outseal_producer; CREATE ROLE outseal_relay; CREATE ROLE outseal_reconciler;"
      "CREATE ROLE outseal_sink");
  target.restore_from(dump, "shop");
  const std::string url = target.url("shop");
  append_more(target, 4);

  for (const std::string name : {"main", "other"}) {
    const Ended refused = drill.drain(url, name);
    CHECK(refused.code == 5);
    CHECK(refused.says("the cursor belongs to another database cluster"));
    CHECK(refused.says("outseal-relay rebase"));
  }
  const Ended fresh = drill.drain(url, "fresh");
  INFO(fresh.output);
  const bool ahead =
      number(target.execute("SELECT max(tx::text::bigint) FROM outseal.outbox", "shop")) >
      number(target.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())", "shop"));
  CHECK(fresh.code == (ahead ? 5 : 0));
  CHECK(fresh.says("the outbox is ahead of the database") == ahead);
  CHECK(drill.stored("main").size() == published);

  const Ended rebased = drill.rebase(url, "main");
  INFO(rebased.output);
  CHECK(rebased.code == 1);
  CHECK(rebased.says("\"translated\":true"));
  CHECK(rebased.says("\"ghosts\":3,"));
  for (const std::string name : {"other", "fresh"}) {
    INFO(name);
    const Ended refused = drill.drain(url, name);
    CHECK(refused.code == 5);
    CHECK(refused.says("another subscription was rebased"));
    const Ended then = drill.rebase(url, name);
    CHECK(then.code == 0);
    CHECK(then.says("\"translated\":false"));
    CHECK(then.says(name == "other" ? "\"known\":5," : "\"known\":0,"));
  }
  append_more(target, 3);
  check_all_published(drill, url, "main", 3);
  check_all_published(drill, url, "other", 0);
  check_all_published(drill, url, "fresh", 0);
  check_findings(drill, url, 3);
  CHECK(drill.rebase(url, "main").says("\"needed\":false"));

  append_more(target, 3);
  for (const std::string name : {"main", "other", "fresh"}) {
    CHECK(drill.drain(url, name).code == 0);
    CHECK(joined(drill.verify(url, name).violations) == "");
  }
}

TEST_CASE("an older dump that was restored into the same cluster is published to its end") {
  if (skipped_without_postgres()) return;
  Drill drill;
  PostgresServer server;
  const std::string dump = drill.file("dump.sql");
  const Source origin{server, drill, dump};
  server.drop_database("shop");
  server.create_database("shop");
  server.restore_from(dump, "shop");
  append_more(server, 4);
  for (const std::string name : {"main", "other"}) {
    const Ended refused = drill.drain(origin.url, name);
    INFO(refused.output);
    CHECK(refused.code == 5);
    CHECK(refused.says("outseal-relay rebase"));
    const Ended rebased = drill.rebase(origin.url, name);
    CHECK(rebased.says("\"needed\":true,\"translated\":false"));
    CHECK(rebased.says(name == "main" ? "\"ghosts\":3," : "\"ghosts\":0,"));
  }
  append_more(server, 2);
  check_all_published(drill, origin.url, "main", 3);
  check_all_published(drill, origin.url, "other", 0);
  check_findings(drill, origin.url, 3);
}

TEST_CASE("a rebase that waits in vain names whom it waits for") {
  if (skipped_without_postgres()) return;
  const Drill drill;
  PostgresServer server{{.settings = {"max_prepared_transactions=5"}}};
  server.create_database("shop");
  const Url url = Url::parse("--db", server.url("shop"));
  const auto connection = sql::open(url);
  store::migrate_up(*connection, store::newest_version("postgresql"), {});
  REQUIRE(drill.drain(server.url("shop"), "main").code == 0);
  server.execute("UPDATE outseal.subscription SET source_system = '1'", "shop");
  const auto producer = sql::open(url);
  producer->execute("SET application_name = 'the slow one'; BEGIN");
  producer->execute("SELECT outseal.append('t', 'k', 'x', '{}'::text)");
  const auto sink = sinks::make_sink(Url::parse("--sink", "stdout:"), {.event_source = "/shop"});
  const auto rebase = [&] {
    try {
      store::rebase(*connection, "main", *sink, "test", std::chrono::milliseconds{50});
    } catch (const Error& error) {
      return std::string{error.what()} + " -> " + error.hint();
    }
    return std::string{"done"};
  };
  const std::string waited = rebase();
  INFO(waited);
  CHECK(waited.find("user admin, application \"the slow one\", holds outseal.outbox") !=
        std::string::npos);
  CHECK(waited.find("pg_terminate_backend(") != std::string::npos);
  // In its own session it is asked about by another name than after a restart.
  producer->execute("PREPARE TRANSACTION 'transfer 8'");
  const std::string prepared = rebase();
  INFO(prepared);
  CHECK(prepared.find("the prepared transaction 'transfer 8' has events") != std::string::npos);
  CHECK(prepared.find("ROLLBACK PREPARED") != std::string::npos);
  server.execute("ROLLBACK PREPARED 'transfer 8'", "shop");
  CHECK(rebase() == "done");
}

}  // namespace outseal::test
