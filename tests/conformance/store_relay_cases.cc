// What the relay may rely on: lease and fence, pages, intent, settlement, redrive, retention.
#include <doctest/doctest.h>
#include <soci/soci.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "conformance/store_suite.h"
#include "outseal/outseal.h"
#include "store/retention.h"
#include "store/subscription.h"

using namespace outseal;
using namespace std::chrono_literals;
using outseal::store::Ack;
using outseal::store::PageLimits;
using outseal::store::SubscriptionLog;
using outseal::store::Written;
using outseal::test::make_store;

namespace {

/// Encodes as "position:payload;" and refuses what starts with "poison".
class EncodingSink final : public Sink {
 public:
  SinkFeatures features() const override { return {}; }
  std::optional<std::string> encode(const EventRow& row, Position position,
                                    std::string& out) override {
    if (row.payload.starts_with("poison")) return "poison";
    out += std::to_string(position.value()) + ":" + std::string{row.payload} + ";";
    return std::nullopt;
  }
  OpenResult open() override { return {}; }
  DeliveryResult deliver(const Batch&, std::size_t) override { return {}; }
  void close() noexcept override {}
  std::unique_ptr<SinkReader> read() override { return nullptr; }
};

/// A store, a subscription and a relay's view of it.
struct Fixture {
  std::unique_ptr<test::StoreUnderTest> store = make_store();
  std::unique_ptr<soci::session> session = store->session();
  std::unique_ptr<sql::Connection> connection = sql::open(store->url());
  EncodingSink sink;
  SubscriptionLog log{*connection, "main", sink};
  store::SubscriptionState state;
  Cursor cursor;
  Tail tail;

  explicit Fixture(std::vector<std::string> topics = {"*"}) {
    log.declare(
        {.name = "main", .topics = std::move(topics), .sink = "file:x", .event_source = {}});
    take_lead();
  }
  void take_lead() {
    const auto acquisition = log.acquire("me", 60s);
    REQUIRE(acquisition.granted);
    state = acquisition.state;
    cursor = state.cursor;
    tail = state.acked;
  }
  void append(const std::string& payload, const std::string& key = "",
              const std::string& topic = "t") {
    Transaction tx{*session};
    outseal::append(tx, {.topic = topic,
                         .key = key,
                         .type = "x",
                         .payload = payload,
                         .content_type = "application/octet-stream"});
    tx.commit();
  }
  Batch page(std::size_t events_max = 100) {
    return log.read_page(cursor, tail, {.events_max = events_max, .bytes_max = 1U << 20U});
  }
  /// Binds and acknowledges one page.
  Batch publish(std::size_t events_max = 100) {
    Batch batch = page(events_max);
    REQUIRE(log.bind(batch, std::nullopt, 60s) == Written::done);
    cursor = batch.to;
    if (!batch.entries.empty()) {
      tail = batch.tail_after(batch.size());
      REQUIRE(log.acknowledge({tail, batch.first, "mark"}, 60s) == Written::done);
    }
    return batch;
  }
  std::int64_t number(const std::string& sql) {
    const auto statement = connection->prepare(sql);
    REQUIRE(statement->step());
    return statement->integer(0);
  }
  std::string parked() {
    const auto rows = connection->prepare("SELECT seq, state FROM outseal_parked ORDER BY seq");
    std::string text;
    while (rows->step())
      text += std::to_string(rows->integer(0)) + "=" + std::string{rows->text(1)} + " ";
    return text;
  }
};

}  // namespace

TEST_CASE("a subscription keeps the sink, topics and source that it was declared with") {
  Fixture f;
  const auto redeclare = [&](store::SubscriptionSpec spec) {
    try {
      f.log.declare(spec);
      return true;
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::refused);
      CHECK_FALSE(error.hint().empty());
      return false;
    }
  };
  CHECK(redeclare({.name = "main", .topics = {"*"}, .sink = "file:x", .event_source = {}}));
  CHECK_FALSE(redeclare({.name = "main", .topics = {"*"}, .sink = "file:y", .event_source = {}}));
  CHECK_FALSE(redeclare({.name = "main", .topics = {"a"}, .sink = "file:x", .event_source = {}}));
  CHECK_FALSE(redeclare({.name = "main", .topics = {"*"}, .sink = "file:x", .event_source = "/z"}));
  CHECK(store::find_subscription(*f.connection, "main")->event_source == "/outseal/main");
  CHECK_FALSE(store::find_subscription(*f.connection, "other").has_value());
  CHECK_THROWS_AS(f.log.declare({.name = "a b", .topics = {}, .sink = "", .event_source = {}}),
                  Error);
}

