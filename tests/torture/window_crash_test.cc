// PostgreSQL crashes while the log is read, and takes back commits that were not flushed yet.
// Behind a pooler the relay's connection survives that.
#include <doctest/doctest.h>

#include <chrono>
#include <functional>
#include <string>

#include "outseal/error.h"
#include "store/migrations.h"
#include "support/pgbouncer.h"
#include "support/postgres_server.h"
#include "torture/postgres_client.h"
#include "torture/window_view.h"

namespace outseal::test {
namespace {

constexpr std::chrono::seconds kLease{60};

/// Does something of the test's when the first event is encoded.
class InterruptedSink final : public LineSink {
 public:
  std::function<void()> at_first;
  std::optional<std::string> encode(const EventRow& row, Position position,
                                    std::string& out) override {
    if (const auto act = std::exchange(at_first, nullptr)) act();
    return LineSink::encode(row, position, out);
  }
};

/// A server whose asynchronous commits stay in memory, a pooler, and a relay's view through it.
struct Scene {
  PostgresServer server{{.durable = false, .settings = {"wal_writer_delay = 10s"}}};
  PgBouncer bouncer{server};
  std::string database = server.fresh_database();
  std::unique_ptr<sql::Connection> connection =
      sql::open(Url::parse("--db", bouncer.url(database)));
  InterruptedSink sink;
  store::SubscriptionLog log{*connection, "main", sink};
  SubscriptionState state;

  Scene() {
    store::migrate_up(*connection, store::newest_version("postgresql"),
                      [](const store::MigrationStatus&) {});
    log.declare({.name = "main", .topics = {"a"}, .sink = "file:x", .event_source = {}});
    state = log.acquire("test", kLease).state;
  }

  /// One event of topic a, then ten of another one. At the begin of a segment: the server wakes its
  /// WAL writer whenever a page of the log is full.
  void append_without_flush() {
    PostgresClient client{server.url(database)};
    client.rows("SELECT pg_switch_wal()");
    client.rows(
        "SET synchronous_commit = off; INSERT INTO outseal.outbox (topic, type, payload)"
        " SELECT CASE WHEN i = 0 THEN 'a' ELSE 'b' END, 'x', '' FROM generate_series(0, 10) i");
  }

  void crash() {
    server.stop_immediate();
    server.start();
    REQUIRE(server.execute("SELECT count(*) FROM outseal.outbox", database) == "0");
  }

  Batch read(std::size_t events_max) {
    return log.read_page(state.cursor, state.acked,
                         {.events_max = events_max, .bytes_max = 1U << 20U});
  }
};

TEST_CASE("an event that a crash took back between reading and binding is not bound") {
  if (skipped_without_postgres()) return;
  Scene scene;
  scene.append_without_flush();
  const Batch batch = scene.read(100);
  REQUIRE(batch.size() == 1);
  scene.crash();
  CHECK(scene.log.bind(batch, std::nullopt, kLease) == WriteOutcome::fenced);
}

TEST_CASE("an event that a crash took back between two pages of one reading is not bound") {
  if (skipped_without_postgres()) return;
  Scene scene;
  scene.append_without_flush();
  scene.sink.at_first = [&] { scene.crash(); };
  try {
    const Batch batch = scene.read(3);
    CHECK(scene.log.bind(batch, std::nullopt, kLease) == WriteOutcome::fenced);
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::unreachable);
  }
}

}  // namespace
}  // namespace outseal::test
