// What operators may rely on: where a subscription starts, and that pausing one loses nothing.
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "conformance/store_relay_fixture.h"
#include "relay/relay.h"
#include "store/audit.h"
#include "store/pause.h"
#include "store/retention.h"
#include "store/status.h"

using namespace outseal;
using namespace outseal::test;

namespace {

/// A subscription of its own beside the fixture's "main".
struct Late {
  SubscriptionLog log;
  Cursor cursor;
  Tail tail;

  Late(Fixture& f, store::Start start) : log{*f.connection, "late", f.sink} {
    CHECK(log.declare({.name = "late",
                       .topics = {"*"},
                       .sink = "file:late",
                       .event_source = {},
                       .start = start}));
    const auto acquisition = log.acquire("me", 60s);
    REQUIRE(acquisition.granted);
    cursor = acquisition.state.cursor;
  }
  std::string publish() {
    const Batch batch = log.read_page(cursor, tail, {});
    REQUIRE(log.bind(batch, std::nullopt, 60s) == Written::done);
    cursor = batch.to;
    if (batch.entries.empty()) return {};
    tail = batch.tail_after(batch.size());
    REQUIRE(log.acknowledge({tail, batch.first, ""}, 60s) == Written::done);
    return batch.bytes;
  }
};

/// Keeps what it is given in memory, under the condition that a sink has. A delivery waits until
/// it is let go.
class HeldSink final : public Sink {
 public:
  struct Store {
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<Tail> stored;
    bool is_entered = false;
    bool is_free = false;
  };
  explicit HeldSink(std::shared_ptr<Store> store) : store_{std::move(store)} {}
  SinkFeatures features() const override { return {.has_tail = true, .conditional_append = true}; }
  std::optional<std::string> encode(const EventRow& row, Position position,
                                    std::string& out) override {
    out += std::to_string(position.value()) + std::string{row.payload};
    return std::nullopt;
  }
  OpenResult open() override {
    const std::lock_guard lock{store_->mutex};
    return {.tail = store_->stored.empty() ? Tail{} : store_->stored.back()};
  }
  DeliveryResult deliver(const Batch& batch, std::size_t from) override {
    std::unique_lock lock{store_->mutex};
    store_->is_entered = true;
    store_->changed.notify_all();
    store_->changed.wait(lock, [this] { return store_->is_free; });
    const Tail tail = store_->stored.empty() ? Tail{} : store_->stored.back();
    if (tail != batch.tail_after(from)) return {.status = DeliveryResult::Status::conflict};
    for (std::size_t i = from; i < batch.size(); ++i)
      store_->stored.push_back(batch.tail_after(i + 1));
    return {.done = batch.size()};
  }
  void close() noexcept override {}
  std::unique_ptr<SinkReader> read() override { return nullptr; }

 private:
  std::shared_ptr<Store> store_;
};

}  // namespace

TEST_CASE("a subscription that starts now gets what commits later, and nothing from before") {
  Fixture f;
  f.append("a");
  f.append("b");
  Late late{f, store::Start::now};
  CHECK(late.publish().empty());
  CHECK(store::read_status(*f.connection).at(0).waiting == 0);
  f.append("c");
  CHECK(store::read_status(*f.connection).at(0).waiting == 1);
  CHECK(late.publish() == "1:c;");
  CHECK(f.publish().bytes == "1:a;2:b;3:c;");
}

TEST_CASE("a late subscription starts at the beginning unless it is told otherwise") {
  Fixture f;
  f.append("a");
  Late late{f, store::Start::beginning};
  f.append("b");
  CHECK(late.publish() == "1:a;2:b;");
  CHECK(f.number("SELECT count(*) FROM outseal_audit") == 0);
}

TEST_CASE("a start never moves the cursor of a subscription that exists") {
  Fixture f;
  f.append("a");
  CHECK_FALSE(f.log.declare({.name = "main",
                             .topics = {"*"},
                             .sink = "file:x",
                             .event_source = {},
                             .start = store::Start::now}));
  f.take_lead();
  CHECK(f.publish().bytes == "1:a;");
}

TEST_CASE(
    "what a subscription leaves out by its start is on record, and not held back from retention") {
  Fixture f;
  f.append("a");
  Late late{f, store::Start::now};
  f.append("b");
  f.execute("UPDATE outseal_outbox SET created_at = {long_ago}");
  CHECK(f.number("SELECT count(*) FROM outseal_audit WHERE act = 'subscription.start'"
                 " AND subject = 'late'") == 1);
  CHECK(store::find_start(*f.connection, "late") == late.cursor);
  CHECK(store::find_start(*f.connection, "main") == Cursor{});
  const store::RetentionOptions options{.events = 1h, .journal = 0ms, .step_rows = 10};
  CHECK(store::retain_step(*f.connection, "late", options) == 0);  // main needs both.
  f.publish();
  CHECK(store::retain_step(*f.connection, "late", options) == 1);
  CHECK(late.publish() == "1:b;");
  CHECK(store::retain_step(*f.connection, "late", options) == 1);
}

