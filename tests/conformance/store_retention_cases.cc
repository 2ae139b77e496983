// What retention keeps although it is old: topics that nobody takes, and what the database keeps.
#include "conformance/store_relay_fixture.h"
#include "store/parked.h"
#include "store/retention.h"
#include "store/topics.h"

using namespace outseal;
using namespace outseal::test;

namespace {

constexpr store::RetentionOptions kHour{.events = 1h, .journal = 0ms, .step_rows = 10};

std::int64_t events(Fixture& f) { return f.number("SELECT count(*) FROM outseal_outbox"); }

/// A subscription beside the fixture's "main", with a sink that takes every payload.
struct Other {
  class AnySink final : public Sink {
   public:
    SinkFeatures features() const override { return {}; }
    std::optional<std::string> encode(const EventRow& row, Position, std::string& out) override {
      out += row.payload;
      return std::nullopt;
    }
    OpenResult open() override { return {}; }
    DeliveryResult deliver(const Batch&, std::size_t) override { return {}; }
    void close() noexcept override {}
    std::unique_ptr<SinkReader> read() override { return nullptr; }
  };

  AnySink sink;
  SubscriptionLog log;
  Cursor cursor;
  Tail tail;

  explicit Other(Fixture& f, Start start = Start::beginning) : log{*f.connection, "other", sink} {
    log.declare(
        {.name = "other", .topics = {"*"}, .sink = "file:y", .event_source = {}, .start = start});
    const auto lease = log.acquire("me", 60s);
    REQUIRE(lease.granted);
    cursor = lease.state.cursor;
  }
  /// Publishes what there is, a page at a time.
  void publish_all(std::size_t events_max) {
    for (;;) {
      const Batch batch = log.read_page(cursor, tail, {.events_max = events_max});
      if (batch.entries.empty() && batch.to == cursor) return;
      REQUIRE(log.bind(batch, std::nullopt, 60s) == WriteOutcome::done);
      cursor = batch.to;
      if (batch.entries.empty()) continue;
      tail = batch.tail_after(batch.size());
      REQUIRE(log.acknowledge({tail, batch.first, ""}, 60s) == WriteOutcome::done);
    }
  }
};

/// An event that gets the number `seq`, as after a restore, or when numbers have begun again.
void bring(Fixture& f, int seq, const std::string& created_at) {
  const bool sqlite = f.connection->dialect() == "sqlite";
  if (sqlite)
    f.execute("DROP TRIGGER IF EXISTS outseal_outbox_insert");  // A restore makes it last.
  f.execute(std::string{"INSERT INTO outseal_outbox ("} + (sqlite ? "" : "tx, ") +
            "seq, created_at, topic, type, payload)" + (sqlite ? "" : " OVERRIDING SYSTEM VALUE") +
            " VALUES (" + (sqlite ? "" : "'5', ") + std::to_string(seq) + ", " + created_at +
            ", 't', 'x', 'brought')");
}

}  // namespace

TEST_CASE("events that no subscription takes stay until an operator gives their topic up") {
  Fixture f{{"orders.*"}};
  f.appends_old = true;
  f.append("a", "", "orders.paid");
  f.append("b", "", "order.paid");  // A typo, here or in the filter.
  f.append("c", "", "orders.paid");
  f.publish();
  store::RetentionProgress progress;
  CHECK(store::retain_step(*f.connection, "main", kHour, &progress) == 2);
  CHECK(progress.ended);
  CHECK(progress.untaken == 1);
  CHECK(progress.note().find("order.paid") != std::string::npos);
  const auto decide = [&](const std::string& pattern, bool give_up) {
    store::decide_topic(*f.connection,
                        {.pattern = pattern, .give_up = give_up, .act = {"me", "a typo"}});
    return store::retain_step(*f.connection, "main", kHour);
  };
  CHECK(decide("mails", true) == 0);
  CHECK(f.number("SELECT count(*) FROM outseal_audit WHERE act = 'topics.discard'") == 1);
  CHECK_THROWS_AS(decide("order.*", false), Error);  // Nobody has given it up.
  CHECK(decide("order.*", true) == 1);
  f.append("d", "", "order.paid");
  f.append("e", "", "orders.paid");
  CHECK(store::retain_step(*f.connection, "main", kHour) == 0);  // The relay is not there yet.
  CHECK(decide("order.*", false) == 0);
  f.publish();
  CHECK(store::retain_step(*f.connection, "main", kHour) == 1);
  CHECK(events(f) == 1);
}

