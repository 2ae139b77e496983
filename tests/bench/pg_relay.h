// The relay as PostgreSQL's benchmarks run it: the real loop with the program's defaults, in a
// thread, into a sink that is watched; or the real program.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bench/pg_stage.h"
#include "relay/relay.h"
#include "support/program.h"
#include "support/temp_folder.h"

namespace outseal::bench {

using Clock = std::chrono::steady_clock;

/// Sinks as URLs; besides those of the relay "null:", which keeps nothing, and "file:", which is a
/// file in a folder of its own.
using SinkUrl = std::string;

/// What a sink has acknowledged so far. Shared by the sink's thread and ours.
class Deliveries {
 public:
  /// The batch's entries from `from` on have been acknowledged now.
  void note(const Batch& batch, std::size_t from);
  /// @throws std::runtime_error after two minutes.
  void wait_for(std::uint64_t events);

  std::uint64_t count();
  std::uint64_t batches();
  /// If times are kept: when each event was acknowledged.
  std::unordered_map<EventId, Clock::time_point> times();
  void keep_times() { keeps_times_ = true; }

 private:
  std::mutex mutex_;
  std::condition_variable grown_;
  bool keeps_times_ = false;
  std::uint64_t count_ = 0;
  std::uint64_t batches_ = 0;
  std::vector<std::pair<EventId, Clock::time_point>> times_;
};

/// A relay in a thread of its own, from the constructor to finish().
class RelayRun {
 public:
  struct Options {
    SinkUrl sink = "null:";
    bool drain = false;
    std::string subscription = "main";
  };
  RelayRun(const Stage& stage, const Options& options, std::shared_ptr<Deliveries> deliveries);

  void wait_until_leading();
  /// With `drain`: waits for its end.
  void wait();
  /// Asks it to stop and waits.
  void finish();

 private:
  test::TempFolder folder_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool leading_ = false;         // Guarded by mutex_.
  std::exception_ptr failure_;   // Guarded by mutex_.
  relay::RelayOptions options_;  // Outlives the thread.
  std::jthread thread_;
};

/// A drain of all that waits, as a new subscription.
struct Drain {
  double seconds = 0;
  std::uint64_t events = 0;
  std::uint64_t batches = 0;
};
/// Up to the relay's own end, or, if `events` is given, until that many are acknowledged.
Drain drain(const Stage& stage, const SinkUrl& sink, std::optional<int> events = {});

/// Milliseconds from the return of COMMIT to the sink's acknowledgement, and what was reached.
struct Latency {
  double p50 = 0;
  double p95 = 0;
  double p99 = 0;
  double rate = 0;
};
/// Of events that four clients append, at 1,000/s in all, in a fresh database that `disturb` may
/// keep busy. What it returns lives as long as the measurement.
Latency latency(const SinkUrl& sink, std::chrono::duration<double> time,
                const std::function<std::shared_ptr<void>(const Stage&)>& disturb = {});

/// A running outseal-relay on the stage; killed at the end if it was not stopped.
std::unique_ptr<test::Program> start_relay(const Stage& stage, const std::string& sink,
                                           const test::TempFolder& folder);

/// Peak resident memory of a running process since its start or since reset, in MiB.
double peak_memory_mib(const std::string& process);
void reset_own_peak_memory();

}  // namespace outseal::bench
