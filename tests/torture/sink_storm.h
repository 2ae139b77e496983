// A storm over one sink: relays, its server and the network between them fail at random, while
// producers go on.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <vector>

#include "torture/sink_stage.h"

namespace outseal::test {

/// Two relays, a producer that stays a little ahead of them, and what has been done to whom.
///
/// Fails the test if a process ends by itself.
class SinkStorm {
 public:
  SinkStorm(SinkStage& stage, std::uint64_t seed) : stage_{stage}, random_{seed} {}

  /// Until relays and server have been killed so many times in all. Then all is well again, and
  /// nothing runs but the server.
  void run(std::uint64_t kills);

  struct Tally {
    std::uint64_t relay_kills = 0;
    std::uint64_t server_kills = 0;
    std::uint64_t producer_kills = 0;  ///< They come on top: they hardly try a sink.
    std::uint64_t pauses = 0;          ///< Of relays, beyond their lease and the server's window.
    std::uint64_t network_faults = 0;
    std::uint64_t kills() const { return relay_kills + server_kills; }
  };
  const Tally& tally() const { return tally_; }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::size_t kRelays = 2;
  static constexpr std::size_t kProducer = kRelays;
  static constexpr std::size_t kPlaces = kRelays + 1;

  std::uint64_t below(std::uint64_t count) { return random_() % count; }
  void start_missing();
  void fail_if_ended(std::size_t place);
  void act();
  void kill(std::size_t place);
  void kill_server();
  void disturb_server();
  void pause(std::size_t place);
  void stop(std::size_t place);
  void disturb_network();
  void mend(bool all);
  void calm_down();

  SinkStage& stage_;
  std::mt19937_64 random_;
  Tally tally_;
  std::array<std::unique_ptr<Process>, kPlaces> processes_;
  std::array<std::optional<Clock::time_point>, kRelays> wakes_;  ///< Of paused relays.
  std::optional<Clock::time_point> server_back_;
  std::optional<Clock::time_point> server_thaws_;
  std::optional<Clock::time_point> network_heals_;
};

}  // namespace outseal::test