TEST_CASE("an event that a later subscription takes was not given up for it") {
  Fixture f{{"orders.*"}};
  f.appends_old = true;
  f.append("a", "", "mails");
  f.append("b", "", "orders.paid");
  f.publish();
  store::decide_topic(*f.connection, {.pattern = "*", .give_up = true, .act = {"me", "nobody's"}});
  SubscriptionLog mails{*f.connection, "mails", f.sink};
  mails.declare({.name = "mails", .topics = {"mails"}, .sink = "file:y", .event_source = {}});
  CHECK(store::retain_step(*f.connection, "main", kHour) == 0);
  const auto lease = mails.acquire("me", 60s);
  const Batch batch = mails.read_page(lease.state.cursor, {}, {});
  REQUIRE(batch.bytes == "1:a;");
  REQUIRE(mails.bind(batch, std::nullopt, 60s) == WriteOutcome::done);
  REQUIRE(mails.acknowledge({batch.tail_after(1), batch.first, ""}, 60s) == WriteOutcome::done);
  CHECK(store::retain_step(*f.connection, "main", kHour) == 2);
}

TEST_CASE("events that a trigger of somebody's keeps are counted, and passed") {
  Fixture f;
  f.appends_old = true;
  f.append("kept");
  f.append("a");
  f.publish();
  if (f.connection->dialect() == "sqlite")
    f.execute(
        "CREATE TRIGGER mine BEFORE DELETE ON outseal_outbox WHEN old.seq = 1"
        " BEGIN SELECT RAISE(IGNORE); END");
  else
    f.execute(
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN IF old.seq = 1 THEN RETURN NULL; END IF; RETURN old; END';"
        "CREATE TRIGGER mine BEFORE DELETE ON outseal_outbox FOR EACH ROW EXECUTE FUNCTION keep()");
  store::RetentionProgress progress;
  CHECK(store::retain_step(*f.connection, "main", kHour, &progress) == 1);
  CHECK(progress.refused == 1);
  CHECK(progress.ended);
  CHECK(progress.note().find("trigger") != std::string::npos);
  CHECK(events(f) == 1);
}

TEST_CASE("a batch is shown to have been bound as long as any of its events is left") {
  Fixture f;
  f.append("young");
  f.appends_old = true;
  f.append("old");
  f.append("poison");
  f.append("last");
  f.publish();
  CHECK(f.parked() == "3=parked ");
  // On SQLite the batch's last event is the evidence for the young one.
  const bool sqlite = f.connection->dialect() == "sqlite";
  CHECK(store::retain_step(*f.connection, "main", kHour) == (sqlite ? 1 : 2));
  CHECK(store::retain_step(*f.connection, "main", kHour) == 0);
  f.execute("UPDATE outseal_parked SET state = 'discarded'");
  if (!sqlite) {
    CHECK(store::retain_step(*f.connection, "main", kHour) == 1);
    return;
  }
  f.execute("UPDATE outseal_outbox SET created_at = 1");
  CHECK(store::retain_step(*f.connection, "main", kHour) == 3);
}

TEST_CASE("an operator's word about an event holds for that event, not for its number") {
  Fixture f;
  f.appends_old = true;
  f.append("poison");
  f.execute("UPDATE outseal_outbox SET payload = payload");  // PostgreSQL: another one wrote it.
  f.publish();
  store::RetentionProgress progress;
  CHECK(store::retain_step(*f.connection, "main", kHour, &progress) == 0);
  f.execute("UPDATE outseal_parked SET state = 'discarded'");
  f.take_lead();  // No batch tells of it, and nothing is wrong.
  CHECK(store::retain_step(*f.connection, "main", kHour, &progress) == 1);
  bring(f, 1, "{long_ago}");
  progress = {};
  CHECK(store::retain_step(*f.connection, "main", kHour, &progress) == 0);
  CHECK(progress.passed_over == 1);
  CHECK(events(f) == 1);
}

TEST_CASE("an event that one subscription has given up is not given up for another one") {
  Fixture f;
  f.appends_old = true;
  f.append("poison");
  f.append("a");
  f.publish();
  Other other{f};
  other.publish_all(1);
  f.execute("UPDATE outseal_parked SET state = 'discarded'");
  // What showed that the other one has published it is gone, which is no reason to cry out: it was
  // there when it was set aside.
  f.execute("DELETE FROM outseal_journal WHERE subscription = 'other' AND first_position = 1");
  f.execute("UPDATE outseal_outbox SET payload = payload WHERE seq = 1");
  store::RetentionProgress progress;
  const bool sqlite = f.connection->dialect() == "sqlite";  // The second shows what became of it.
  CHECK(store::retain_step(*f.connection, "main", kHour, &progress) == (sqlite ? 0 : 1));
  CHECK(progress.kept() == 0);
  CHECK(f.number("SELECT min(seq) FROM outseal_outbox") == 1);
}

