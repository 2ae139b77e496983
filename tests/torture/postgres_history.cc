#include "torture/postgres_history.h"

#include <doctest/doctest.h>
#include <signal.h>

#include <map>

#include "torture/postgres_client.h"

namespace outseal::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr int kLease_ms = 300;

const std::vector<std::string> kRelayFlags{"--lease-ms",       std::to_string(kLease_ms),
                                           "--poll-min-ms",    "1",
                                           "--poll-max-ms",    "5",
                                           "--backoff-min-ms", "5",
                                           "--backoff-max-ms", "40"};

std::string_view name_of(Crash crash) {
  switch (crash) {
    case Crash::none:
      return "none";
    case Crash::immediate:
      return "immediate";
    case Crash::hard:
      return "hard";
    case Crash::backend:
      return "backend";
  }
  return "";
}

}  // namespace

HistoryPlan HistoryPlan::of(std::uint64_t seed, milliseconds load, bool can_pool) {
  sim::Random random{seed};
  HistoryPlan plan{.seed = seed, .load = load};
  plan.relays = random.between(1, 2);
  plan.writers = random.between(4, kWritersMax);
  plan.pooled = random.percent(40) && can_pool;
  static constexpr unsigned kAsync[] = {0, 30, 100};
  plan.async_percent = kAsync[random.below(3)];
  if (random.percent(40)) plan.crash = static_cast<Crash>(random.between(1, 3));
  return plan;
}

std::string HistoryPlan::text() const {
  return "seed=" + std::to_string(seed) + " relays=" + std::to_string(relays) +
         " writers=" + std::to_string(writers) + " pooled=" + (pooled ? "yes" : "no") +
         " async=" + std::to_string(async_percent) + "% crash=" + std::string{name_of(crash)};
}

PostgresHistory::PostgresHistory(PostgresServer& server, const PgBouncer* bouncer,
                                 const HistoryPlan& plan)
    : server_{server},
      plan_{plan},
      random_{plan.seed + 1},
      stage_{server, plan.pooled ? bouncer : nullptr} {
  stage_.execute("INSERT INTO k SELECT 'k' || i FROM generate_series(0, " +
                 std::to_string(kSharedKeys - 1) +
                 ") i; INSERT INTO k SELECT 'w' || i FROM generate_series(0, " +
                 std::to_string(kWritersMax - 1) + ") i");
}

PostgresHistory::~PostgresHistory() {
  for (Relay& relay : relays_) relay.process.reset();
  stop_writers();
}

void PostgresHistory::run() {
  for (std::size_t i = 0; i < plan_.writers; ++i) {
    writers_.push_back(
        std::make_unique<PostgresWriter>(WriterOptions{.conninfo = stage_.conninfo(),
                                                       .name = "w" + std::to_string(i),
                                                       .pooled = plan_.pooled,
                                                       .patient = i == 0,
                                                       .async_percent = plan_.async_percent,
                                                       .seed = plan_.seed * kWritersMax + i}));
    threads_.emplace_back([this, writer = writers_.back().get()] { writer->run(stop_); });
  }
  load();
  stop_writers();
  stop_relays();
  end_prepared();
  drain();
  check();
}

// --- Load and harm -------------------------------------------------------------------------------

void PostgresHistory::load() {
  auto end = steady_clock::now() + plan_.load;
  auto crash_at = steady_clock::now() +
                  milliseconds{random_.below(static_cast<std::uint64_t>(plan_.load.count()))};
  if (plan_.crash == Crash::none) crash_at = steady_clock::time_point::max();
  while (steady_clock::now() < end) {
    keep_relays();
    std::this_thread::sleep_for(milliseconds{random_.between(5, 90)});
    wake(false);
    if (steady_clock::now() >= crash_at) {
      const auto begin = steady_clock::now();
      crash();
      end += steady_clock::now() - begin;
      crash_at = steady_clock::time_point::max();
    }
    strike();
  }
  if (crash_at < steady_clock::time_point::max()) crash();
}

