// Kills relays and producers at random, pauses relays for longer than their lease, and checks what
// is left. OUTSEAL_SEED gives the sequence of acts; the moments are the machine's.
#include <doctest/doctest.h>
#include <signal.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <optional>
#include <random>
#include <thread>

#include "support/scale.h"
#include "torture/stage.h"

namespace outseal::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::uint64_t kKills = 220;
constexpr std::uint64_t kKillsSoak = 5'000;
constexpr int kLease_ms = 300;
constexpr std::size_t kProducer = 2;  // The places before it are those of relays.

std::uint64_t seed_of_run() {
  const char* text = std::getenv("OUTSEAL_SEED");
  return text == nullptr ? std::random_device{}() : std::strtoull(text, nullptr, 10);
}

const std::vector<std::string> kRelayFlags{"--lease-ms",       std::to_string(kLease_ms),
                                           "--poll-min-ms",    "1",
                                           "--poll-max-ms",    "5",
                                           "--backoff-min-ms", "5",
                                           "--backoff-max-ms", "40",
                                           "--batch-events",   "40"};

/// Two relays and a producer, and who of them is paused until when.
class Loop {
 public:
  Loop(const Stage& stage, std::uint64_t seed) : stage_{stage}, random_{seed} {}

  /// Runs until `kills` processes have been killed.
  void run(std::uint64_t kills) {
    while (kills_ < kills) {
      start_missing();
      std::this_thread::sleep_for(milliseconds{below(60)});
      const std::size_t place = below(kPlaces);
      const std::size_t act = below(10);
      wake(false);
      if (!processes_[place]) continue;
      if (act < 7) {
        kill(place);
      } else if (place != kProducer) {
        act < 9 ? pause(place) : stop(place);
      }
    }
    processes_[kProducer].reset();
    wake(true);
    for (std::size_t place = 0; place < kProducer; ++place) {
      if (processes_[place]) stop(place);
    }
  }

  std::uint64_t kills() const { return kills_; }
  std::uint64_t pauses() const { return pauses_; }

 private:
  static constexpr std::size_t kPlaces = 3;

  std::size_t below(std::size_t count) { return static_cast<std::size_t>(random_() % count); }

  void start_missing() {
    for (std::size_t place = 0; place < kPlaces; ++place) {
      if (processes_[place] && !processes_[place]->poll()) continue;
      if (processes_[place]) {
        const Exit end = processes_[place]->wait();
        FAIL("a process ended by itself, place " << place << " code " << end.code << " signal "
                                                 << end.signal << '\n'
                                                 << stage_.log_tail());
      }
      processes_[place] = place == kProducer ? stage_.start_producer(random_(), 3, 0)
                                             : stage_.start_relay(kRelayFlags);
    }
  }

  void kill(std::size_t place) {
    processes_[place]->send(SIGKILL);
    REQUIRE(processes_[place]->wait().signal == SIGKILL);
    processes_[place].reset();
    wakes_[place].reset();
    ++kills_;
  }

  void pause(std::size_t place) {
    if (wakes_[place]) return;
    processes_[place]->send(SIGSTOP);
    wakes_[place] = steady_clock::now() + milliseconds{kLease_ms + below(300)};
    ++pauses_;
  }

  void wake(bool all) {
    for (std::size_t place = 0; place < kPlaces; ++place) {
      if (!wakes_[place] || (!all && steady_clock::now() < *wakes_[place])) continue;
      processes_[place]->send(SIGCONT);
      wakes_[place].reset();
    }
  }

  /// SIGTERM: the relay finishes what it does and exits with 0, unless it is too young to know it.
  void stop(std::size_t place) {
    if (wakes_[place]) return;
    processes_[place]->send(SIGTERM);
    // It may have to wait for a paused one that holds the database's write lock.
    while (!processes_[place]->wait_for(milliseconds{20})) wake(false);
    const Exit end = processes_[place]->wait();
    REQUIRE_MESSAGE((end == Exit{} || end.signal == SIGTERM), "code " << end.code << '\n'
                                                                      << stage_.log_tail());
    processes_[place].reset();
  }

  const Stage& stage_;
  std::mt19937_64 random_;
  std::array<std::unique_ptr<Process>, kPlaces> processes_;
  std::array<std::optional<steady_clock::time_point>, kPlaces> wakes_;
  std::uint64_t kills_ = 0;
  std::uint64_t pauses_ = 0;
};

void check_drained(const Stage& stage) {
  const Exit end = run(stage.start_relay({"--drain"}));
  REQUIRE_MESSAGE(end == Exit{}, "drain: code " << end.code << '\n' << stage.log_tail());
  const auto violations = stage.violations(Extent::drained);
  CHECK_MESSAGE(violations.empty(), joined(violations));
}

TEST_CASE("two relays and a producer survive kills and pauses at any moment") {
  const std::uint64_t seed = seed_of_run();
  const std::uint64_t kills = scaled(kKills, kKillsSoak);
  std::cout << kills << " kills, OUTSEAL_SEED=" << seed << std::endl;
  const Stage stage;
  REQUIRE(run(stage.start_migrate()) == Exit{});
  Loop loop{stage, seed};
  loop.run(kills);
  check_drained(stage);

  // What stood behind refused events comes out in order once those are given up.
  if (stage.number("SELECT count(*) FROM outseal_parked WHERE state = 'parked'") > 0) {
    REQUIRE(run(stage.start_parked({"discard", "--all", "--reason", "too large"})) == Exit{});
    check_drained(stage);
    CHECK(stage.number("SELECT count(*) FROM outseal_parked WHERE state = 'discarded'"
                       " AND cause = 'behind'") == 0);
  }
  const std::int64_t events = stage.number("SELECT count(*) FROM ledger");
  std::cout << loop.kills() << " kills, " << loop.pauses() << " pauses, " << events
            << " events committed, epoch " << stage.number("SELECT epoch FROM outseal_subscription")
            << std::endl;
  CHECK(events > 0);
}

}  // namespace
}  // namespace outseal::test
