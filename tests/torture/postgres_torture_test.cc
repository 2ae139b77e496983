// Short histories on a real PostgreSQL in which everything goes wrong that may, each in a database
// of its own. OUTSEAL_SEED gives the first one; a history's seed gives its plan and the sequence of
// acts, the moments are the machine's.
#include <doctest/doctest.h>

#include <cstdlib>
#include <iostream>
#include <random>

#include "support/scale.h"
#include "torture/postgres_history.h"

namespace outseal::test {
namespace {

using std::chrono::milliseconds;

constexpr std::uint64_t kHistories = 110;
constexpr std::uint64_t kHistoriesSoak = 600;
constexpr milliseconds kLoad{700};
constexpr milliseconds kLoadSoak{2'000};

/// A key's lock may be held by a prepared transaction, which nobody ends while he waits for it.
const PostgresOptions kServer{
    .durable = false,
    .settings = {"wal_writer_delay = 10s", "lock_timeout = 400ms", "deadlock_timeout = 30ms",
                 "max_connections = 80", "max_prepared_transactions = 40"}};

void print(const HistoryCounts& counts) {
  const WriterCounts& writers = counts.writers;
  std::cout << counts.histories << " histories (" << counts.pooled << " through PgBouncer), "
            << counts.load.count() / 1'000 << " s of load: " << counts.kills << " relays killed, "
            << counts.pauses << " paused, " << counts.server_crashes << " crashes of the server, "
            << counts.events << " events published once and in order, " << counts.lost_commits
            << " events of commits that a crash took back\n"
            << writers.transactions << " transactions, " << writers.rollbacks << " rolled back, "
            << writers.returns_to_savepoint << " returns to a savepoint, " << writers.early_xids
            << " early xids, " << writers.long_ones << " long ones, " << writers.prepared
            << " prepared, " << writers.conflicts << " conflicts, " << writers.lost_connections
            << " connections lost, " << writers.commits_in_doubt << " commits in doubt, "
            << writers.operations << " operations, " << writers.replays << " replays" << std::endl;
}

TEST_CASE("every committed event is published once and in order, whatever ends when") {
  if (skipped_without_postgres()) return;
  const char* text = std::getenv("OUTSEAL_SEED");
  const std::uint64_t first =
      text == nullptr ? std::random_device{}() : std::strtoull(text, nullptr, 10);
  const std::uint64_t histories = scaled(kHistories, kHistoriesSoak);
  std::cout << histories << " histories, OUTSEAL_SEED=" << first << std::endl;

  PostgresServer server{kServer};
  make_stage_template(server);
  std::unique_ptr<PgBouncer> bouncer;
  if (pgbouncer_is_installed()) bouncer = std::make_unique<PgBouncer>(server);
  HistoryCounts counts;
  for (std::uint64_t seed = first; seed < first + histories; ++seed) {
    const HistoryPlan plan =
        HistoryPlan::of(seed, soaking() ? kLoadSoak : kLoad, bouncer != nullptr);
    CAPTURE(plan.text());
    PostgresHistory history{server, bouncer.get(), plan};
    history.run();
    history.add_to(counts);
  }
  print(counts);
  CHECK(counts.events > 0);
}

}  // namespace
}  // namespace outseal::test
