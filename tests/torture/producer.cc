// A service under torture: threads write business rows, events and idempotent operations, roll some
// of them back, and are killed at any time.
//
//   producer DATABASE ABORTED SEED THREADS TRANSACTIONS     (0 transactions: without end)
//
// DATABASE is the path of an SQLite file or what libpq connects with ("host=... dbname=...").
//
// Each event has a row in the table "ledger", written in the same transaction. The ids of events
// whose transaction will be rolled back are written to the file ABORTED before that.
#include <fcntl.h>
#include <outseal/outseal.h>
#include <soci/postgresql/soci-postgresql.h>
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

namespace {

constexpr std::size_t kTooLargeBytes = 1'000;

struct Job {
  std::string database;
  int aborted = -1;
  std::uint64_t seed = 0;
  std::uint64_t transactions = 0;
};

/// The handler of an operation gives up in a way that only a bug could.
struct GiveUp : std::runtime_error {
  using std::runtime_error::runtime_error;
};

const soci::backend_factory& backend_of(const std::string& database) {
  if (database.find("dbname=") != std::string::npos) return soci::postgresql;
  return soci::sqlite3;
}

class Worker {
 public:
  Worker(const Job& job, unsigned number)
      : job_{job},
        random_{job.seed * 1'000 + number},
        session_{backend_of(job.database), job.database} {}

  void run() {
    for (std::uint64_t done = 0; job_.transactions == 0 || done < job_.transactions; ++done) {
      chance(60) ? transact() : operate();
    }
  }

 private:
  bool chance(unsigned percent) { return random_() % 100 < percent; }

  void transact() {
    outseal::Transaction tx{session_};
    const bool aborts = chance(20);
    const auto count = 1 + random_() % 3;
    for (std::uint64_t at = 0; at < count; ++at) append(tx, "", aborts);
    if (!aborts) tx.commit();
  }

  /// An operation with few different keys, so that most of its tries are repetitions.
  void operate() {
    const std::string name = std::to_string(random_() % 5'000);
    const unsigned way = static_cast<unsigned>(random_() % 10);
    const outseal::Operation operation{
        .scope = "torture", .key = name, .fingerprint = outseal::fingerprint(name)};
    try {
      std::ignore =
          outseal::execute(session_, operation, [&](outseal::Transaction& tx) -> outseal::Reply {
            append(tx, name, way < 3);
            if (way == 0) throw GiveUp{"handler"};
            if (way == 1) return {.verdict = outseal::Verdict::final_failure, .status = 402};
            if (way == 2) return {.verdict = outseal::Verdict::retryable_failure, .status = 503};
            return {.status = 201, .body = name};
          });
    } catch (const GiveUp&) {
    }
  }

  void append(outseal::Transaction& tx, const std::string& operation, bool aborts) {
    const outseal::EventId id = outseal::new_event_id();
    const std::string id_text = id.to_string();
    if (aborts) note_aborted(id_text);
    const auto key_number = random_() % 12;
    std::string key = key_number == 0 ? "" : "key-" + std::to_string(key_number);
    // Nothing waits behind one without a key, so these go on and on.
    const unsigned too_large_percent = key_number == 0 ? 20 : key_number >= 10 ? 8 : 0;
    const int too_large = chance(too_large_percent) ? 1 : 0;
    session_ << "INSERT INTO ledger (event_id, key, operation, too_large)"
                " VALUES (:id, :key, NULLIF(:operation, ''), :too_large)",
        soci::use(id_text), soci::use(key), soci::use(operation), soci::use(too_large);
    const std::size_t bytes = too_large != 0 ? kTooLargeBytes : random_() % 300;
    outseal::append(tx, {.topic = "torture",
                         .key = key,
                         .type = "happened",
                         .payload = std::string(bytes, 'x'),
                         .content_type = "text/plain",
                         .id = id});
  }

  void note_aborted(const std::string& id) {
    const std::string line = id + '\n';
    if (::write(job_.aborted, line.data(), line.size()) < 0) throw std::runtime_error{"write"};
  }

  const Job& job_;
  std::mt19937_64 random_;
  soci::session session_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) return 2;
  const Job job{.database = argv[1],
                .aborted = ::open(argv[2], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644),
                .seed = std::strtoull(argv[3], nullptr, 10),
                .transactions = std::strtoull(argv[5], nullptr, 10)};
  std::atomic<int> status{0};
  {
    std::vector<std::jthread> threads;
    const unsigned count = static_cast<unsigned>(std::strtoul(argv[4], nullptr, 10));
    for (unsigned number = 0; number < count; ++number) {
      threads.emplace_back([&job, &status, number] {
        try {
          Worker{job, number}.run();
        } catch (const std::exception& error) {
          std::cerr << "producer: " << error.what() << std::endl;
          status = 1;
        }
      });
    }
  }
  return status;
}
