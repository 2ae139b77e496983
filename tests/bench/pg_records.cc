// What a record costs in a table of many: random keys against keys that begin with their time.
#include <soci/postgresql/soci-postgresql.h>

#include <array>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "bench/bench.h"
#include "bench/pg_stage.h"

namespace outseal::bench {
namespace {

constexpr int kClients = 8;
constexpr int kRounds = 3;

struct Kind {
  const char* name;
  /// The key's hash of a loaded record `i`, in SQL.
  const char* hash;
  /// How full an index of such keys is that has grown with its table.
  int fillfactor;
  std::string (*key)();
};
constexpr std::array kKinds{
    Kind{"random keys", "sha256(i::text::bytea)", 70,
         [] { return "random/" + new_idempotency_key(); }},
    Kind{"keys with their time",
         "decode(lpad(to_hex(1700000000000 + i), 12, '0'), 'hex') || sha256(i::text::bytea)", 90,
         new_idempotency_key},
};

struct Cost {
  double wal_bytes = 0;  ///< Of one record.
  double rate = 0;       ///< Records per second.
};

/// Fills the table as years of traffic would have, and its index at once.
void load(const Stage& stage, const Kind& kind, int records) {
  stage.ask(
      "ALTER TABLE outseal.idempotency SET (autovacuum_enabled = off);"
      "ALTER TABLE outseal.idempotency DISABLE TRIGGER USER;"
      "ALTER TABLE outseal.idempotency DROP CONSTRAINT idempotency_pk;"
      "INSERT INTO outseal.idempotency (key_hash, fingerprint, scope, state, status, body,"
      " content_type, created_at, completed_at, purge_at, expires_at) SELECT " +
      std::string{kind.hash} +
      ", sha256(i::text::bytea), 'payments', 'succeeded', 201, '{\"paid\":true}',"
      " 'application/json', t, t, t + interval '7 days', t + interval '400 days'"
      " FROM generate_series(1, " +
      std::to_string(records) +
      ") i, LATERAL (SELECT '2024-01-01'::timestamptz + i * interval '1 ms') AS at (t);"
      "ALTER TABLE outseal.idempotency ADD CONSTRAINT idempotency_pk PRIMARY KEY (key_hash)"
      " WITH (fillfactor = " +
      std::to_string(kind.fillfactor) +
      ");"
      "ALTER TABLE outseal.idempotency ENABLE TRIGGER USER");
}

void execute_some(const Stage& stage, const Kind& kind, int count) {
  soci::session session{soci::postgresql, stage.conninfo()};
  for (int i = 0; i < count; ++i) {
    const Operation operation{.scope = "payments",
                              .principal = "shop",
                              .key = kind.key(),
                              .fingerprint = fingerprint(std::to_string(i))};
    const auto result = execute(session, operation, [](Transaction&) -> Reply {
      return {.status = 201, .body = R"({"paid":true})"};
    });
    if (result.outcome != Outcome::executed) throw std::runtime_error{"a key was not new"};
  }
}

/// Of `count` records that are stored right after a checkpoint.
Cost measure(const Stage& stage, const Kind& kind, int count) {
  stage.checkpoint();
  const auto written = [&] { return stage.number("SELECT pg_current_wal_insert_lsn() - '0/0'"); };
  const double before = written();
  const double took = seconds([&] {
    std::vector<std::jthread> clients;
    for (int i = 0; i < kClients; ++i)
      clients.emplace_back([&] { execute_some(stage, kind, count / kClients); });
  });
  return {.wal_bytes = (written() - before) / count, .rate = count / took};
}

}  // namespace

void pg_records(const Size& size) {
  const int count = size.count(50'000) / kClients * kClients + kClients;
  std::array<double, kKinds.size()> rate_when_empty{};
  for (const int records : {0, size.count(1'000'000), size.count(10'000'000)}) {
    std::printf("  %d records:", records);
    for (std::size_t i = 0; i < kKinds.size(); ++i) {
      const Stage stage;
      load(stage, kKinds.at(i), records);
      std::vector<double> wal_bytes;
      std::vector<double> rates;
      for (int round = 0; round < kRounds; ++round) {
        const Cost cost = measure(stage, kKinds.at(i), count);
        wal_bytes.push_back(cost.wal_bytes);
        rates.push_back(cost.rate);
      }
      double& empty = rate_when_empty.at(i);
      if (records == 0) empty = median(rates);
      const double ratio = median(rates) / empty;
      std::printf("%s %s %.0f bytes of WAL a record, %.0f records/s, %.2f of the empty table%s",
                  i == 0 ? "" : ";", kKinds.at(i).name, median(wal_bytes), median(rates), ratio,
                  i == 1 && records > 0 ? at_least(ratio, 0.95).c_str() : "");
    }
    std::printf("\n");
  }
}

}  // namespace outseal::bench
