// The real relay against one sink and its real server, with everything between them failing: one
// suite for all sinks, steered by what they claim (SinkTraits). Each sink joins by a file that
// makes its server, for example sink_server_file.cc.
#include <doctest/doctest.h>
#include <signal.h>

#include <chrono>
#include <iostream>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "support/scale.h"
#include "torture/sink_stage.h"
#include "torture/sink_storm.h"

namespace outseal::test {
namespace {

using std::chrono::milliseconds;
using Way = FaultProxy::Way;

constexpr std::uint64_t kKills = 60;
constexpr std::uint64_t kKillsSoak = 1'000;
constexpr std::uint64_t kTransactions = 150;  ///< Of a scenario; two events each.
constexpr std::uint64_t kGhostBytes = 300;    ///< More than a connection says without an event.

void check_whole(SinkStage& stage) {
  const auto violations = stage.violations(Extent::drained);
  CHECK_MESSAGE(violations.empty(), stage.traits().name << '\n' << joined(violations));
}

void check_drained(SinkStage& stage, const std::vector<std::string>& flags = {}) {
  const Exit end = stage.drain(flags);
  REQUIRE_MESSAGE(end == Exit{}, "drain: code " << end.code << " signal " << end.signal << '\n'
                                                << stage.log_tail());
  check_whole(stage);
}

void end_with_sigterm(const SinkStage& stage, Process& relay) {
  relay.send(SIGTERM);
  const Exit end = relay.wait();
  CHECK_MESSAGE(end == Exit{}, "code " << end.code << " signal " << end.signal << '\n'
                                       << stage.log_tail());
}

void kill_hard(Process& process) {
  process.send(SIGKILL);
  process.wait();
}

TEST_CASE("kills, pauses and a bad network lose nothing and repeat nothing") {
  if (skipped_without_sink_server()) return;
  const std::uint64_t seed = seed_of_run();
  const std::uint64_t kills = scaled(kKills, kKillsSoak);
  std::cout << kills << " kills, OUTSEAL_SEED=" << seed << std::endl;
  SinkStage stage;
  SinkStorm storm{stage, seed};
  storm.run(kills);
  check_drained(stage);

  // What stood behind refused events comes out in order once those are given up.
  const std::int64_t refused_by_server = stage.refused_by_server();
  // None of those without a key waits behind another one.
  if (!stage.traits().refusal.empty())
    CHECK(refused_by_server >=
          stage.base().number("SELECT count(*) FROM ledger WHERE too_large AND key = ''"));
  if (stage.balance().parked > 0) {
    REQUIRE(run(stage.base().start_parked({"discard", "--all", "--reason", "too large"})) ==
            Exit{});
    check_drained(stage);
  }
  const SinkStorm::Tally& tally = storm.tally();
  const SinkStage::Balance balance = stage.balance();
  std::cout << stage.traits().name << ": " << tally.kills() << " kills (relay " << tally.relay_kills
            << ", server " << tally.server_kills << "), producer " << tally.producer_kills << ", "
            << tally.pauses << " pauses, " << tally.network_faults << " network faults, "
            << balance.committed << " events, " << balance.parked << " discarded ("
            << refused_by_server << " refused by the server), lost " << balance.lost
            << ", duplicated " << balance.duplicated << std::endl;
  CHECK(balance.committed > 0);
  CHECK(balance.lost == 0);
  CHECK(balance.duplicated == 0);
}

/// A relay is stopped at `place` until another one has taken over, published all and been
/// forgotten by the server; then it goes on.
/// @returns false if it was stopped in the middle of a transaction of its other thread.
bool sleep_through_takeover(const std::string& place) {
  SinkStage stage;
  stage.produce(1, kTransactions);
  const auto zombie =
      stage.start_relay({}, {{"OUTSEAL_FAILPOINT", place}, {"OUTSEAL_FAILPOINT_SIGNAL", "STOP"}});
  REQUIRE(zombie->wait_until_stopped());
  if (stage.database_is_locked()) return false;
  const auto successor = stage.start_relay({"--drain"});
  // A lock in the zombie's hands keeps it waiting.
  if (stage.traits().has_lock)
    successor->wait_for(kSinkStageLease * 3);
  else
    REQUIRE_MESSAGE(successor->wait() == Exit{}, stage.log_tail());
  std::this_thread::sleep_for(stage.traits().window * 2);
  zombie->send(SIGCONT);
  REQUIRE_MESSAGE(successor->wait() == Exit{}, stage.log_tail());
  // It gets time to do what it should not.
  CHECK_FALSE(zombie->wait_for(milliseconds{200}));
  end_with_sigterm(stage, *zombie);
  check_whole(stage);
  return true;
}

TEST_CASE("a relay that slept beyond its lease and the server's window repeats nothing") {
  if (skipped_without_sink_server()) return;
  for (const char* place : {"relay.before_deliver:2", "relay.before_ack:1"}) {
    CAPTURE(place);
    int tries = 1;
    while (!sleep_through_takeover(place) && tries < 10) ++tries;
    CHECK(tries < 10);
  }
}

TEST_CASE("what a dead relay sent and the network delivers late is refused") {
  if (skipped_without_sink_server()) return;
  SinkStage stage;
  if (stage.proxy() == nullptr) return;
  std::mt19937_64 random{seed_of_run()};
  const std::uint64_t rounds = scaled(6, 60);
  std::uint64_t ghosts = 0;
  for (std::uint64_t round = 0; round < rounds; ++round) {
    const auto first = stage.start_relay();
    stage.produce(random(), 5);
    stage.wait_for_progress(std::numeric_limits<std::int32_t>::max());
    // Its next batch is on its way for longer than the next relay needs to look at the tail.
    stage.proxy()->delay(milliseconds{150});
    stage.produce(random(), 20);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds{10};
    while (stage.proxy()->seen().bytes_held < kGhostBytes && std::chrono::steady_clock::now() < end)
      std::this_thread::sleep_for(milliseconds{1});
    if (stage.proxy()->seen().bytes_held >= kGhostBytes) ++ghosts;
    kill_hard(*first);
    stage.proxy()->delay(milliseconds{0});
    CHECK(stage.drain() == Exit{});
    std::this_thread::sleep_for(milliseconds{200});
  }
  CHECK(ghosts > 0);
  check_drained(stage);
}

TEST_CASE("an outage that is longer than the server's memory repeats nothing") {
  if (skipped_without_sink_server()) return;
  SinkStage stage;
  if (!stage.traits().has_server) return;
  const auto relay = stage.start_relay();
  for (std::uint64_t round = 0; round < scaled(4, 40); ++round) {
    // What arrives is stored, but the relay does not learn of it before the outage.
    if (stage.proxy() != nullptr && round % 2 == 1) stage.proxy()->drop_replies();
    stage.produce(round + 1, 30);
    std::this_thread::sleep_for(milliseconds{20});
    stage.sink().kill();
    std::this_thread::sleep_for(stage.traits().window * 2 + milliseconds{100});
    if (stage.proxy() != nullptr) stage.proxy()->heal();
    stage.sink().start();
  }
  end_with_sigterm(stage, *relay);
  check_drained(stage);
}

TEST_CASE("a server that hangs, and a network that swallows, are waited out") {
  if (skipped_without_sink_server()) return;
  SinkStage stage;
  if (!stage.traits().has_server) return;
  const auto relay = stage.start_relay();
  stage.produce(1, kTransactions);
  stage.sink().freeze();
  std::this_thread::sleep_for(kSinkStageLease * 2);
  stage.sink().thaw();
  stage.wait_for_progress(25);
  stage.produce(2, kTransactions);
  stage.proxy()->black_hole();
  std::this_thread::sleep_for(kSinkStageLease * 2);
  stage.proxy()->heal();
  stage.wait_for_progress(25);
  end_with_sigterm(stage, *relay);
  check_drained(stage);
}

TEST_CASE("a connection may be cut after any number of bytes") {
  if (skipped_without_sink_server()) return;
  SinkStage stage;
  if (stage.proxy() == nullptr) return;
  std::mt19937_64 random{seed_of_run()};
  const auto relay = stage.start_relay();
  const std::uint64_t cuts = scaled(30, 300);
  for (std::uint64_t cut = 0; cut < cuts; ++cut) {
    const std::uint64_t before = stage.proxy()->seen().cuts;
    const bool answers = random() % 2 == 0;
    stage.proxy()->cut_after(answers ? Way::to_client : Way::to_server,
                             1 + random() % (answers ? 2'000 : 15'000));
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds{10};
    while (stage.proxy()->seen().cuts == before && std::chrono::steady_clock::now() < end)
      stage.produce(random(), 10);
  }
  end_with_sigterm(stage, *relay);
  check_drained(stage);
  std::cout << stage.traits().name << ": " << stage.proxy()->seen().cuts << " cuts, "
            << stage.committed() << " events" << std::endl;
}

/// What a sink has lost is sent again: without being told if it may lose, else on demand only.
void check_repaired(SinkStage& stage) {
  if (!stage.traits().forgetful) {
    CHECK(stage.drain() == Exit{5, 0});
    CHECK_FALSE(stage.violations(Extent::drained).empty());
    check_drained(stage, {"--rebuild"});
  }
  check_drained(stage);
  stage.produce(2, kTransactions);
  check_drained(stage);
}

TEST_CASE("a sink that lost its last events gets them again") {
  if (skipped_without_sink_server()) return;
  SinkStage stage;
  if (!stage.traits().can_lose) return;
  stage.produce(1, kTransactions);
  check_drained(stage);
  const std::size_t before = stage.sink().stored().size();
  stage.sink().lose_tail(30);
  REQUIRE(stage.sink().stored().size() == before - 30);
  check_repaired(stage);
}

TEST_CASE("a sink that was made anew gets everything again") {
  if (skipped_without_sink_server()) return;
  SinkStage stage;
  if (!stage.traits().can_lose) return;
  stage.produce(1, kTransactions);
  check_drained(stage);
  stage.sink().recreate();
  REQUIRE(stage.sink().stored().empty());
  check_repaired(stage);
}

/// The relay must see that the sink's history is another one, bind nothing and leave it as it is.
void check_fork(SinkStage& stage) {
  const char* const bound = "SELECT max(first_position) FROM outseal_journal";
  const std::int64_t bound_before = stage.base().number(bound);
  const std::vector<StoredEvent> before = stage.sink().stored();
  const std::vector<std::vector<std::string>> ways{{}, {"--rebuild"}};  // Nothing to rebuild here.
  for (const auto& flags : ways) {
    CHECK(stage.drain(flags) == Exit{5, 0});
    CHECK_MESSAGE(stage.log_tail().find("fork: the sink has event") != std::string::npos,
                  stage.log_tail());
    CHECK(stage.base().number(bound) == bound_before);
    CHECK(stage.sink().stored() == before);
  }
}

TEST_CASE("a database that was put back behind its sink publishes nothing") {
  if (skipped_without_sink_server()) return;
  SinkStage stage;
  if (!stage.traits().has_positions) return;
  stage.produce(1, kTransactions);
  check_drained(stage);
  stage.base().back_up("yesterday.db");
  stage.produce(2, kTransactions);
  check_drained(stage);
  stage.base().restore("yesterday.db");
  // Fewer events than were lost, and then more: the sink always has others in their places.
  for (const std::uint64_t seed : {3, 4}) {
    stage.produce(seed, seed == 3 ? kTransactions / 5 : kTransactions * 2);
    check_fork(stage);
  }
}

TEST_CASE("a database that bound other events than its sink has publishes nothing") {
  if (skipped_without_sink_server()) return;
  SinkStage stage;
  if (!stage.traits().has_positions) return;
  stage.produce(1, kTransactions);
  check_drained(stage);
  stage.base().back_up("fork.db");
  // One branch dies with a batch bound, of which nothing was sent.
  stage.produce(2, kTransactions);
  CHECK(stage.drain({}, {{"OUTSEAL_FAILPOINT", "relay.before_deliver:1"}}).signal == SIGKILL);
  stage.base().back_up("bound.db");
  // The other one publishes less than that batch.
  stage.base().restore("fork.db");
  stage.produce(3, 5);
  check_drained(stage);
  stage.base().restore("bound.db");
  check_fork(stage);
}

TEST_CASE("refused events are parked with their key, the others flow, and their ids never change") {
  if (skipped_without_sink_server()) return;
  SinkStage stage;
  stage.produce(7, kTransactions * 2);
  check_drained(stage);
  const std::int64_t refused =
      stage.base().number("SELECT count(*) FROM outseal_parked WHERE cause = 'refused'");
  CHECK(refused > 0);
  if (!stage.traits().refusal.empty()) CHECK(stage.refused_by_server() > 0);
  stage.sink().lift_limit();
  REQUIRE(run(stage.base().start_parked({"redrive", "--all"})) == Exit{});
  check_drained(stage);
  // All of them are now held to be in the sink, under the ids that the business knows.
  CHECK(stage.base().number("SELECT count(*) FROM outseal_parked WHERE state <> 'redriven'") == 0);
  CHECK(static_cast<std::int64_t>(stage.sink().stored().size()) == stage.committed());
}

}  // namespace
}  // namespace outseal::test