TEST_CASE("a lease is denied while it lasts and taken when it has run out") {
  Fixture f;
  SubscriptionLog other{*f.connection, "main", f.sink};
  const auto denied = other.acquire("other", 60s);
  CHECK_FALSE(denied.granted);
  CHECK(denied.holder == "me");
  CHECK(denied.remaining > 0ms);
  CHECK(f.log.renew(1ms) == Written::done);
  while (!other.acquire("other", 60s).granted) {
  }
  CHECK(f.log.renew(60s) == Written::fenced);
}

TEST_CASE("a released lease is free at once") {
  Fixture f;
  f.log.release();
  SubscriptionLog other{*f.connection, "main", f.sink};
  CHECK(other.acquire("other", 60s).granted);
}

TEST_CASE("a relay that lost its lease can write nothing") {
  Fixture f;
  f.append("a");
  const Batch page = f.page();
  REQUIRE(f.log.bind(page, std::nullopt, 1ms) == Written::done);
  SubscriptionLog other{*f.connection, "main", f.sink};
  while (!other.acquire("other", 60s).granted) {
  }
  const auto version = f.number("SELECT version FROM outseal_subscription");
  Cursor cursor;
  CHECK(f.log.acknowledge({page.tail_after(1), page.first, ""}, 60s) == Written::fenced);
  CHECK(f.log.settle(page, 0, "no", cursor, 60s) == Written::fenced);
  CHECK(f.log.bind(page, std::nullopt, 60s) == Written::fenced);
  CHECK(f.log.renew(60s) == Written::fenced);
  f.log.release();
  CHECK(f.number("SELECT version FROM outseal_subscription") == version);
  CHECK(f.number("SELECT count(*) FROM outseal_parked") == 0);
  CHECK(f.number("SELECT lease_until FROM outseal_subscription") > 0);
}

TEST_CASE("pages follow the log in order, with dense positions") {
  Fixture f;
  for (const char* payload : {"a", "b", "c", "d", "e"}) f.append(payload);
  const Batch first = f.publish(2);
  CHECK(first.bytes == "1:a;2:b;");
  CHECK(f.publish(2).bytes == "3:c;4:d;");
  const Batch last = f.publish(2);
  CHECK(last.bytes == "5:e;");
  CHECK(last.first == Position{5});
  CHECK(f.page().entries.empty());
  CHECK(f.page().to == f.cursor);
}

TEST_CASE("a page ends at its byte limit") {
  Fixture f;
  for (int i = 0; i < 10; ++i) f.append(std::string(100, 'x'));
  CHECK(f.log.read_page(f.cursor, f.tail, {.events_max = 100, .bytes_max = 250}).size() == 3);
}

TEST_CASE("topics are filtered and the cursor passes what does not match") {
  Fixture f{{"orders.*", "mail"}};
  f.append("a", "", "orders.new");
  f.append("b", "", "stock");
  f.append("c", "", "mail");
  f.append("d", "", "mailbox");
  const Batch batch = f.publish();
  CHECK(batch.bytes == "1:a;2:c;");
  CHECK(f.page().to == f.cursor);
  CHECK(f.number("SELECT after_seq FROM outseal_subscription") == 4);
  CHECK(f.number("SELECT acked_seq FROM outseal_subscription") == 4);
}

TEST_CASE("a bound batch is read again with the same bytes and the right predecessor") {
  Fixture f;
  for (const char* payload : {"a", "b", "c"}) f.append(payload);
  const Batch first = f.publish(2);
  const Batch second = f.page();
  REQUIRE(f.log.bind(second, std::nullopt, 60s) == Written::done);
  f.append("later");
  f.take_lead();
  CHECK(f.state.bound == Position{3});
  CHECK(f.state.acked == first.tail_after(2));
  const Batch again = f.log.read_journal(Position{3});
  CHECK(again.bytes == second.bytes);
  CHECK(again.hash == second.hash);
  CHECK(again.prior == first.tail_after(2));
  CHECK(again.to == second.to);
  CHECK_THROWS_AS(f.log.read_journal(Position{4}), Error);
}

