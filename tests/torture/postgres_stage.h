// A database of its own on a real PostgreSQL, a file sink, and relays between the two.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "support/history.h"
#include "support/pgbouncer.h"
#include "support/postgres_server.h"
#include "support/temp_folder.h"
#include "torture/process.h"

namespace outseal::test {

/// Makes the database that every stage is a copy of: outseal's schema, and an empty table
/// k(key, version).
void make_stage_template(PostgresServer& server);

class PostgresStage {
 public:
  /// @param bouncer null: relays and services connect directly.
  PostgresStage(PostgresServer& server, const PgBouncer* bouncer);
  ~PostgresStage();
  PostgresStage(const PostgresStage&) = delete;
  PostgresStage& operator=(const PostgresStage&) = delete;

  const std::string& database() const { return database_; }
  /// As relays and services connect, through the pooler if there is one.
  std::string url() const;
  std::string conninfo() const;

  std::unique_ptr<Process> start_relay(
      const std::vector<std::string>& flags,
      const std::map<std::string, std::string>& environment = {}) const;

  /// As tests/torture/producer.cc; it needs the table ledger.
  std::unique_ptr<Process> start_producer(
      std::uint64_t seed, std::uint64_t transactions,
      const std::map<std::string, std::string>& environment = {}) const;
  /// Ids that the producer was going to undo.
  std::string aborted() const { return folder_.file("aborted.txt"); }

  /// Past the pooler. The first field of the last result.
  std::string execute(const std::string& sql) const { return server_.execute(sql, database_); }
  /// The sink's content.
  std::vector<StoredEvent> stored() const;
  /// What the relays wrote, its last part.
  std::string log_tail() const;

 private:
  PostgresServer& server_;
  const PgBouncer* bouncer_;
  std::string database_;
  TempFolder folder_;
};

}  // namespace outseal::test
