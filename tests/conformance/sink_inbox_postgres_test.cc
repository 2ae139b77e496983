// The sink suite on the SQL inbox of a PostgreSQL database, and what only a server can get wrong.
#include <doctest/doctest.h>
#include <soci/postgresql/soci-postgresql.h>
#include <soci/soci.h>

#include <cstdlib>

#include "conformance/inbox_fixture.h"
#include "outseal/error.h"
#include "sinks/registry.h"
#include "store/migrations.h"
#include "support/postgres_server.h"
#include "support/wire_proxy.h"

namespace outseal::test {
namespace {

using Opened = OpenResult::Status;
using Status = DeliveryResult::Status;

void migrate(const std::string& url) {
  const auto connection = sql::open(Url::parse("--db", url));
  store::migrate_up(*connection, store::newest_version(connection->dialect()), {});
}

class PostgresInbox final : public InboxUnderTest {
 public:
  explicit PostgresInbox(bool with_schema) : database_{shared_server().fresh_database()} {
    if (with_schema) migrate(shared_server().url(database_));
  }
  ~PostgresInbox() override { shared_server().drop_database(database_); }
  PostgresInbox(const PostgresInbox&) = delete;
  PostgresInbox& operator=(const PostgresInbox&) = delete;

  Url url() const override { return Url::parse("--sink", shared_server().url(database_)); }
  std::unique_ptr<soci::session> session() const override {
    return std::make_unique<soci::session>(soci::postgresql, shared_server().conninfo(database_));
  }
  const std::string& database() const { return database_; }