void PostgresHistory::keep_relays() {
  for (std::size_t place = 0; place < plan_.relays; ++place) {
    Relay& relay = relays_[place];
    if (relay.process && !relay.process->poll()) continue;
    if (relay.process) {
      const Exit ended = relay.process->wait();
      // One that is started while the server is down says so and ends.
      const bool excused = plan_.crash != Crash::none && ended == Exit{.code = 3};
      REQUIRE_MESSAGE(excused, "a relay ended by itself, code " << ended.code << " signal "
                                                                << ended.signal << '\n'
                                                                << stage_.log_tail());
    }
    std::vector<std::string> flags = kRelayFlags;
    flags.insert(flags.end(), {"--batch-events", std::to_string(random_.between(1, 60))});
    relay.process = stage_.start_relay(flags);
  }
}

/// Kills, pauses or stops a relay, or leaves it alone.
void PostgresHistory::strike() {
  Relay& relay = relays_[random_.below(plan_.relays)];
  if (!relay.process || relay.process->poll()) return;
  const std::uint64_t act = random_.below(100);
  if (act < 45) {
    relay.process->send(SIGKILL);
    relay.process->wait();
    relay = {};
    ++kills_;
  } else if (relay.wakes) {
    return;
  } else if (act < 57) {
    relay.process->send(SIGSTOP);
    relay.wakes = steady_clock::now() + milliseconds{kLease_ms + random_.below(200)};
    ++pauses_;
  } else if (act < 65) {
    stop(relay);
  }
}

/// SIGTERM: it finishes what it does and exits with 0, unless it is too young to know it.
void PostgresHistory::stop(Relay& relay) {
  relay.process->send(SIGTERM);
  // It may have to wait for a paused one that holds a lock.
  while (!relay.process->wait_for(milliseconds{20})) wake(false);
  const Exit ended = relay.process->wait();
  const bool fine = ended == Exit{} || ended.signal == SIGTERM ||
                    (plan_.crash != Crash::none && ended == Exit{.code = 3});
  REQUIRE_MESSAGE(fine, "SIGTERM: code " << ended.code << '\n' << stage_.log_tail());
  relay = {};
}

void PostgresHistory::wake(bool all) {
  for (Relay& relay : relays_) {
    if (!relay.wakes || (!all && steady_clock::now() < *relay.wakes)) continue;
    relay.process->send(SIGCONT);
    relay.wakes.reset();
  }
}

void PostgresHistory::crash() {
  ++crashes_;
  if (plan_.crash == Crash::backend) {
    const std::string pid = server_.execute("SELECT pid FROM pg_stat_activity WHERE datname = '" +
                                            stage_.database() + "' LIMIT 1");
    if (pid.empty()) return;
    ::kill(static_cast<pid_t>(std::stol(pid)), SIGKILL);
    const auto starts = [this] { return server_.execute("SELECT pg_postmaster_start_time()"); };
    std::this_thread::sleep_for(milliseconds{5});
    wait_until("the server to recover", [&] {
      try {
        return !starts().empty();
      } catch (const std::runtime_error&) {
        return false;
      }
    });
    return;
  }
  plan_.crash == Crash::hard ? server_.kill_hard() : server_.stop_immediate();
  std::this_thread::sleep_for(milliseconds{random_.below(60)});
  server_.start();
}

// --- The end -------------------------------------------------------------------------------------

