// One history on a real PostgreSQL: writers, relays that are killed and paused, a server that
// crashes, and what must be true at the end.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "sim/random.h"
#include "support/history.h"
#include "torture/postgres_stage.h"
#include "torture/postgres_writer.h"

namespace outseal::test {

/// How the server ends in the middle of a history.
enum class Crash {
  none,
  immediate,  ///< pg_ctl stop -m immediate.
  hard,       ///< SIGKILL to all of its processes.
  backend,    ///< SIGKILL to one process: the server throws all sessions out and recovers.
};

/// What is made of a history's seed.
struct HistoryPlan {
  std::uint64_t seed = 0;
  std::chrono::milliseconds load{0};
  std::size_t relays = 1;
  std::size_t writers = 4;
  bool pooled = false;
  unsigned async_percent = 0;
  Crash crash = Crash::none;

  static HistoryPlan of(std::uint64_t seed, std::chrono::milliseconds load, bool can_pool);
  std::string text() const;
};

/// Sums over all histories.
struct HistoryCounts {
  std::uint64_t histories = 0;
  std::uint64_t pooled = 0;
  std::uint64_t kills = 0;
  std::uint64_t pauses = 0;
  std::uint64_t server_crashes = 0;
  std::uint64_t events = 0;
  std::uint64_t lost_commits = 0;  ///< Events of asynchronous commits that a crash took back.
  std::chrono::milliseconds load{0};
  WriterCounts writers;
};

class PostgresHistory {
 public:
  PostgresHistory(PostgresServer& server, const PgBouncer* bouncer, const HistoryPlan& plan);
  ~PostgresHistory();

  void run();
  void add_to(HistoryCounts& counts) const;

 private:
  static constexpr std::size_t kRelaysMax = 2;
  struct Relay {
    std::unique_ptr<Process> process;
    std::optional<std::chrono::steady_clock::time_point> wakes;
  };

  void load();
  void keep_relays();
  void strike();
  void stop(Relay& relay);
  void wake(bool all);
  void crash();
  void stop_writers();
  void stop_relays();
  void end_prepared();
  void drain();

  void check();
  std::vector<CommittedEvent> committed(std::vector<std::string>& violations) const;
  void check_writers(const std::set<std::string>& committed, std::vector<std::string>& violations);

  PostgresServer& server_;
  HistoryPlan plan_;
  sim::Random random_;
  PostgresStage stage_;
  std::vector<std::unique_ptr<PostgresWriter>> writers_;
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
  std::array<Relay, kRelaysMax> relays_;
  std::uint64_t kills_ = 0;
  std::uint64_t pauses_ = 0;
  std::uint64_t crashes_ = 0;
  std::uint64_t events_ = 0;
  std::uint64_t lost_commits_ = 0;
};

}  // namespace outseal::test
