// The window reader against a reference that is too slow and too simple to be wrong, on random
// histories of a real PostgreSQL. OUTSEAL_SEED gives the first history; each has its own seed.
#include <doctest/doctest.h>

#include <cstdlib>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <unordered_set>
#include <vector>

#include "store/migrations.h"
#include "support/postgres_server.h"
#include "support/scale.h"
#include "torture/window_script.h"
#include "torture/window_view.h"

namespace outseal::test {
namespace {

constexpr std::uint64_t kHistories = 300;
constexpr std::uint64_t kHistoriesSoak = 6'000;

struct Totals {
  ScriptCounts script;
  std::uint64_t windows = 0;
  std::uint64_t batches = 0;
  std::uint64_t restarts = 0;
  std::uint64_t read = 0;
};

/// Row by row, without an index: visible in `to` and not in `from`, by seq.
std::vector<std::int64_t> reference(PostgresClient& client, const WindowRead& window,
                                    bool only_topic_a) {
  std::vector<std::int64_t> seqs;
  for (const auto& row :
       client.rows("SELECT seq FROM outseal.outbox WHERE pg_visible_in_snapshot(tx, '" + window.to +
                   "') AND NOT pg_visible_in_snapshot(tx, '" + window.from + "')" +
                   (only_topic_a ? " AND topic = 'a'" : "") + " ORDER BY seq"))
    seqs.push_back(std::stoll(row[0]));
  return seqs;
}

/// Who is connected to the database; kept from one history to the next.
struct Connections {
  std::string url;
  std::unique_ptr<sql::Connection> relay;
  PostgresClient observer;
  std::vector<PostgresClient> sessions;

  explicit Connections(const std::string& database_url)
      : url{database_url}, relay{open()}, observer{url} {
    for (int i = 0; i < 4; ++i) sessions.emplace_back(url);
  }
  std::unique_ptr<sql::Connection> open() const { return sql::open(Url::parse("--db", url)); }
};

class History {
 public:
  History(Connections& connections, std::uint64_t seed)
      : random_{seed},
        only_topic_a_{random_.percent(30)},
        client_{connections.observer},
        script_{connections.sessions, random_.next()},
        view_{*connections.relay,
              {only_topic_a_ ? "a" : "*"},
              random_.next(),
              reading_ahead(connections)} {}

  void run() {
    for (std::uint64_t left = random_.between(60, 160); left > 0; --left) {
      script_.act();
      if (random_.percent(15)) read();
      if (random_.percent(2)) catch_up();
    }
    script_.finish();
    catch_up();
    view_.read_all_again();
    check_windows();
  }

  void add_to(Totals& totals) const {
    const ScriptCounts& counts = script_.counts();
    totals.script.events += counts.events;
    totals.script.commits += counts.commits;
    totals.script.rollbacks += counts.rollbacks;
    totals.script.returns_to_savepoint += counts.returns_to_savepoint;
    totals.script.early_xids += counts.early_xids;
    totals.script.prepared += counts.prepared;
    totals.windows += view_.windows().size();
    totals.batches += view_.batches();
    totals.restarts += view_.restarts();
    totals.read += view_.read().size();
  }

 private:
  /// In some histories chunks are fetched ahead over a second connection.
  store::OpenConnection reading_ahead(const Connections& connections) {
    if (!random_.percent(15)) return {};
    return [&connections] { return connections.open(); };
  }

  void check(Extent extent) {
    const auto violations = check_history(script_.committed(only_topic_a_), view_.read(), extent);
    REQUIRE_MESSAGE(violations.empty(), joined(violations));
  }

  /// What is read is committed, and of each key there is no gap.
  void read() {
    view_.step();
    check(Extent::prefix);
  }

  /// Whatever is open or prepared: nothing that is committed has to wait.
  void catch_up() {
    view_.catch_up();
    check(Extent::drained);
  }

  void check_windows() {
    std::string end = "3:3:";
    std::size_t seen = 0;
    for (const WindowRead& window : view_.windows()) {
      REQUIRE(window.from == end);
      REQUIRE(window.seqs == reference(client_, window, only_topic_a_));
      end = window.to;
      seen += window.seqs.size();
    }
    const std::string all = client_.value(std::string{"SELECT count(*) FROM outseal.outbox"} +
                                          (only_topic_a_ ? " WHERE topic = 'a'" : ""));
    REQUIRE(std::to_string(seen) == all);
  }

  sim::Random random_;
  bool only_topic_a_;
  PostgresClient& client_;
  Script script_;
  LogView view_;
};

TEST_CASE("the window reader and the reference agree on random histories") {
  if (skipped_without_postgres()) return;
  const char* text = std::getenv("OUTSEAL_SEED");
  const std::uint64_t first =
      text == nullptr ? std::random_device{}() : std::strtoull(text, nullptr, 10);
  const std::uint64_t histories = scaled(kHistories, kHistoriesSoak);
  std::cout << histories << " histories, OUTSEAL_SEED=" << first << std::endl;

  PostgresServer& server = shared_server();
  const std::string url = server.url(server.fresh_database());
  Connections connections{url};
  store::migrate_up(*connections.relay, store::newest_version("postgresql"),
                    [](const store::MigrationStatus&) {});
  Totals totals;
  for (std::uint64_t seed = first; seed < first + histories; ++seed) {
    CAPTURE(seed);
    connections.observer.rows(
        "TRUNCATE outseal.outbox, outseal.subscription, outseal.journal, outseal.parked");
    History history{connections, seed};
    history.run();
    history.add_to(totals);
  }
  std::cout << totals.script.events << " events appended, " << totals.read << " read in "
            << totals.batches << " batches of " << totals.windows << " windows; "
            << totals.script.commits << " commits, " << totals.script.rollbacks << " rollbacks, "
            << totals.script.returns_to_savepoint << " returns to a savepoint, "
            << totals.script.early_xids << " early xids, " << totals.script.prepared
            << " prepared, " << totals.restarts << " restarts of the reader" << std::endl;
  CHECK(totals.read > 0);
}

}  // namespace
}  // namespace outseal::test
