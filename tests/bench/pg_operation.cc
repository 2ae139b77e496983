// The relay in operation: how soon, at what cost while nothing happens, with millions waiting, and
// what its retention does to the writers.
#include <signal.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <stdexcept>

#include "bench/bench.h"
#include "bench/pg_relay.h"
#include "bench/pg_stage.h"
#include "observe/log_line.h"
#include "relay/retention_task.h"
#include "store/retention.h"

namespace outseal::bench {
namespace {

double acked_position(const Stage& stage) {
  return stage.number("SELECT coalesce(max(acked_position), 0) FROM outseal.subscription");
}

void stop(test::Program& relay, const test::TempFolder& folder) {
  relay.send(SIGTERM);
  if (relay.wait() != 0)
    throw std::runtime_error{"the relay failed:\n" + test::end_of_log(folder.file("relay.log"))};
}

/// Removes published events as a relay does, as long as it lives.
class Retention {
 public:
  explicit Retention(const Stage& stage)
      : task_{Url::parse("--db", stage.url()),
              {{"main", {.events = std::chrono::milliseconds{1}, .step_rows = 5'000}}},
              false,
              [this](std::string_view, const observe::Observation& what) { count(what); }} {
    task_.start();
  }
  std::uint64_t removed() const { return removed_; }

 private:
  void count(const observe::Observation& what) {
    if (const auto* retained = std::get_if<observe::Retained>(&what))
      removed_ += retained->rows;
    else if (const auto line = observe::log_line(what))
      std::printf("  %s\n", std::string{line->event}.c_str());
  }

  std::atomic<std::uint64_t> removed_ = 0;
  relay::RetentionTask task_;
};

/// Writers alone, and beside retention at the relay's pace while there is more.
void beside_retention(const Stage& stage, int clients, const Size& size) {
  constexpr int kRounds = 5;
  std::vector<double> alone;
  std::vector<double> ratios;
  std::vector<double> removed_rates;
  const auto time = size.seconds(1);
  for (int round = 0; round < kRounds; ++round) {
    stage.checkpoint();
    const Clients writers{stage, clients, [](Client& client) { client.with_append(); }};
    writers.rate(size.seconds(0.3));
    alone.push_back(writers.rate(time));
    const Retention retention{stage};
    ratios.push_back(writers.rate(time) / alone.back());
    removed_rates.push_back(static_cast<double>(retention.removed()) / time.count());
  }
  std::printf(
      "  %d writer%s, %s tx/s alone: %.2f of it beside retention%s, %s rows/s, %.1f of"
      " theirs%s\n",
      clients, clients == 1 ? "" : "s", spread(alone).c_str(), median(ratios),
      at_least(median(ratios), 0.95).c_str(), spread(removed_rates).c_str(),
      median(removed_rates) / median(alone),
      at_least(median(removed_rates) / median(alone), 1).c_str());
}

}  // namespace

void pg_latency(const Size& size) {
  for (const auto& [sink, name] : {std::pair{"null:", "null"}, {"file:", "file"}}) {
    const Latency measured = latency(sink, size.seconds(10));
    std::printf("  %s sink: p50 %.2f ms%s, p95 %.2f ms, p99 %.2f ms%s at %.0f events/s\n", name,
                measured.p50, below(measured.p50, 2).c_str(), measured.p95, measured.p99,
                below(measured.p99, 7).c_str(), measured.rate);
  }
}

void pg_backlog(const Size& size) {
  using namespace std::chrono_literals;
  const int events = size.count(5'000'000);
  const Stage stage;
  const double filled = seconds([&] { stage.fill(events, std::min(events, 10'000)); });
  const test::TempFolder folder;
  const std::string file = folder.file("events");

  const auto start = Clock::now();
  const auto relay = start_relay(stage, "file:" + file, folder);
  const auto since_start = [&] {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  std::error_code ignored;
  while (!std::filesystem::exists(file) || std::filesystem::file_size(file, ignored) == 0) {
    if (!relay->is_running() || since_start() > 60)
      throw std::runtime_error{"no event:\n" + test::end_of_log(folder.file("relay.log"))};
    std::this_thread::sleep_for(2ms);
  }
  const double first = since_start();

  // The first second is left out: connections, first plans, cold files.
  std::vector<std::pair<double, double>> progress;
  do {
    std::this_thread::sleep_for(1s);
    progress.emplace_back(since_start(), acked_position(stage));
  } while (progress.back().first < 20 && progress.back().second < events);
  const double memory_mib = peak_memory_mib(std::to_string(relay->pid()));
  stop(*relay, folder);

  std::vector<double> rates;
  for (std::size_t i = 1; i < progress.size(); ++i)
    rates.push_back((progress[i].second - progress[i - 1].second) /
                    (progress[i].first - progress[i - 1].first));
  std::printf(
      "  %d events wait (appended in %.0f s): first event after %.2f s%s; then %.0f events/s,"
      " slowest second %.0f, %.0f events in %.0f s; peak memory %.1f MiB%s\n",
      events, filled, first, below(first, 3).c_str(), median(rates), quantile(rates, 0),
      progress.back().second, progress.back().first, memory_mib, below(memory_mib, 64).c_str());
}

void pg_idle(const Size& size) {
  const Stage stage;
  const test::TempFolder folder;
  const auto relay = start_relay(stage, "file:" + folder.file("events"), folder);
  std::this_thread::sleep_for(std::chrono::seconds{3});  // It leads, and has found nothing to do.
  const auto backend = static_cast<pid_t>(
      stage.number("SELECT max(pid) FROM pg_stat_activity WHERE datname = current_database()"
                   " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"));
  const auto transactions = [&] {
    return stage.number(
        "SELECT xact_commit FROM pg_stat_database WHERE datname ="
        " current_database()");
  };

  const double asked = transactions();
  const double relay_s = cpu_seconds(relay->pid());
  const double backend_s = cpu_seconds(backend);
  const double took = seconds([&] { std::this_thread::sleep_for(size.seconds(20)); });
  const double relay_percent = 100 * (cpu_seconds(relay->pid()) - relay_s) / took;
  const double backend_percent = 100 * (cpu_seconds(backend) - backend_s) / took;
  const double per_second = (transactions() - asked) / took;
  const double memory_mib = peak_memory_mib(std::to_string(relay->pid()));
  stop(*relay, folder);
  std::printf(
      "  relay %.2f %% of a core%s, its server process %.2f %%; %.1f transactions/s; memory"
      " %.1f MiB\n",
      relay_percent, below(relay_percent, 0.5).c_str(), backend_percent, per_second, memory_mib);
}

void pg_retention(const Size& size) {
  const Stage stage;
  stage.fill(size.count(1'500'000));
  drain(stage, "null:");
  const auto dead = [&] {
    stage.written();  // All sessions have ended, so all rows are counted.
    return stage.number(
        "SELECT n_dead_tup FROM pg_stat_user_tables WHERE schemaname = 'outseal'"
        " AND relname = 'outbox'");
  };
  const double dead_before = dead();
  for (const int clients : {1, 8}) beside_retention(stage, clients, size);
  std::printf("  dead tuples of the outbox: %.0f before retention, %.0f after\n", dead_before,
              dead());
}

}  // namespace outseal::bench