TEST_CASE("pausing fences the leader at once, and nobody leads until it is resumed") {
  Fixture f;
  f.append("a");
  const Batch page = f.page();
  REQUIRE(f.log.bind(page, std::nullopt, 60s) == Written::done);
  const store::PauseDecision decision{.actor = "alice", .reason = "the receiver moves"};
  CHECK(store::pause(*f.connection, "main", decision));
  CHECK(f.log.acknowledge({page.tail_after(1), page.first, ""}, 60s) == Written::fenced);
  CHECK(f.log.bind(page, std::nullopt, 60s) == Written::fenced);
  CHECK(f.log.renew(60s) == Written::fenced);
  const auto denied = f.log.acquire("me", 60s);
  CHECK_FALSE(denied.granted);
  CHECK(denied.paused);
  CHECK(store::read_status(*f.connection).at(0).state == "paused");
  CHECK(store::read_status(*f.connection).at(0).lease_owner.empty());
  CHECK_FALSE(store::pause(*f.connection, "main", decision));

  CHECK(store::resume(*f.connection, "main", {.actor = "bob", .reason = {}}));
  CHECK_FALSE(store::resume(*f.connection, "main", {.actor = "bob", .reason = {}}));
  f.take_lead();
  CHECK(f.state.bound == Position{1});
  CHECK(f.state.acked == Tail{});
  CHECK(f.log.read_journal(Position{1}).bytes == page.bytes);
  CHECK(f.number("SELECT count(*) FROM outseal_audit WHERE act = 'subscription.pause'"
                 " AND actor = 'alice' AND subject = 'main'") == 1);
  CHECK(f.number("SELECT count(*) FROM outseal_audit") == 2);
  CHECK_FALSE(store::verify_audit(*f.connection).has_value());
}

TEST_CASE("only a subscription that exists is paused, by who can be written down") {
  Fixture f;
  CHECK_THROWS_AS(store::pause(*f.connection, "other", {.actor = "a", .reason = {}}), Error);
  CHECK_THROWS_AS(store::resume(*f.connection, "other", {.actor = "a", .reason = {}}), Error);
  CHECK_THROWS_AS(store::pause(*f.connection, "main", {.actor = "a\xff", .reason = {}}), Error);
  CHECK(f.number("SELECT count(*) FROM outseal_audit") == 0);
  CHECK(store::read_status(*f.connection).at(0).state == "running");
}

TEST_CASE("a batch on its way when the subscription is paused is in the sink once after resume") {
  Fixture f;
  f.log.release();
  for (const char* payload : {"a", "b", "c"}) f.append(payload);
  const auto store = std::make_shared<HeldSink::Store>();
  relay::RelayOptions options;
  options.database = f.store->url();
  options.subscription.sink = "file:x";
  options.subscription.event_source = "/outseal/main";
  std::atomic<bool> is_paused = false;
  const relay::RelayObserver observe = [&is_paused](const relay::RelayEvent& event) {
    if (event.event == "paused") is_paused = true;
  };
  std::stop_source stop;
  std::thread relay{[&] {
    relay::run(options, std::make_unique<HeldSink>(store), stop.get_token(), observe,
               [](std::uint64_t) {});
  }};
  {
    std::unique_lock lock{store->mutex};
    store->changed.wait(lock, [&] { return store->is_entered; });
  }
  CHECK(store::pause(*f.connection, "main", {.actor = "alice", .reason = {}}));
  {
    const std::lock_guard lock{store->mutex};
    store->is_free = true;
  }
  store->changed.notify_all();
  while (!is_paused) std::this_thread::sleep_for(5ms);
  CHECK(f.number("SELECT bound_position FROM outseal_subscription") == 3);
  CHECK(f.number("SELECT acked_position FROM outseal_subscription") == 0);
  f.append("d");
  CHECK(store::resume(*f.connection, "main", {.actor = "alice", .reason = {}}));
  while (f.number("SELECT acked_position FROM outseal_subscription") < 4)
    std::this_thread::sleep_for(5ms);
  stop.request_stop();
  relay.join();
  REQUIRE(store->stored.size() == 4);
  for (std::size_t i = 0; i < 4; ++i) CHECK(store->stored[i].position == Position{i + 1});
}
