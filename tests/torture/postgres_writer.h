// A service under torture on PostgreSQL: transactions of every kind that change rows and append
// events, some of them undone, some of them lost with a crash of the server.
//
// Each row of table k(key, version) is a key's state: a transaction that appends an event of a key
// raises the version first and writes it into the payload. So version n belongs to the n-th event
// of its key, whatever was rolled back or lost.
#pragma once

#include <soci/soci.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "outseal/outseal.h"
#include "sim/random.h"

namespace outseal::test {

inline constexpr std::size_t kSharedKeys = 12;
inline constexpr std::size_t kWritersMax = 8;

/// What the writer knows of an event that it has appended.
enum class Known {
  committed,  ///< And flushed: no crash can take it back.
  unflushed,  ///< Committed, but a crash of the server may have taken it back.
  undone,     ///< It must not be there.
  in_doubt,
};

struct WriterOptions {
  std::string conninfo;
  std::string name;      ///< Of its own row in k; part of the names of prepared transactions.
  bool pooled = false;   ///< Behind a pooler in transaction mode.
  bool patient = false;  ///< Always in a long transaction.
  unsigned async_percent = 0;
  std::uint64_t seed = 0;
};

struct WriterCounts {
  std::uint64_t transactions = 0;
  std::uint64_t rollbacks = 0;
  std::uint64_t returns_to_savepoint = 0;
  std::uint64_t early_xids = 0;
  std::uint64_t long_ones = 0;
  std::uint64_t prepared = 0;
  std::uint64_t conflicts = 0;
  std::uint64_t lost_connections = 0;
  std::uint64_t commits_in_doubt = 0;
  std::uint64_t operations = 0;
  std::uint64_t replays = 0;
};

/// Threads: run() in a thread of its own; the rest after it has ended.
class PostgresWriter {
 public:
  explicit PostgresWriter(WriterOptions options);

  void run(const std::atomic<bool>& stop);

  /// By event id.
  const std::map<std::string, Known>& known() const { return known_; }
  const WriterCounts& counts() const { return counts_; }
  /// What should not have happened.
  const std::vector<std::string>& faults() const { return faults_; }

 private:
  /// How a transaction appends: through the library or by SQL.
  using Append = std::function<void(const Event&)>;
  struct Prepared {
    std::string name;
    std::vector<std::string> ids;
    std::chrono::steady_clock::time_point due;
  };

  void connect();
  void recover();
  void act();
  void library_transaction();
  void joined_transaction();
  void plain_transaction();
  void long_transaction();
  void operate();
  Outcome execute(const Operation& operation, std::vector<std::string>& tried);
  void end_due_prepared();

  void begin_work();
  void work(const Append& append, const std::string& type);
  void change(const std::string& key, const Append& append, const std::string& type);
  void savepoint(const std::string& key, const Append& append, const std::string& type, int depth);
  void append_by_sql(const Event& event);
  void end_by_sql();
  void cut_connection();
  void settle(Known known);
  void commit(Transaction& tx);

  bool chance(unsigned percent) { return random_.percent(percent); }
  void pause(std::uint64_t ms_max);
  std::vector<std::string> some_keys();

  WriterOptions options_;
  sim::Random random_;
  std::unique_ptr<soci::session> session_;
  const std::atomic<bool>* stop_ = nullptr;
  bool async_ = false;            ///< The transaction under way.
  std::vector<std::string> ids_;  ///< Appended by it, and not undone.
  std::uint64_t names_ = 0;
  std::vector<Prepared> prepared_;
  std::map<std::string, Known> known_;
  WriterCounts counts_;
  std::vector<std::string> faults_;
};

}  // namespace outseal::test
