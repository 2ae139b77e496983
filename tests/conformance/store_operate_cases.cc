// What operators may rely on: where a subscription starts, and that pausing one loses nothing.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "base/owner.h"
#include "conformance/store_helpers.h"
#include "conformance/store_relay_fixture.h"
#include "relay/relay.h"
#include "store/audit.h"
#include "store/halt.h"
#include "store/parked.h"
#include "store/pause.h"
#include "store/retention.h"
#include "store/status.h"
#include "store/subscription_acts.h"

using namespace outseal;
using namespace outseal::test;

namespace {

/// A subscription of its own beside the fixture's "main".
struct Late {
  SubscriptionLog log;
  Cursor cursor;
  Tail tail;

  Late(Fixture& f, Start start) : log{*f.connection, "late", f.sink} {
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
    REQUIRE(log.bind(batch, std::nullopt, 60s) == WriteOutcome::done);
    cursor = batch.to;
    if (batch.entries.empty()) return {};
    tail = batch.tail_after(batch.size());
    REQUIRE(log.acknowledge({tail, batch.first, ""}, 60s) == WriteOutcome::done);
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
  SinkFeatures features() const override { return {.second_copy = SecondCopy::refuses}; }
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

/// A sink that ends where it is told to, and remembers what it was asked.
class EndedSink final : public Sink {
 public:
  explicit EndedSink(Tail tail) : tail_{tail} {}
  SinkFeatures features() const override { return {.second_copy = SecondCopy::refuses}; }
  std::optional<std::string> encode(const EventRow&, Position, std::string&) override { return {}; }
  void resume_from(const Tail& acked, std::string_view mark) override {
    acked_ = acked;
    mark_ = mark;
  }
  OpenResult open() override {
    if (while_open) while_open();
    ++open_;
    OpenResult result{.tail = tail_};
    result.identity = "its identity";
    return result;
  }
  DeliveryResult deliver(const Batch&, std::size_t) override { return {}; }
  void close() noexcept override { --open_; }
  std::unique_ptr<SinkReader> read() override { return nullptr; }

  bool is_open() const { return open_ != 0; }
  const Tail& acked() const { return acked_; }
  const std::string& mark() const { return mark_; }
  std::function<void()> while_open;

 private:
  Tail tail_;
  Tail acked_;
  std::string mark_;
  int open_ = 0;
};

/// Moves "main" to a sink that ends at `tail`.
store::Moved move_to(Fixture& f, EndedSink& sink, const std::string& actor = "me") {
  return store::move_subscription(*f.connection, "main", {.address = "file:new", .sink = sink},
                                  {.actor = actor, .reason = "a test"});
}
bool is_refused(Fixture& f, const Tail& tail) {
  EndedSink sink{tail};
  const bool refused = code_of([&] { move_to(f, sink); }) == ErrorCode::refused;
  return refused && sql::find_subscription(*f.connection, "main")->sink == "file:x";
}

}  // namespace

TEST_CASE("a subscription that starts now gets what commits later, and nothing from before") {
  Fixture f;
  f.append("a");
  f.append("b");
  Late late{f, Start::now};
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
  Late late{f, Start::beginning};
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
                             .start = Start::now}));
  f.take_lead();
  CHECK(f.publish().bytes == "1:a;");
}

