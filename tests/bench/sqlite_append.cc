#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>

#include <cstdio>
#include <string>
#include <tuple>

#include "bench/bench.h"
#include "outseal/outseal.h"
#include "store/migrations.h"
#include "support/temp_folder.h"

namespace outseal::bench {
namespace {

const std::string kPayload = payload(4711);

/// The business transaction: one row changed, one row written.
void work(soci::session& session, int number) {
  session << "UPDATE account SET balance = balance - 1 WHERE id = 1";
  session << "INSERT INTO payment (number) VALUES (:n)", soci::use(number);
}

Event event() { return {.topic = "payments", .key = "1", .type = "paid", .payload = kPayload}; }

void bare(soci::session& session, int transactions) {
  for (int i = 0; i < transactions; ++i) {
    session << "BEGIN IMMEDIATE";
    work(session, i);
    session << "COMMIT";
  }
}

void with_append(soci::session& session, StatementCache& statements, int transactions) {
  for (int i = 0; i < transactions; ++i) {
    Transaction tx{session, {.statements = &statements}};
    work(session, i);
    outseal::append(tx, event());
    tx.commit();
  }
}

void with_execute(soci::session& session, StatementCache& statements, int transactions) {
  static int key = 0;
  for (int i = 0; i < transactions; ++i) {
    const Operation operation{.scope = "payments",
                              .principal = "shop",
                              .key = std::to_string(++key),
                              .fingerprint = fingerprint("request")};
    std::ignore = execute(session, operation,
                          [&](Transaction& tx) -> Reply {
                            work(session, i);
                            outseal::append(tx, event());
                            return {.status = 201, .body = R"({"paid":true})"};
                          },
                          {.statements = &statements});
  }
}

void measure(const std::string& synchronous, int rounds, int transactions) {
  const test::TempFolder folder;
  const std::string path = folder.file("bench.db");
  const auto connection = sql::open(Url::parse("--db", "sqlite:" + path), sql::OpenMode::create);
  store::migrate_up(*connection, store::newest_version(), [](const store::MigrationStatus&) {});
  soci::session session{soci::sqlite3, "dbname=" + path};
  session << "PRAGMA synchronous = " + synchronous;
  session << "CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)";
  session << "CREATE TABLE payment (id INTEGER PRIMARY KEY, number INTEGER NOT NULL)";
  session << "INSERT INTO account VALUES (1, 0)";

  StatementCache statements{session};
  std::vector<double> bare_s;
  std::vector<double> append_ratio;
  std::vector<double> execute_ratio;
  for (int round = 0; round <= rounds; ++round) {
    const double a = seconds([&] { bare(session, transactions); });
    const double b = seconds([&] { with_append(session, statements, transactions); });
    const double c = seconds([&] { with_execute(session, statements, transactions); });
    if (round == 0) continue;  // Warm-up.
    bare_s.push_back(a);
    append_ratio.push_back(a / b);
    execute_ratio.push_back(a / c);
  }
  std::printf(
      "  synchronous=%-6s  bare %7.0f tx/s  with append %.2f of bare"
      "  as execute %.2f of bare  (medians of %d rounds of %d)\n",
      synchronous.c_str(), transactions / median(bare_s), median(append_ratio),
      median(execute_ratio), rounds, transactions);
}

}  // namespace

void sqlite_append(const Size& size) {
  const int transactions = size.count(2'000);
  measure("FULL", 7, transactions);
  measure("NORMAL", 7, transactions);
}

}  // namespace outseal::bench
