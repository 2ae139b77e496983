// The store's suite on PostgreSQL.
#include <doctest/doctest.h>
#include <soci/postgresql/soci-postgresql.h>
#include <soci/soci.h>

#include <cstdlib>
#include <functional>
#include <string>

#include "conformance/store_helpers.h"
#include "conformance/store_relay_fixture.h"
#include "store/migrations.h"
#include "store/retention.h"
#include "store/status.h"
#include "support/postgres_server.h"

namespace outseal::test {
namespace {

class PostgresStore final : public StoreUnderTest {
 public:
  PostgresStore() : database_{shared_server().fresh_database()} {
    const auto connection = sql::open(url());
    store::migrate_up(*connection, store::newest_version(connection->dialect()), {});
    connection->execute("CREATE TABLE account (id integer PRIMARY KEY, balance integer NOT NULL)");
    connection->execute("INSERT INTO account VALUES (1, 100), (2, 100)");
  }
  ~PostgresStore() override { shared_server().drop_database(database_); }
  PostgresStore(const PostgresStore&) = delete;
  PostgresStore& operator=(const PostgresStore&) = delete;

  Url url() const override { return Url::parse("--db", shared_server().url(database_)); }
  std::unique_ptr<soci::session> session() const override {
    return std::make_unique<soci::session>(soci::postgresql, shared_server().conninfo(database_));
  }
  bool one_writer() const override { return false; }
  void use_numbers_up_to(std::int64_t seq) const override {
    shared_server().execute("SELECT setval(pg_get_serial_sequence('outseal.outbox', 'seq'), " +
                                std::to_string(seq) + ")",
                            database_);
  }