TEST_CASE("an event that came behind the start of a subscription later was not left out by it") {
  Fixture f{{"mails"}};
  f.appends_old = true;
  f.append("left out");
  f.publish();
  Other late{f, Start::now};
  CHECK(store::retain_step(*f.connection, "main", kHour) == 1);
  const bool sqlite = f.connection->dialect() == "sqlite";
  f.execute("UPDATE outseal_subscription SET created_at = {long_ago}");
  bring(f, 1, sqlite ? "2" : "to_timestamp(2)");  // A number that it left out, but later.
  for (const char* payload : {"a", "b"}) f.append(payload);
  f.publish();
  late.publish_all(100);
  CHECK(store::retain_step(*f.connection, "main", kHour) == 2);
  bring(f, 2, "{long_ago}");  // As early, but a number that it has read.
  store::RetentionProgress progress;
  CHECK(store::retain_step(*f.connection, "main", kHour, &progress) == 0);
  CHECK(progress.passed_over == (sqlite ? 1 : 2));
  CHECK(progress.unproven == (sqlite ? 1 : 0));
  CHECK(events(f) == 2);
}

TEST_CASE("where a subscription began in another cluster shows nothing in this one") {
  Fixture f{{"mails"}};
  f.appends_old = true;
  f.append("left out");
  f.execute("UPDATE outseal_outbox SET payload = payload");  // PostgreSQL: another one wrote it.
  f.publish();
  Other late{f, Start::now};
  const std::string system = f.connection->dialect() == "sqlite" ? "NULL" : "source_system";
  f.execute("UPDATE outseal_subscription SET source_system = '1', retention_note = " + system +
            " WHERE name = 'other'");
  CHECK(store::retain_step(*f.connection, "main", kHour) == 0);
  f.execute("UPDATE outseal_subscription SET source_system = retention_note WHERE name = 'other'");
  CHECK(store::retain_step(*f.connection, "main", kHour) == 1);
}

TEST_CASE("what is kept does not keep retention from what stands behind it") {
  Fixture f{{"orders"}};
  f.execute(
      "INSERT INTO outseal_outbox (topic, type, payload, created_at) WITH RECURSIVE n (i) AS"
      " (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6000)"
      " SELECT 'stock', 'x', 'e', {long_ago} FROM n");
  f.appends_old = true;
  f.append("a", "", "orders");
  while (f.publish(1'000).entries.empty()) {
  }
  store::RetentionProgress progress;
  std::uint64_t removed = 0;
  for (int step = 0; step < 10 && !progress.ended; ++step)
    removed += store::retain_step(*f.connection, "main", kHour, &progress);
  CHECK(removed == 1);
  CHECK(progress.untaken == 6000);
}

TEST_CASE("a redriven event stays until its new position is acknowledged") {
  Fixture f;
  f.appends_old = true;
  f.append("poison");
  f.publish();
  f.execute("UPDATE outseal_outbox SET payload = 'mended'");
  store::redrive(*f.connection, {.subscription = "main", .all = true}, {.actor = "me"});
  const Batch batch = f.page();
  REQUIRE(f.log.bind(batch, std::nullopt, 60s) == WriteOutcome::done);
  CHECK(store::retain_step(*f.connection, "main", kHour) == 0);
  f.take_lead();  // As after a crash.
  CHECK(f.log.read_journal(batch.first).bytes == "1:mended;");
  REQUIRE(f.log.acknowledge({batch.tail_after(1), batch.first, ""}, 60s) == WriteOutcome::done);
  CHECK(store::retain_step(*f.connection, "main", kHour) == 1);
}

TEST_CASE("the last batch that each subscription has acknowledged stays in the journal") {
  Fixture f;
  for (const char* payload : {"a", "b", "c"}) f.append(payload);
  f.publish();
  Other{f}.publish_all(1);
  f.execute("UPDATE outseal_journal SET acked_at = {long_ago}");
  constexpr store::RetentionOptions kJournal{.events = 0ms, .journal = 1h, .step_rows = 10};
  CHECK(store::retain_step(*f.connection, "main", kJournal) == 0);
  CHECK(store::retain_step(*f.connection, "other", kJournal) == 2);
  f.append("in flight");
  REQUIRE(f.log.bind(f.page(), std::nullopt, 60s) == WriteOutcome::done);
  CHECK(store::retain_step(*f.connection, "main", kJournal) == 0);
  CHECK(f.log.read_journal(Position{4}).prior == f.tail);
}

TEST_CASE("batches stay in the journal as long as events that they may tell of") {
  Fixture f;
  f.appends_old = true;
  for (int i = 0; i < 2; ++i) {
    f.append("a");
    f.publish();
  }
  f.append("late");
  Other other{f};
  f.execute("UPDATE outseal_journal SET acked_at = {long_ago}");
  // Another subscription has not passed them: until it has, no age of the journal counts.
  const store::RetentionOptions journal{.events = 0ms, .journal = 1ms, .step_rows = 10};
  const store::RetentionOptions both{.events = 1h, .journal = 1ms, .step_rows = 10};
  CHECK(store::retain_step(*f.connection, "main", journal) == 0);
  CHECK(store::retain_step(*f.connection, "main", both) == 0);
  other.publish_all(1);
  store::RetentionProgress progress;
  CHECK(store::retain_step(*f.connection, "main", both, &progress) == 2);  // All but "late".
  CHECK(progress.unproven == 0);
}