 private:
  std::string database_;
};

std::unique_ptr<Sink> sink_of(const std::string& url) {
  return sinks::make_sink(Url::parse("--sink", url), sinks::context_of("/outseal/test", "main"));
}

}  // namespace

std::unique_ptr<InboxUnderTest> make_inbox(bool with_schema) {
  if (skipped_without_postgres()) std::exit(0);  // Every case here needs it.
  return std::make_unique<PostgresInbox>(with_schema);
}

TEST_CASE("what waiting cannot mend is unusable, and says what to do") {
  const PostgresInbox inbox{true};
  PostgresServer& server = shared_server();
  server.execute("CREATE ROLE stranger LOGIN PASSWORD '" + server.password() + "'");
  server.execute("CREATE ROLE half LOGIN PASSWORD '" + server.password() + "'");
  server.execute(
      "GRANT USAGE ON SCHEMA outseal TO half; GRANT SELECT ON ALL TABLES IN SCHEMA"
      " outseal TO half",
      inbox.database());
  for (const std::string& url :
       {server.url("no_such_database"), server.url(inbox.database(), "admin", "wrong"),
        server.url(inbox.database(), "nobody_at_all"), server.url(inbox.database(), "stranger"),
        server.url(inbox.database(), "half")}) {
    const auto opened = sink_of(url)->open();
    INFO(opened.detail);
    CHECK(opened.status == Opened::unusable);
    CHECK_FALSE(opened.hint.empty());
    CHECK(opened.detail.find(server.password()) == std::string::npos);
  }
  server.execute("DROP OWNED BY half", inbox.database());
  server.execute("DROP ROLE half; DROP ROLE stranger");
}

TEST_CASE("a URL that no server could be asked by is refused before anything is opened") {
  const PostgresInbox inbox{true};
  const std::string url = shared_server().url(inbox.database());
  for (const std::string& wrong :
       {url + "?no_such_parameter=1", url + "?port=x", std::string{"postgresql://h:abc/shop"},
        std::string{"postgresql://h:65536/shop"}, std::string{"postgresql://h:1,i:0/shop"}}) {
    INFO(wrong);
    CHECK_THROWS_AS(sink_of(wrong), Error);
  }
}

TEST_CASE("a server whose commits are not durable is used with a warning") {
  if (skipped_without_postgres()) return;
  PostgresOptions options{.durable = true};
  bool is_durable = false;
  SUBCASE("fsync off") { options.settings = {"fsync=off"}; }
  SUBCASE("full_page_writes off") { options.settings = {"full_page_writes=off"}; }
  SUBCASE("a session may leave synchronous_commit off: the sink does not") {
    options.settings = {"synchronous_commit=off"};
    is_durable = true;
  }
  PostgresServer server{options};
  migrate(server.url());
  const auto opened = sink_of(server.url())->open();
  CHECK(opened.status == Opened::opened);
  CHECK(opened.tail == Tail{});
  CHECK(opened.detail.empty() == is_durable);
  CHECK(opened.hint.empty() == is_durable);
}

TEST_CASE("a user with the role outseal_sink, and nothing else, is enough") {
  const PostgresInbox inbox{true};
  PostgresServer& server = shared_server();
  server.execute("CREATE ROLE carrier LOGIN PASSWORD '" + server.password() +
                 "' IN ROLE outseal_sink");
  const auto sink = sink_of(server.url(inbox.database(), "carrier"));
  REQUIRE(sink->open().status == Opened::opened);
  const Batch batch = make_batch(*sink, {}, 5);
  CHECK(sink->deliver(batch, 0).status == Status::delivered);
  CHECK(inbox.stored() == batch.bytes);
  SinkRecord record;
  CHECK(sink->read()->next(record));
  server.execute("DROP ROLE carrier");
}

TEST_CASE("a server that is away is waited for, and nothing is stored twice when it is back") {
  if (skipped_without_postgres()) return;
  PostgresServer server;
  const std::string url = server.url("shop");
  server.create_database("shop");
  migrate(url);
  const auto sink = sink_of(url);
  REQUIRE(sink->open().status == Opened::opened);
  const Batch batch = make_batch(*sink, {}, 6);
  CHECK(sink->deliver(batch, 0).status == Status::delivered);
  server.stop_immediate();
  const auto lost = sink->deliver(make_batch(*sink, tail_of(6), 4), 0);
  CHECK(lost.status == Status::retry_later);
  CHECK_FALSE(lost.detail.empty());
  CHECK(sink->open().status == Opened::retry_later);
  CHECK(sink->deliver(batch, 0).status == Status::retry_later);
  server.start();
  CHECK(sink->open().tail == tail_of(6));
  CHECK(sink->deliver(make_batch(*sink, tail_of(6), 4), 0).status == Status::delivered);
  CHECK(server.execute("SELECT count(*) FROM outseal.inbox_event", "shop") == "10");
}

TEST_CASE("a standby, whose tail may be old, is not used; a read-only database is waited for") {
  if (skipped_without_postgres()) return;
  PostgresServer server;
  server.create_database("shop");
  migrate(server.url("shop"));
  const auto standby = server.make_standby();
  standby->wait_for_replay(server);
  const auto opened = sink_of(standby->url("shop"))->open();
  CHECK(opened.status == Opened::retry_later);
  CHECK(opened.detail.find("standby") != std::string::npos);

  server.execute("ALTER DATABASE shop SET default_transaction_read_only = on");
  const auto read_only = sink_of(server.url("shop"))->open();  // It makes the stream's row.
  CHECK(read_only.status == Opened::retry_later);
  CHECK_FALSE(read_only.hint.empty());
}

TEST_CASE("when the answer to a commit is lost, the tail tells what became of it") {
  for (const WireProxy::Cut cut : {WireProxy::Cut::before_commit, WireProxy::Cut::after_commit}) {
    const bool happened = cut == WireProxy::Cut::after_commit;
    CAPTURE(happened);
    const PostgresInbox inbox{true};
    WireProxy wire{shared_server().port()};
    const std::string url = "postgresql://admin:" + shared_server().password() +
                            "@127.0.0.1:" + std::to_string(wire.port()) + "/" + inbox.database() +
                            "?sslmode=disable&gssencmode=disable";
    const auto sink = sink_of(url);
    std::uint64_t count = 0;
    for (const std::size_t size : {5U, 500U}) {
      REQUIRE(sink->open().tail == tail_of(count));
      const Batch batch = make_batch(*sink, tail_of(count), size);
      wire.cut(cut);
      CHECK(sink->deliver(batch, 0).status == Status::retry_later);
      const auto opened = sink->open();
      CHECK(opened.tail == tail_of(happened ? count + size : count));
      if (!happened) CHECK(sink->deliver(batch, 0).status == Status::delivered);
      count += size;
    }
    CHECK(inbox.stored() == make_batch(*inbox.make(), {}, count).bytes);
  }
}

TEST_CASE("a batch is stored in one round trip") {
  const PostgresInbox inbox{true};
  WireProxy wire{shared_server().port()};
  const auto sink = sink_of("postgresql://admin:" + shared_server().password() +
                            "@127.0.0.1:" + std::to_string(wire.port()) + "/" + inbox.database() +
                            "?sslmode=disable&gssencmode=disable");
  REQUIRE(sink->open().status == Opened::opened);
  REQUIRE(sink->deliver(make_batch(*sink, {}, 10), 0).status == Status::delivered);
  wire.take();
  CHECK(sink->deliver(make_batch(*sink, tail_of(10), 100), 0).status == Status::delivered);
  const auto seen = wire.take();
  CHECK(seen.round_trips == 1);
  CHECK(seen.count("INSERT 0 100") == 1);
  CHECK(seen.count("COMMIT") == 1);
}

}  // namespace outseal::test