 private:
  std::string database_;
};

std::uint64_t waiting(Fixture& f) { return store::read_status(*f.connection).at(0).waiting; }

}  // namespace

std::unique_ptr<StoreUnderTest> make_store() {
  if (skipped_without_postgres()) std::exit(0);  // Every case here needs it.
  return std::make_unique<PostgresStore>();
}

TEST_CASE("an event that is committed late is published in its turn, and nothing waits for it") {
  Fixture f;
  const auto slow = f.store->session();
  Transaction late{*slow};
  *slow << "SELECT outseal.append('t', '', 'x', 'late')";  // Takes its number now.
  f.append("a");
  f.append("b");
  CHECK(f.publish().bytes == "1:a;2:b;");
  CHECK(waiting(f) == 0);
  late.commit();
  CHECK(waiting(f) == 1);
  CHECK(f.publish().bytes == "3:late;");
  CHECK(waiting(f) == 0);
  CHECK(f.number("SELECT seq FROM outseal_outbox WHERE payload = 'late'") == 1);
  CHECK(f.log.read_journal(Position{1}).bytes == "1:a;2:b;");
  CHECK(f.log.read_journal(Position{3}).bytes == "3:late;");
}

/// An event that was created long ago.
constexpr const char* kAppendOld =
    "INSERT INTO outseal.outbox (topic, type, payload, created_at)"
    " VALUES ('t', 'x', 'late', to_timestamp(1))";

TEST_CASE("an event that is committed late is never removed before it was published") {
  Fixture f;
  f.appends_old = true;
  const auto slow = f.store->session();
  Transaction late{*slow};
  *slow << kAppendOld;
  f.append("a");
  f.publish();
  late.commit();
  const store::RetentionOptions options{
      .events = 1h, .journal = std::chrono::milliseconds{0}, .step_rows = 10};
  CHECK(store::retain_step(*f.connection, "main", options) == 1);
  CHECK(f.publish().bytes == "2:late;");
  CHECK(store::retain_step(*f.connection, "main", options) == 1);
}

TEST_CASE("a subscription that starts now gets what was appended before and commits later") {
  Fixture f;
  f.appends_old = true;
  f.append("before");
  const auto slow = f.store->session();
  Transaction late{*slow};
  *slow << kAppendOld;
  f.append("ended");  // The open transaction is not the highest that the snapshot knows of.
  SubscriptionLog log{*f.connection, "late", f.sink};
  CHECK(log.declare({.name = "late",
                     .topics = {"*"},
                     .sink = "file:y",
                     .event_source = {},
                     .start = Start::now}));
  f.append("after");
  const auto acquisition = log.acquire("me", 60s);
  REQUIRE(acquisition.granted);
  const Batch first = log.read_page(acquisition.state.cursor, {}, {});
  CHECK(first.bytes == "1:after;");
  REQUIRE(log.bind(first, std::nullopt, 60s) == WriteOutcome::done);
  late.commit();
  const Batch second = log.read_page(first.to, first.tail_after(1), {});
  CHECK(second.bytes == "2:late;");
  // All went to main; of what belongs to late nothing is acknowledged.
  f.publish();
  const store::RetentionOptions options{
      .events = 1h, .journal = std::chrono::milliseconds{0}, .step_rows = 10};
  CHECK(store::retain_step(*f.connection, "main", options) == 2);
  CHECK(f.number("SELECT count(*) FROM outseal_outbox") == 2);
}

TEST_CASE("a start that belongs to another cluster is not taken for a place in this one") {
  Fixture f;
  SubscriptionLog log{*f.connection, "late", f.sink};
  log.declare(
      {.name = "late", .topics = {"*"}, .sink = "file:y", .event_source = {}, .start = Start::now});
  CHECK(store::find_start(*f.connection, "late").has_value());
  f.execute("UPDATE outseal_subscription SET source_system = '1' WHERE name = 'late'");
  CHECK_FALSE(store::find_start(*f.connection, "late").has_value());
  CHECK_THROWS_AS(log.acquire("me", 60s), Error);
}

TEST_CASE("a transaction that is rolled back leaves a hole in the numbers and none in the log") {
  Fixture f;
  const auto session = f.store->session();
  {
    Transaction tx{*session};
    *session << "SELECT outseal.append('t', '', 'x', 'never')";
  }
  f.append("a");
  CHECK(f.publish().bytes == "1:a;");
  CHECK(f.number("SELECT seq FROM outseal_outbox") == 2);
}

TEST_CASE("whatever becomes of the connection that reads ahead, no event is passed over") {
  Fixture f;
  const PostgresServer other;  // Its outbox is empty: each window of the first one would end there.
  const auto there = sql::open(Url::parse("--db", other.url()));
  store::migrate_up(*there, store::newest_version(there->dialect()), {});
  f.execute(
      "INSERT INTO outseal_outbox (topic, type, payload) SELECT 't', 'x', i::text"
      " FROM generate_series(1, 9) i");
  int tries = 0;
  const std::vector<store::OpenConnection> ways{
      [&] {
        ++tries;
        return sql::open(Url::parse("--db", other.url()));
      },
      [&]() -> std::unique_ptr<sql::Connection> {
        ++tries;
        throw Error{ErrorCode::unreachable, "open", "no connection is left"};
      },
      [&] {
        ++tries;
        return sql::open(f.store->url());
      }};
  for (const store::OpenConnection& way : ways) {
    SubscriptionLog log{*f.connection, "main", f.sink, way};
    const auto acquisition = log.acquire("me", 60s);
    REQUIRE(acquisition.granted);
    Cursor cursor = acquisition.state.cursor;
    std::string read;
    for (int pages = 0; pages < 20; ++pages) {
      const Batch page = log.read_page(cursor, {}, {.events_max = 2, .bytes_max = 1U << 20U});
      for (std::size_t i = 0; i < page.size(); ++i)
        read += std::to_string(page.entries[i].seq.value());
      cursor = page.to;
    }
    CHECK(read == "123456789");
  }
  CHECK(tries == 3);
}

TEST_CASE("large payloads are published, read again and redriven like small ones") {
  Fixture f;
  const std::string large(100'000, 'x');
  f.append(large);
  f.append("poison" + large, "k");
  f.append("b" + large, "k");
  f.append("c");
  const std::string bytes = "1:" + large + ";2:c;";
  CHECK(f.publish().bytes == bytes);
  CHECK(f.log.read_journal(Position{2}).bytes == bytes);
  f.execute(
      "UPDATE outseal_outbox SET payload = 'a' || payload WHERE seq = 2;"
      "UPDATE outseal_parked SET state = 'queued'");
  const std::string redriven = "3:apoison" + large + ";4:b" + large + ";";
  CHECK(f.publish().bytes == redriven);
  CHECK(f.log.read_journal(Position{3}).bytes == redriven);
}

TEST_CASE("the server is of the version that was asked for") {
  const char* const asked = std::getenv("OUTSEAL_POSTGRES_VERSION");
  if (asked == nullptr) return;
  CHECK(std::stoi(shared_server().execute("SHOW server_version_num")) / 10'000 == std::atoi(asked));
}

TEST_CASE("who finds another cluster's cursor is refused, although a lease came with it") {
  Fixture f;
  f.execute("UPDATE outseal_subscription SET source_system = '1', lease_owner = 'another'");
  try {
    f.log.acquire("me", 60s);
    FAIL("no error was thrown");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::refused);
  }
}

}  // namespace outseal::test