void PostgresHistory::stop_writers() {
  stop_ = true;
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void PostgresHistory::stop_relays() {
  for (Relay& relay : relays_) {
    if (!relay.process) continue;
    if (relay.wakes) relay.process->send(SIGCONT);
    if (random_.percent(50))
      relay.process->send(SIGTERM);
    else
      relay.process->send(SIGKILL);
    relay.process->wait();
    relay = {};
  }
}

/// What the writers have left; their events are theirs no more.
void PostgresHistory::end_prepared() {
  PostgresClient client{server_.url(stage_.database())};
  for (const auto& row :
       client.rows("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"))
    client.rows((random_.percent(60) ? "COMMIT PREPARED '" : "ROLLBACK PREPARED '") + row[0] + "'");
}

void PostgresHistory::drain() {
  wait_until("the pooler to let us in", [this] {
    try {
      return PostgresClient{stage_.url()}.value("SELECT 1") == "1";
    } catch (const SqlFailure&) {
      return false;
    }
  });
  const Exit ended = stage_.start_relay({"--drain", "--backoff-max-ms", "100"})->wait();
  REQUIRE_MESSAGE(ended == Exit{}, "drain: code " << ended.code << '\n' << stage_.log_tail());
}

/// What is in the outbox, by key and the version of its row, which must agree.
std::vector<CommittedEvent> PostgresHistory::committed(std::vector<std::string>& violations) const {
  PostgresClient client{server_.url(stage_.database())};
  std::vector<CommittedEvent> events;
  std::map<std::string, std::uint64_t> last;
  for (const auto& row :
       client.rows("SELECT event_id, key, version FROM (SELECT event_id, key, seq,"
                   " (payload::json->>'version')::bigint AS version"
                   " FROM outseal.outbox) o ORDER BY key, version, seq")) {
    events.push_back({EventId::parse(row[0]).value_or(EventId{}), row[1]});
    if (row[1].empty()) continue;
    if (std::to_string(++last[row[1]]) != row[2])
      violations.push_back("the outbox has version " + row[2] + " of key " + row[1] +
                           " in place of version " + std::to_string(last[row[1]]));
  }
  for (const auto& row : client.rows("SELECT key, version FROM k"))
    if (std::to_string(last[row[0]]) != row[1])
      violations.push_back("key " + row[0] + " has version " + row[1] + " and " +
                           std::to_string(last[row[0]]) + " events");
  for (const auto& row : client.rows("SELECT type FROM outseal.outbox WHERE type LIKE 'op-%'"
                                     " GROUP BY type HAVING count(DISTINCT tx) > 1"))
    violations.push_back("operation " + row[0] + " took effect twice");
  return events;
}

void PostgresHistory::check_writers(const std::set<std::string>& committed,
                                    std::vector<std::string>& violations) {
  for (const auto& writer : writers_) {
    violations.insert(violations.end(), writer->faults().begin(), writer->faults().end());
    for (const auto& [id, known] : writer->known()) {
      const bool there = committed.contains(id);
      if (known == Known::committed && !there) violations.push_back("committed and lost: " + id);
      if (known == Known::undone && there) violations.push_back("undone and there: " + id);
      if (known == Known::unflushed && !there) {
        ++lost_commits_;
        if (crashes_ == 0) violations.push_back("lost without a crash: " + id);
      }
    }
  }
}

void PostgresHistory::check() {
  std::vector<std::string> violations;
  const std::vector<CommittedEvent> events = committed(violations);
  const auto history = check_history(events, stage_.stored(), Extent::drained);
  violations.insert(violations.end(), history.begin(), history.end());
  std::set<std::string> ids;
  for (const CommittedEvent& event : events) ids.insert(event.id.to_string());
  check_writers(ids, violations);
  events_ = events.size();
  REQUIRE_MESSAGE(violations.empty(), joined(violations) << stage_.log_tail());
}

void PostgresHistory::add_to(HistoryCounts& counts) const {
  ++counts.histories;
  counts.pooled += plan_.pooled ? 1 : 0;
  counts.kills += kills_;
  counts.pauses += pauses_;
  counts.server_crashes += crashes_;
  counts.events += events_;
  counts.lost_commits += lost_commits_;
  counts.load += plan_.load;
  for (const auto& writer : writers_) {
    const WriterCounts& one = writer->counts();
    WriterCounts& all = counts.writers;
    all.transactions += one.transactions;
    all.rollbacks += one.rollbacks;
    all.returns_to_savepoint += one.returns_to_savepoint;
    all.early_xids += one.early_xids;
    all.long_ones += one.long_ones;
    all.prepared += one.prepared;
    all.conflicts += one.conflicts;
    all.lost_connections += one.lost_connections;
    all.commits_in_doubt += one.commits_in_doubt;
    all.operations += one.operations;
    all.replays += one.replays;
  }
}

}  // namespace outseal::test