TEST_CASE("a bound event that was changed or removed is refused, not guessed") {
  Fixture f;
  f.append("a");
  f.append("b");
  REQUIRE(f.log.bind(f.page(), std::nullopt, 60s) == Written::done);
  f.connection->execute("UPDATE outseal_outbox SET payload = 'z' WHERE seq = 1");
  CHECK_THROWS_AS(f.log.read_journal(Position{1}), Error);
  f.connection->execute("UPDATE outseal_outbox SET payload = 'a' WHERE seq = 1");
  CHECK(f.log.read_journal(Position{1}).size() == 2);
  f.connection->execute("DELETE FROM outseal_outbox WHERE seq = 2");
  CHECK_THROWS_AS(f.log.read_journal(Position{1}), Error);
}

TEST_CASE("an event that the sink will not take is parked with its key behind it") {
  Fixture f;
  f.append("a", "k");
  f.append("poison", "k");
  f.append("b", "k");
  f.append("c", "other");
  f.append("poison");
  f.append("d");
  CHECK(f.publish().bytes == "1:a;2:c;3:d;");
  CHECK(f.parked() == "2=parked 3=parked 5=parked ");
  f.append("e", "k");  // In a later page, too.
  f.append("f", "other");
  CHECK(f.publish().bytes == "4:f;");
  CHECK(f.parked() == "2=parked 3=parked 5=parked 7=parked ");
  CHECK(f.log.read_journal(Position{1}).bytes == "1:a;2:c;3:d;");
}

TEST_CASE("queued events are redriven in order, before the log, and unblock their key") {
  Fixture f;
  f.append("poison", "k");
  f.append("a", "k");
  f.publish();
  f.connection->execute("UPDATE outseal_outbox SET payload = 'healed' WHERE seq = 1");
  f.connection->execute("UPDATE outseal_parked SET state = 'queued'");
  f.append("b", "k");
  const Batch redrive = f.publish();
  CHECK(redrive.kind == BatchKind::redrive);
  CHECK(redrive.bytes == "1:healed;2:a;");
  CHECK(f.publish().bytes == "3:b;");
  CHECK(f.parked() == "1=redriven 2=redriven ");
  CHECK(f.log.read_journal(Position{2}).bytes == redrive.bytes);
}

TEST_CASE("an event that arrives behind queued ones is queued with them") {
  Fixture f;
  f.append("poison", "k");
  f.publish();
  f.append("a", "k");
  const Batch page = f.page();
  f.connection->execute("UPDATE outseal_outbox SET payload = 'healed' WHERE seq = 1");
  f.connection->execute("UPDATE outseal_parked SET state = 'queued'");
  REQUIRE(f.log.bind(page, std::nullopt, 60s) == Written::done);
  f.cursor = page.to;
  CHECK(f.parked() == "1=queued 2=queued ");
  CHECK(f.publish().bytes == "1:healed;2:a;");
}

TEST_CASE("a redrive page that an operator overtook is stale and writes nothing") {
  Fixture f;
  f.append("poison");
  f.publish();
  f.connection->execute("UPDATE outseal_outbox SET payload = 'healed'");
  f.connection->execute("UPDATE outseal_parked SET state = 'queued'");
  const Batch page = f.page();
  f.connection->execute("UPDATE outseal_parked SET state = 'discarded'");
  CHECK(f.log.bind(page, std::nullopt, 60s) == Written::stale);
  CHECK(f.number("SELECT count(*) FROM outseal_journal") == 0);
  CHECK(f.number("SELECT bound_position FROM outseal_subscription") == 0);
}

TEST_CASE("a refusal after binding parks the event and unbinds the rest") {
  Fixture f;
  for (const char* payload : {"a", "b", "c"}) f.append(payload, "k");
  f.append("d", "other");
  const Batch batch = f.page();
  REQUIRE(f.log.bind(batch, std::nullopt, 60s) == Written::done);
  REQUIRE(f.log.settle(batch, 1, "too odd", f.cursor, 60s) == Written::done);
  f.tail = batch.tail_after(1);
  CHECK(f.parked() == "2=parked ");
  CHECK(f.log.read_journal(Position{1}).bytes == "1:a;");
  CHECK(f.publish().bytes == "2:d;");
  CHECK(f.parked() == "2=parked 3=parked ");
  CHECK(f.log.read_journal(Position{2}).bytes == "2:d;");
}

