#include "torture/sink_storm.h"

#include <doctest/doctest.h>
#include <signal.h>

#include <thread>

namespace outseal::test {
namespace {

using std::chrono::milliseconds;

/// Largest time between two acts. About what a batch takes, so that they hit it anywhere.
constexpr std::uint64_t kActPauseMax_ms = 60;
constexpr std::uint64_t kTransactions = 60;

}  // namespace

void SinkStorm::run(std::uint64_t kills) {
  while (tally_.kills() < kills) {
    start_missing();
    std::this_thread::sleep_for(milliseconds{below(kActPauseMax_ms)});
    mend(false);
    act();
  }
  calm_down();
}

void SinkStorm::start_missing() {
  for (std::size_t relay = 0; relay < kRelays; ++relay) {
    fail_if_ended(relay);
    if (!processes_[relay]) processes_[relay] = stage_.start_relay();
  }
  if (processes_[kProducer] && processes_[kProducer]->poll() == Exit{})
    processes_[kProducer].reset();
  fail_if_ended(kProducer);
  if (!processes_[kProducer] &&
      stage_.backlog() < static_cast<std::int64_t>(stage_.traits().backlog_max))
    processes_[kProducer] = stage_.base().start_producer(random_(), 2, kTransactions);
}

void SinkStorm::fail_if_ended(std::size_t place) {
  if (!processes_[place] || !processes_[place]->poll()) return;
  const Exit end = processes_[place]->wait();
  FAIL("a process ended by itself, place " << place << " code " << end.code << " signal "
                                           << end.signal << '\n'
                                           << stage_.log_tail());
}

void SinkStorm::act() {
  const bool has_server = stage_.traits().has_server;
  const std::size_t relay = below(kRelays);
  const std::uint64_t chance = below(100);
  if (chance < 35)
    kill(relay);
  else if (chance < 40)
    kill(kProducer);
  else if (chance < 50)
    pause(relay);
  else if (chance < 55)
    stop(relay);
  else if (chance < 65 && has_server)
    kill_server();
  else if (chance < 70 && has_server) {
    kill_server();
    for (std::size_t each = 0; each < kRelays; ++each) kill(each);
  } else if (chance < 75 && has_server)
    disturb_server();
  else if (stage_.proxy() != nullptr)
    disturb_network();
}

// --- Faults --------------------------------------------------------------------------------------

void SinkStorm::kill(std::size_t place) {
  if (!processes_[place]) return;
  processes_[place]->send(SIGKILL);
  const Exit end = processes_[place]->wait();
  processes_[place].reset();
  if (place == kProducer) {
    if (end.signal == SIGKILL) ++tally_.producer_kills;  // It may just have been ready.
    return;
  }
  wakes_[place].reset();
  REQUIRE_MESSAGE(end.signal == SIGKILL, "a relay ended by itself, code " << end.code << '\n'
                                                                          << stage_.log_tail());
  ++tally_.relay_kills;
}

void SinkStorm::kill_server() {
  if (server_back_) return;
  server_thaws_.reset();
  stage_.sink().kill();
  ++tally_.server_kills;
  // Half of the time it is away for longer than it remembers events.
  const auto away =
      below(2) == 0 ? milliseconds{below(50)} : stage_.traits().window + milliseconds{below(200)};
  server_back_ = Clock::now() + away;
}

/// It hangs, and its connections stay open.
void SinkStorm::disturb_server() {
  if (server_back_ || server_thaws_) return;
  stage_.sink().freeze();
  server_thaws_ = Clock::now() + milliseconds{below(300)};
}

void SinkStorm::pause(std::size_t place) {
  if (!processes_[place] || wakes_[place]) return;
  processes_[place]->send(SIGSTOP);
  wakes_[place] =
      Clock::now() + std::max(kSinkStageLease, stage_.traits().window) + milliseconds{below(200)};
  ++tally_.pauses;
}

/// SIGTERM: the relay finishes what it does and exits with 0, unless it is too young to know it.
void SinkStorm::stop(std::size_t place) {
  if (!processes_[place] || wakes_[place]) return;
  processes_[place]->send(SIGTERM);
  // It may have to wait for what another one holds, or for the server.
  while (!processes_[place]->wait_for(milliseconds{10})) mend(false);
  const Exit end = processes_[place]->wait();
  processes_[place].reset();
  REQUIRE_MESSAGE((end == Exit{} || end.signal == SIGTERM), "code " << end.code << '\n'
                                                                    << stage_.log_tail());
}

void SinkStorm::disturb_network() {
  if (network_heals_) return;
  FaultProxy& proxy = *stage_.proxy();
  milliseconds lasts{below(250)};
  switch (below(6)) {
    case 0:
      proxy.cut_after(FaultProxy::Way::to_server, below(20'000));
      break;
    case 1:
      proxy.cut_after(FaultProxy::Way::to_client, below(3'000));
      break;
    case 2:
      proxy.drop_replies();
      break;
    case 3:
      proxy.delay(milliseconds{1 + below(60)});
      break;
    case 4:
      proxy.black_hole();
      break;
    default:
      proxy.refuse();
      break;
  }
  network_heals_ = Clock::now() + lasts;
  ++tally_.network_faults;
}

// --- Repairs -------------------------------------------------------------------------------------

void SinkStorm::mend(bool all) {
  const Clock::time_point now = Clock::now();
  const auto is_due = [&](std::optional<Clock::time_point>& when) {
    if (!when || (!all && now < *when)) return false;
    when.reset();
    return true;
  };
  for (std::size_t relay = 0; relay < kRelays; ++relay)
    if (is_due(wakes_[relay])) processes_[relay]->send(SIGCONT);
  if (is_due(network_heals_)) stage_.proxy()->heal();
  if (is_due(server_thaws_)) stage_.sink().thaw();
  if (is_due(server_back_)) stage_.sink().start();
}

void SinkStorm::calm_down() {
  processes_[kProducer].reset();
  mend(true);
  for (std::size_t relay = 0; relay < kRelays; ++relay) stop(relay);
}

}  // namespace outseal::test