TEST_CASE(
    "what a subscription leaves out by its start is on record, and not held back from retention") {
  Fixture f;
  f.appends_old = true;
  f.append("a");
  Late late{f, Start::now};
  f.append("b");
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
  REQUIRE(f.log.bind(page, std::nullopt, 60s) == WriteOutcome::done);
  const store::Act decision{.actor = "alice", .reason = "the receiver moves"};
  CHECK(store::pause(*f.connection, "main", decision));
  CHECK(f.log.acknowledge({page.tail_after(1), page.first, ""}, 60s) == WriteOutcome::fenced);
  CHECK(f.log.bind(page, std::nullopt, 60s) == WriteOutcome::fenced);
  CHECK(f.log.renew(60s) == WriteOutcome::fenced);
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
  const auto note_pause = [&is_paused](std::string_view, const observe::Observation& what) {
    if (std::holds_alternative<observe::Paused>(what)) is_paused = true;
  };
  std::stop_source stop;
  std::thread relay{[&] {
    relay::run(options, std::make_unique<HeldSink>(store), stop.get_token(), note_pause);
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

TEST_CASE("a subscription moves to a sink that ends with its own event, and to no other") {
  Fixture f;
  for (const char* payload : {"a", "b"}) f.append(payload);
  f.publish();
  const Tail acked = f.tail;
  CHECK(is_refused(f, acked));  // We lead it.
  for (const char* payload : {"c", "d"}) f.append(payload);
  const Batch pending = f.page();
  REQUIRE(f.log.bind(pending, std::nullopt, 60s) == WriteOutcome::done);
  f.log.release();
  CHECK(is_refused(f, {}));
  CHECK(is_refused(f, {acked.position, new_event_id()}));
  CHECK(is_refused(f, {Position{1}, new_event_id()}));
  CHECK(is_refused(f, {Position{5}, new_event_id()}));  // Nothing was ever bound to it.
  EndedSink sink{acked};
  CHECK(code_of([&] { move_to(f, sink, "\xff"); }) == ErrorCode::invalid_argument);
  sink.while_open = [&] {  // A relay is faster.
    SubscriptionLog relay{*f.connection, "main", f.sink};
    CHECK(relay.acquire("other", 60s).granted);
  };
  CHECK(code_of([&] { move_to(f, sink); }) == ErrorCode::refused);

  // That one sleeps beyond its lease: what it writes afterwards is refused.
  const std::string expire = "UPDATE outseal_subscription SET lease_until = {long_ago}";
  f.execute(expire);
  f.take_lead();
  f.execute(expire);
  sink.while_open = nullptr;
  CHECK(move_to(f, sink).is_verified);
  CHECK_FALSE(sink.is_open());
  CHECK(sink.acked() == acked);
  CHECK(sink.mark() == "mark");
  CHECK(sql::find_subscription(*f.connection, "main")->sink == "file:new");
  CHECK(sql::find_subscription(*f.connection, "main")->sink_identity == "its identity");
  CHECK(f.log.acknowledge({pending.tail_after(2), pending.first, ""}, 60s) == WriteOutcome::fenced);
  CHECK(f.number("SELECT count(*) FROM outseal_audit WHERE act = 'subscription.move'") == 1);

  EndedSink ahead{pending.tail_after(1)};  // It has a part of the batch in flight.
  CHECK(move_to(f, ahead).tail == pending.tail_after(1));
}

TEST_CASE("who has ended stands in no operator's way, and who gives events up says why") {
  Fixture f;
  const auto remove = [&](const std::string& reason, bool force) {
    return store::remove_subscription(*f.connection, "main", force,
                                      {.actor = "me", .reason = reason});
  };
  CHECK(code_of([&] { remove("a test", true); }) == ErrorCode::refused);  // We lead it.
  f.log.release();
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const auto connection = sql::open(f.store->url());
    SubscriptionLog log{*connection, "main", f.sink};
    ::_exit(log.acquire(this_owner(), 60s).granted ? 0 : 1);
  }
  int status = 1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(status == 0);
  CHECK(code_of([&] { remove("", true); }) == ErrorCode::invalid_argument);
  f.append("a");
  CHECK(code_of([&] { remove("a test", false); }) == ErrorCode::refused);
  store::record_halt(*f.connection, "main", Error{ErrorCode::refused, "relay", "a fork"});
  CHECK(remove("a test", true).unpublished == 1);
  CHECK(sql::list_halts(*f.connection).empty());
  CHECK(f.number("SELECT count(*) FROM outseal_subscription") == 0);
}

TEST_CASE("an event that an operator parks is not bound by who has read it already") {
  Fixture f{{"t"}};
  f.append("a");
  f.append("b", "", "others");
  const auto id = [&](int seq) {
    const auto row = f.connection->prepare(
        in_dialect(f.connection->dialect(),
                   "SELECT event_id FROM outseal_outbox WHERE seq = " + std::to_string(seq)));
    REQUIRE(row->step());
    return row->event_id(0);
  };
  const Batch page = f.page();
  const auto park = [&](int seq, const std::string& reason) {
    store::park(*f.connection, "main", id(seq), {.actor = "me", .reason = reason});
  };
  CHECK(code_of([&] { park(1, ""); }) == ErrorCode::invalid_argument);
  CHECK(code_of([&] { park(2, "not its topic"); }) == ErrorCode::invalid_argument);
  park(1, "a test");
  CHECK(f.log.bind(page, std::nullopt, 60s) == WriteOutcome::fenced);
  CHECK(f.parked() == "1=parked ");
}
