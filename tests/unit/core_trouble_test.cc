// What the core does about a sink or a database in trouble: waits, how long, and gives up.
#include <algorithm>
#include <random>

#include "unit/core_stage.h"

using namespace outseal;
using namespace outseal::relay;
using namespace outseal::test;
using namespace std::chrono_literals;

TEST_CASE("a sink whose contents contradict the log ends the relay as refused") {
  Relay relay;
  relay.begin_delivery(1);
  relay.on(Delivered{{.status = DeliveryResult::Status::refused, .detail = "twice"}});
  CHECK(relay.get<Halt>().code == ErrorCode::refused);
}

TEST_CASE("a sink that has worked is waited for when somebody has to mend it") {
  Relay relay;
  relay.begin_delivery(1);
  relay.on(Delivered{{.status = DeliveryResult::Status::retry_later, .detail = "cut"}});
  relay.now += 60s;
  relay.on(TimerFired{});
  relay.get<OpenSink>();
  relay.on({SinkOpened{{.status = OpenResult::Status::unusable, .detail = "no stream"}}});
  CHECK(relay.find<Halt>() == nullptr);
  CHECK(relay.reported<observe::SinkWaiting>() != nullptr);
}

/// The pause before the sink is opened again, each time that it was away.
std::vector<Milliseconds> pauses(std::uint64_t seed, std::size_t count, Milliseconds wish = 0ms) {
  Relay relay{{.backoff_min = 100ms, .backoff_max = 1'000ms, .jitter_seed = seed}};
  relay.begin_delivery(1);
  std::vector<Milliseconds> found;
  while (found.size() < count) {
    relay.on(Delivered{{.status = DeliveryResult::Status::retry_later, .retry_after = wish}});
    const Milliseconds begin = relay.now;
    while (relay.find<OpenSink>() == nullptr) {
      relay.now += 1ms;
      relay.on(TimerFired{});
      if (relay.find<RenewLease>() != nullptr) relay.on(LeaseRenewed{});
    }
    found.push_back(relay.now - begin);
    relay.on(opened_at(Tail{}));
    if (relay.find<ReadJournal>() != nullptr) relay.on(JournalRead{batch_of(1, 1)});
  }
  return found;
}

TEST_CASE("pauses double up to their maximum, each anywhere below it") {
  constexpr std::size_t kPauses = 8;
  std::vector<Milliseconds> longest(kPauses);
  std::vector<Milliseconds> shortest(kPauses, 1h);
  std::mt19937_64 seeds;  // The same ones each time.
  for (int run = 0; run < 200; ++run) {
    const std::vector<Milliseconds> found = pauses(seeds(), kPauses);
    for (std::size_t i = 0; i < kPauses; ++i) {
      longest[i] = std::max(longest[i], found[i]);
      shortest[i] = std::min(shortest[i], found[i]);
    }
  }
  for (std::size_t i = 0; i < kPauses; ++i) {
    CAPTURE(i);
    const Milliseconds cap = std::min<Milliseconds>(100ms * (1 << i), 1'000ms);
    CHECK(longest[i] <= cap);
    CHECK(longest[i] > cap * 9 / 10);
    CHECK(shortest[i] < cap / 10);
  }
}

TEST_CASE("a sink's own wish for a pause is kept") {
  for (const Milliseconds pause : pauses(7, 3, 5'000ms)) CHECK(pause == 5'000ms);
}

TEST_CASE("draining has no more patience because the sink asks for a long pause") {
  Relay relay{{.drain = true, .standby_max = 2s}};
  relay.begin_delivery(1);
  relay.on(Delivered{{.status = DeliveryResult::Status::retry_later, .retry_after = 1h}});
  relay.now += 2s;
  relay.on(TimerFired{});
  relay.get<OpenSink>();
  relay.on({SinkOpened{{.status = OpenResult::Status::retry_later, .detail = "away"}}});
  CHECK(relay.get<Halt>().code == ErrorCode::sink_unreachable);
}

TEST_CASE("trouble is reported with what to do about it, and how long the relay waits") {
  Relay relay;
  relay.lead(0, 0);
  relay.on(
      {SinkOpened{{.status = OpenResult::Status::retry_later, .detail = "shut", .hint = "open"}}});
  const auto* waiting = relay.reported<observe::SinkWaiting>();
  REQUIRE(waiting != nullptr);
  CHECK(waiting->detail == "shut");
  CHECK(waiting->hint == "open");
  CHECK(waiting->pause == relay.get<Wait>().duration);
  Relay second;
  second.on(DatabaseFailed{"gone", "bring it back"});
  const auto* failed = second.reported<observe::DatabaseFailed>();
  REQUIRE(failed != nullptr);
  CHECK(failed->detail == "gone");
  CHECK(failed->hint == "bring it back");
  CHECK(failed->pause == second.get<Wait>().duration);
}

namespace {

/// Lets a leader idle behind position 3 for `time`. @returns how often it opened its sink, which
/// shows `tail` each time; ends with the first tail that is another one than before.
int idle_for(Relay& relay, Milliseconds time, const Tail& tail) {
  int opened = 0;
  const Milliseconds end = relay.now + time;
  while (relay.now < end) {
    if (relay.find<OpenSink>() != nullptr) {
      ++opened;
      CHECK(relay.get<OpenSink>().acked == tail_at(3));
      relay.on(opened_at(tail));
      if (tail != tail_at(3)) break;
    } else if (relay.find<RenewLease>() != nullptr) {
      relay.on(LeaseRenewed{});
    } else if (relay.find<ReadPage>() != nullptr) {
      relay.on(PageRead{nothing_after(3)});
    } else {
      relay.now += relay.get<Wait>().duration;
      relay.on(TimerFired{});
    }
  }
  return opened;
}

}  // namespace

TEST_CASE("an idle leader of a forgetful sink looks at its end now and then, and heals it") {
  CoreOptions options{.look_again = 15s};
  SUBCASE("forgetful") { options.may_lose_acknowledged = true; }
  SUBCASE("one that keeps what it has") {}
  Relay relay{options};
  relay.lead(3, 3);
  relay.on(opened_at(tail_at(3)));
  CHECK(idle_for(relay, 14s, tail_at(3)) == 0);
  const int times = options.may_lose_acknowledged ? 1 : 0;
  CHECK(idle_for(relay, 15s, tail_at(3)) == times);
  CHECK(idle_for(relay, 15s, tail_at(2)) == times);
  if (!options.may_lose_acknowledged) return;
  CHECK(relay.reported<observe::Rebuilding>() != nullptr);
  CHECK(relay.get<ReadJournal>().position == Position{2});
}
