// Two services: an outbox here, an inbox there, and two relays in between. All of them are killed
// at random. Then every committed event has taken effect once, and in the order of its key.
// OUTSEAL_SEED gives the sequence of acts; the moments are the machine's.
#include <doctest/doctest.h>
#include <signal.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <random>
#include <thread>

#include "base/url.h"
#include "sql/connection.h"
#include "support/paths.h"
#include "support/postgres_server.h"
#include "support/scale.h"
#include "torture/stage.h"

namespace outseal::test {
namespace {

using std::chrono::milliseconds;

constexpr const char* kStream = "/outseal/main#main";

std::uint64_t seed_of_run() {
  const char* text = std::getenv("OUTSEAL_SEED");
  return text == nullptr ? std::random_device{}() : std::strtoull(text, nullptr, 10);
}

/// The receiving service's database, and how its programs name it.
struct Receiver {
  std::string url;
  std::string backend;
  std::string conninfo;
  std::string business_table;
};

Receiver on_sqlite(const Stage& stage) {
  const std::string path = stage.file("receiver.db");
  return {"sqlite:" + path, "sqlite3", "dbname=" + path,
          "CREATE TABLE applied (n INTEGER PRIMARY KEY AUTOINCREMENT, position INTEGER,"
          " event_id TEXT, key TEXT)"};
}

Receiver on_postgres() {
  const std::string database = shared_server().fresh_database();
  return {shared_server().url(database), "postgresql", shared_server().conninfo(database),
          "CREATE TABLE applied (n bigint GENERATED ALWAYS AS IDENTITY, position bigint,"
          " event_id uuid, key text)"};
}

/// Both services and the relays.
class Pair {
 public:
  Pair(const Stage& stage, Receiver receiver, std::uint64_t seed)
      : stage_{stage}, receiver_{std::move(receiver)}, random_{seed} {
    REQUIRE(run(stage.start_migrate()) == Exit{});
    REQUIRE(run(start({program_path("outseal-migrate"), "up", "--db", receiver_.url})) == Exit{});
    connect()->execute(receiver_.business_table);
  }

  /// Runs until `kills` processes have been killed.
  void storm(std::uint64_t kills) {
    for (std::uint64_t killed = 0; killed < kills; ++killed) {
      for (std::size_t place = 0; place < kPlaces; ++place) {
        auto& process = processes_[place];
        if (process && process->poll())
          FAIL("a process ended by itself, place " << place << '\n' << stage_.log_tail());
        if (!process) process = start_at(place);
      }
      std::this_thread::sleep_for(milliseconds{random_() % 60});
      auto& victim = processes_[random_() % kPlaces];
      victim->send(SIGKILL);
      victim->wait();
      victim.reset();
    }
    for (auto& process : processes_) process.reset();
  }

  /// Lets everything arrive, and takes some of it by the two ends of a crash each.
  void drain() {
    const Exit relay = run(stage_.start_relay_to(sink(), {"--drain"}));
    REQUIRE_MESSAGE(relay == Exit{}, "relay: code " << relay.code << '\n' << stage_.log_tail());
    for (const std::string failpoint : {"inbox.before_move", "inbox.after_move",
                                        "service.before_commit", "service.after_commit"}) {
      const Exit end = run(start_receiver({"drain"}, {{"OUTSEAL_FAILPOINT", failpoint}}));
      CHECK((end.signal == SIGKILL || end == Exit{}));
    }
    REQUIRE(run(start_receiver({"drain"})) == Exit{});
  }

  std::vector<std::string> violations() const {
    std::vector<StoredEvent> applied;
    const auto connection = connect();
    const bool sqlite = connection->dialect() == "sqlite";
    const auto rows = connection->prepare(std::string{"SELECT position, event_id, key FROM "} +
                                          (sqlite ? "applied" : "public.applied") + " ORDER BY n");
    while (rows->step())
      applied.push_back({Position{static_cast<std::uint64_t>(rows->integer(0))}, rows->event_id(1),
                         std::string{rows->text(2)}});
    std::cout << applied.size() << " effects" << std::endl;
    CHECK(applied.size() > 0);
    return stage_.violations(Extent::drained, applied);
  }

 private:
  static constexpr std::size_t kPlaces = 5;

  std::string sink() const {
    return receiver_.url + "?event_bytes_max=" + std::to_string(kSinkEventBytesMax);
  }
  std::unique_ptr<sql::Connection> connect() const {
    return sql::open(Url::parse("receiver", receiver_.url));
  }
  std::unique_ptr<Process> start(const std::vector<std::string>& words,
                                 const Environment& environment = {}) const {
    return std::make_unique<Process>(words, environment, stage_.log());
  }
  std::unique_ptr<Process> start_receiver(const std::vector<std::string>& more = {},
                                          const Environment& environment = {}) {
    std::vector<std::string> words{OUTSEAL_RECEIVER, receiver_.backend, receiver_.conninfo, kStream,
                                   std::to_string(random_())};
    words.insert(words.end(), more.begin(), more.end());
    return start(words, environment);
  }
  std::unique_ptr<Process> start_at(std::size_t place) {
    if (place == 0) return stage_.start_producer(random_(), 2, 0);
    if (place <= 2) return start_receiver();
    return stage_.start_relay_to(
        sink(), {"--lease-ms", "200", "--poll-min-ms", "1", "--poll-max-ms", "5",
                 "--backoff-min-ms", "5", "--backoff-max-ms", "40", "--batch-events", "40"});
  }

  const Stage& stage_;
  const Receiver receiver_;
  std::mt19937_64 random_;
  std::array<std::unique_ptr<Process>, kPlaces> processes_;
};

void check_pair(const Stage& stage, Receiver receiver, std::uint64_t kills) {
  const std::uint64_t seed = seed_of_run();
  std::cout << receiver.backend << ": " << kills << " kills, OUTSEAL_SEED=" << seed << std::endl;
  Pair pair{stage, std::move(receiver), seed};
  pair.storm(kills);
  pair.drain();
  const auto violations = pair.violations();
  CHECK_MESSAGE(violations.empty(), joined(violations));
}

}  // namespace

TEST_CASE("an outbox on SQLite, an inbox on SQLite: every event takes effect once, in order") {
  const Stage stage;
  check_pair(stage, on_sqlite(stage), scaled(100, 2'000));
}

TEST_CASE("an outbox on SQLite, an inbox on PostgreSQL: every event takes effect once, in order") {
  if (skipped_without_postgres()) return;
  const Stage stage;
  check_pair(stage, on_postgres(), scaled(80, 2'000));
}

}  // namespace outseal::test