TEST_CASE("a refusal of a batch's first event leaves no journal row of it") {
  Fixture f;
  f.append("a");
  f.append("b");
  const Batch batch = f.page();
  REQUIRE(f.log.bind(batch, std::nullopt, 60s) == Written::done);
  REQUIRE(f.log.settle(batch, 0, "no", f.cursor, 60s) == Written::done);
  CHECK(f.number("SELECT count(*) FROM outseal_journal") == 0);
  CHECK(f.publish().bytes == "1:b;");
}

TEST_CASE("a refused redrive parks the event again and its key behind it") {
  Fixture f;
  f.append("poison", "k");
  f.append("b", "k");
  f.append("poison");
  f.publish();
  f.connection->execute("UPDATE outseal_outbox SET payload = 'x' WHERE seq <> 2");
  f.connection->execute("UPDATE outseal_parked SET state = 'queued'");
  const Batch batch = f.page();
  REQUIRE(f.log.bind(batch, std::nullopt, 60s) == Written::done);
  REQUIRE(f.log.settle(batch, 0, "still no", f.cursor, 60s) == Written::done);
  CHECK(f.parked() == "1=parked 2=parked 3=queued ");
  CHECK(f.number("SELECT attempts FROM outseal_parked WHERE seq = 1") == 2);
  CHECK(f.publish().bytes == "1:x;");
}

TEST_CASE("retention removes what is acknowledged and old, never anything else") {
  Fixture f;
  for (int i = 0; i < 5; ++i) f.append("old" + std::to_string(i));
  f.append("poison", "k");
  f.publish(3);
  f.publish(3);
  f.append("unpublished");
  f.connection->execute("UPDATE outseal_outbox SET created_at = 1");
  const store::RetentionOptions options{.events = 1h, .journal = 0ms, .step_rows = 2};
  CHECK(store::retain_step(*f.connection, "main", {.events = 0ms, .journal = 0ms}) == 0);
  CHECK(store::retain_step(*f.connection, "main", options) == 2);
  CHECK(store::retain_step(*f.connection, "main", options) == 2);
  CHECK(store::retain_step(*f.connection, "main", options) == 1);
  CHECK(store::retain_step(*f.connection, "main", options) == 0);
  CHECK(f.number("SELECT count(*) FROM outseal_outbox") == 2);
  CHECK(f.publish().bytes == "6:unpublished;");
  CHECK(store::retain_step(*f.connection, "main", options) == 1);
  f.append("young");
  f.publish();
  CHECK(store::retain_step(*f.connection, "main", options) == 0);
}

TEST_CASE("retention waits for the slowest subscription and for events in flight") {
  Fixture f;
  f.append("a");
  SubscriptionLog slow{*f.connection, "slow", f.sink};
  slow.declare({.name = "slow", .topics = {"*"}, .sink = "file:y", .event_source = {}});
  f.connection->execute("UPDATE outseal_outbox SET created_at = 1");
  f.publish();
  const store::RetentionOptions options{.events = 1h, .journal = 0ms, .step_rows = 10};
  CHECK(store::retain_step(*f.connection, "main", options) == 0);
  REQUIRE(slow.acquire("me", 60s).granted);
  const Batch batch = slow.read_page({}, {}, {});
  REQUIRE(slow.bind(batch, std::nullopt, 60s) == Written::done);
  CHECK(store::retain_step(*f.connection, "main", options) == 0);
  REQUIRE(slow.acknowledge({batch.tail_after(1), batch.first, ""}, 60s) == Written::done);
  CHECK(store::retain_step(*f.connection, "main", options) == 1);
}

TEST_CASE("journal retention keeps the last acknowledged batch") {
  Fixture f;
  for (int i = 0; i < 4; ++i) {
    f.append("x");
    f.publish();
  }
  f.connection->execute("UPDATE outseal_journal SET acked_at = 1");
  const store::RetentionOptions options{.events = 0ms, .journal = 1h, .step_rows = 10};
  CHECK(store::retain_step(*f.connection, "main", options) == 3);
  f.take_lead();
  f.append("y");
  const Batch batch = f.publish();
  CHECK(batch.prior.position == Position{4});
  CHECK(f.log.read_journal(Position{5}).prior == batch.prior);
}
