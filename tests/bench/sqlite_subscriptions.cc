// What a service on SQLite feels of many subscriptions whose filters match none of its events.
#include <signal.h>

#include <cstdio>
#include <fstream>
#include <string>

#include "bench/bench.h"
#include "sql/connection.h"
#include "store/migrations.h"
#include "support/paths.h"
#include "support/program.h"
#include "support/temp_folder.h"

namespace outseal::bench {
namespace {

/// Commits of one event each within `time`, a second.
double commits(sql::Connection& connection, std::chrono::duration<double> time) {
  const auto insert = connection.prepare(
      "INSERT INTO outseal_outbox (topic, key, type, payload) VALUES ('payments', 'k', 'paid', "
      "?1)");
  const std::string text = payload(4711);
  const auto end = std::chrono::steady_clock::now() + time;
  int count = 0;
  for (; std::chrono::steady_clock::now() < end; ++count) {
    sql::transact(connection, std::chrono::seconds{10}, [&] {
      insert->bind_text(0, text);
      insert->step();
      insert->reset();
    });
    if (count % 1'000 == 0) connection.execute("PRAGMA wal_checkpoint(PASSIVE)");
  }
  return count / time.count();
}

/// As long as it lives, a relay with that many subscriptions, none of which takes anything.
class Relay {
 public:
  Relay(const test::TempFolder& folder, const std::string& database, int subscriptions)
      : log_{folder.file("relay.log")}, program_{launch(folder, database, subscriptions)} {
    const auto connection = sql::open(Url::parse("--db", "sqlite:" + database));
    test::wait_until("all subscriptions are led", [&] {
      const auto led = connection->prepare(
          "SELECT count(*) FROM outseal_subscription WHERE lease_owner IS NOT NULL");
      led->step();
      return led->integer(0) == subscriptions;
    });
  }
  ~Relay() {
    program_.send(SIGTERM);
    program_.wait();
  }
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

 private:
  test::Launch launch(const test::TempFolder& folder, const std::string& database,
                      int subscriptions) const {
    const std::string config = folder.file("relay.toml");
    std::ofstream toml{config};
    toml << "db = \"sqlite:" << database << "\"\n";
    for (int i = 0; i < subscriptions; ++i)
      toml << "[[subscription]]\nname = \"s" << i << "\"\ntopics = [\"none." << i
           << ".*\"]\nsink = \"file:" << folder.file("s" + std::to_string(i)) << "\"\n";
    toml.close();
    return {.arguments = {test::program_path("outseal-relay"), "run", "--config", config},
            .environment = {},
            .folder = folder.path().string(),
            .log = log_};
  }

  std::string log_;
  test::Program program_;
};

}  // namespace

void sqlite_subscriptions(const Size& size) {
  const auto time = size.seconds(3);
  std::vector<double> rates;
  for (const int subscriptions : {0, 1, 10, 50, 200}) {
    const test::TempFolder folder;
    const std::string database = folder.file("shop.db");
    const auto connection =
        sql::open(Url::parse("--db", "sqlite:" + database), sql::OpenMode::create);
    connection->execute("PRAGMA journal_mode = WAL");
    store::migrate_up(*connection, store::newest_version(), [](const store::MigrationStatus&) {});
    connection->execute("PRAGMA synchronous = NORMAL");
    if (subscriptions == 0) {
      std::printf("  a service alone: %.0f commits/s\n", commits(*connection, time));
      continue;
    }
    const Relay relay{folder, database, subscriptions};
    rates.push_back(commits(*connection, time));
    std::printf("  beside %d subscription%s: %.0f commits/s, %.2f of that beside one%s\n",
                subscriptions, subscriptions == 1 ? "" : "s", rates.back(),
                rates.back() / rates.front(),
                subscriptions == 50 ? at_least(rates.back() / rates.front(), 0.7).c_str() : "");
  }
}

}  // namespace outseal::bench
