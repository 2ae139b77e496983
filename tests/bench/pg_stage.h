// What PostgreSQL's benchmarks stand on: a durable server, databases with the schema and a business
// table, clients that work, and counters of what that work has cost.
#pragma once

#include <soci/soci.h>
#include <sys/types.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "outseal/outseal.h"
#include "sql/connection.h"
#include "support/postgres_server.h"

struct pg_conn;

namespace outseal::bench {

/// What the database has written. The difference of two is the cost of what happened between.
struct WriteOutcome {
  double wal_bytes = 0;
  double wal_syncs = 0;
  /// Rows of outseal's tables. Each update or delete leaves one dead tuple behind.
  double inserted = 0;
  double updated = 0;
  double deleted = 0;

  double dead() const { return updated + deleted; }
};
WriteOutcome operator-(const WriteOutcome& after, const WriteOutcome& before);

/// Seconds of CPU that a process has used, by all of its threads.
double cpu_seconds(pid_t process);

/// A fresh database with outseal's schema and a table of accounts; dropped at the end.
///
/// All stages of a run are on one server, started by the first: PostgreSQL's own settings for
/// durability and planning, and a log that is large enough to need no checkpoint in between.
class Stage {
 public:
  static constexpr int kAccountsPerClient = 1'000;
  static constexpr int kClientsMax = 16;

  Stage();
  ~Stage();
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  std::string url() const;
  std::string conninfo() const;
  /// The first field of the result.
  std::string ask(const std::string& sql) const;
  double number(const std::string& sql) const;

  /// Appends events of 300 bytes in transactions of `per_commit`, and reads all of them once, which
  /// is when PostgreSQL notes that they are committed.
  void fill(int events, int per_commit = 100) const;
  /// So that none falls into what is measured.
  void checkpoint() const { ask("CHECKPOINT"); }
  /// Waits until all other sessions have ended: only then are their rows counted.
  WriteOutcome written() const;

 private:
  std::string database_;
};

/// One client of the business: moves money on accounts that are its own.
class Client {
 public:
  Client(const Stage& stage, int number);

  void bare();
  /// The least that an outbox can cost: one row more, into a table with neither index nor check,
  /// whose INSERT travels with COMMIT.
  void with_row();
  EventId with_append();
  void with_execute();
  /// The rows of an operation with one effect, in the two transactions that it needs.
  void bare_twice();
  void with_effect();

  /// libpq's connection under the session.
  pg_conn* handle();

 private:
  void charge();
  Event event() const;

  soci::session session_;
  int number_;
  int turn_ = 0;
  int account_ = 0;
  std::string run_;  ///< Makes idempotency keys unlike those of other clients.
  bool row_is_prepared_ = false;
  bool twice_is_prepared_ = false;
  soci::statement update_;
};

using Turn = std::function<void(Client&)>;

/// Clients that work as fast as they can, each in a thread, until the end.
class Clients {
 public:
  Clients(const Stage& stage, int count, Turn turn);
  ~Clients();
  Clients(const Clients&) = delete;
  Clients& operator=(const Clients&) = delete;

  /// Transactions per second over the next `time`.
  double rate(std::chrono::duration<double> time) const;

 private:
  struct Worker;
  std::vector<std::unique_ptr<Worker>> workers_;
};

/// A write transaction with an xid and an event of its own that stays open.
class LongTransaction {
 public:
  explicit LongTransaction(const Stage& stage);

 private:
  soci::session session_;  ///< Its end rolls back.
};

}  // namespace outseal::bench
