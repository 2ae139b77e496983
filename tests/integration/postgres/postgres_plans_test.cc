// The plans of the queries that run all the time, whatever the statistics say: those of an empty
// table while a backlog begins, those of 5 million rows, and those before a backlog of a million.
#include <algorithm>
#include <chrono>
#include <set>
#include <string>
#include <vector>

#include "integration/postgres/postgres_fixture.h"
#include "integration/postgres/postgres_planner.h"
#include "sql/check.h"
#include "sql/effect.h"
#include "sql/effect_decision.h"
#include "sql/journal.h"
#include "sql/migration.h"
#include "sql/operation.h"
#include "sql/operation_status.h"
#include "sql/parked.h"
#include "sql/retention.h"
#include "sql/status.h"
#include "sql/window.h"
#include "store/audit.h"
#include "store/retention.h"
#include "support/scale.h"

using namespace outseal;
using namespace outseal::test;

namespace {

/// A query, its parameters, the indexes that it may read large tables by, and how many of their
/// rows it may pass.
struct Case {
  std::string name;
  sql::Text query;
  std::vector<std::string> literals;
  std::set<std::string> indexes;
  double rows_max = 10;
};

std::string quoted(const std::string& text) { return "'" + text + "'"; }

/// Events in transactions of ten, from the transaction 1,000 on. Those of the backlog have not been
/// read yet, and behind it come 5,000 more of the transaction 999, which has been open all the
/// time.
struct Stage {
  static constexpr std::uint64_t kLate = 5'000;
  std::uint64_t rows;     ///< Without those of the transaction 999.
  std::uint64_t backlog;  ///< The last ones of these.

  std::uint64_t xid(std::uint64_t row) const { return 1'000 + row / 10; }
  /// What has been read.
  std::string read() const { return "'999:" + std::to_string(xid(rows - backlog)) + ":999'"; }
  /// What there is.
  std::string present() const {
    const std::string next = std::to_string(xid(rows) + 1);
    return quoted(next + ":" + next + ":");
  }
};

constexpr double kPage = 1'000;

/// A page of the backlog as a window, after the seq `after`.
Case page_case(const Stage& stage, std::uint64_t after) {
  const std::string lowest = std::to_string(std::max(after, stage.rows - stage.backlog));
  return {"read_window_page after " + std::to_string(after),
          sql::kReadWindowPage,
          {quoted(std::to_string(stage.xid(stage.rows - stage.backlog))),
           quoted(std::to_string(stage.xid(stage.rows) + 1)), stage.present(), "'{999,1501}'",
           "1000", "65536", std::to_string(after), std::to_string(stage.rows), lowest, "''"},
          {"outbox_pk", "outbox_tx_seq"},
          2 * kPage + 10};
}

std::vector<Case> log_cases(const Stage& stage) {
  const std::string from = quoted(std::to_string(stage.xid(stage.rows - stage.backlog)));
  const std::string to = quoted(std::to_string(stage.xid(stage.rows) + 1));
  const std::string end = stage.present();
  const std::string late = "'{999,1501}'";
  const std::string seq = std::to_string(stage.rows - stage.backlog / 2);
  const std::string some = std::to_string(stage.rows - stage.backlog / 2 + 500);
  const std::string last = std::to_string(stage.rows + Stage::kLate);
  const double all = static_cast<double>(stage.backlog);
  const std::set<std::string> log{"outbox_pk", "outbox_tx_seq"};
  return {
      {"read_window",
       sql::kReadWindow,
       {from, to, end, late, "1001", "65536", "''"},
       {"outbox_tx_seq"},
       2 * kPage + 10},
      {"find_window_bounds", sql::kFindWindowBounds, {from, to}, log, all + 10'010},
      page_case(stage, 0),
      page_case(stage, stage.rows - stage.backlog / 2),
      page_case(stage, stage.rows - 500),
      page_case(stage, stage.rows + 100),
      {"read_window_range", sql::kReadWindowRange, {from, to, end, late, seq, some}, log, 510},
      // From an old event of a late transaction up to a new one of a small window.
      {"read_window_range, wide",
       sql::kReadWindowRange,
       {quoted(std::to_string(stage.xid(stage.rows) - 10)), to, end, "'{1001}'", "0", last},
       {"outbox_tx_seq"},
       200},
      {"read_stretch",
       sql::kReadStretch,
       {"'main'", seq, some, "1000", stage.read(), end},
       {"outbox_pk", "outbox_tx_seq", "parked_pk"},
       2 * 510},
  };
}

std::vector<Case> table_cases(const Stage& stage) {
  const std::string seq = std::to_string(stage.rows - stage.backlog / 2);
  const std::string some = std::to_string(stage.rows - stage.backlog / 2 + 500);
  const std::string last = std::to_string(stage.rows + Stage::kLate);
  const double all = static_cast<double>(stage.backlog);
  return {
      {"read_queued",
       sql::kReadQueued,
       {"'main'", "100", last},
       {"parked_queued", "parked_open", "outbox_pk"},
       100 * 102},
      {"read_redriven",
       sql::kReadRedriven,
       {"'main'", "1", "100"},
       {"parked_position_unique", "outbox_pk"}},
      {"excluded_seqs", sql::kExcludedSeqs, {"'main'", seq, some}, {"parked_pk"}, 510},
      {"look_at_parked",
       sql::kLookAtParked,
       {"'main'"},
       {"parked_open", "parked_queued", "parked_pk"}},
      {"is_key_blocked", sql::kIsKeyBlocked, {"'main'", "'7'", last}, {"parked_open"}},
      {"find_journal", sql::kFindJournal, {"'main'", "500"}, {"journal_pk"}},
      {"find_batch_before", sql::kFindBatchBefore, {"'main'", "500"}, {"journal_pk"}},
      {"list_log",
       sql::kListLog,
       {"1700000000000", "500", "0"},
       {"outbox_pk", "parked_pk"},
       4 * 510},
      {"delete_journal_before",
       sql::kDeleteJournalBefore,
       {"'main'", "1000000000000", "500"},
       {"journal_pk"},
       510},
      {"list_status",
       sql::kListStatus,
       {"10000"},
       {"outbox_tx_seq", "parked_open", "parked_queued"},
       5e4},
      {"any_unpublished",
       sql::kAnyUnpublished,
       {},
       {"outbox_tx_seq", "outbox_pk", "parked_pk", "parked_open", "parked_position_unique"},
       100},
      {"list_checked_subscriptions",
       sql::kListCheckedSubscriptions,
       {},
       {"outbox_tx_seq"},
       all + Stage::kLate + 10},
      {"list_open_operations",
       sql::kListOpenOperations,
       {"1900000000000", "1900000000000", "10"},
       {"idempotency_purge", "effect_name_unique"},
       10},
      {"list_effects_of",
       sql::kListEffectsOf,
       {"sha256('501')", "sha256('501')", "10"},
       {"effect_name_unique", "idempotency_pk"},
       10},
      {"list_open_effects",
       sql::kListOpenEffects,
       {"',unknown,disputed,'", "0", "10"},
       {"effect_open", "idempotency_pk"},
       10},
      {"count_open_operations",
       sql::kCountOpenOperations,
       {"1900000000000", "1900000000000"},
       {"idempotency_purge"},
       10},
  };
}

std::vector<Case> service_cases() {
  const std::string hash = "sha256('501')";
  const std::string now = "1900000000000";
  return {
      {"find_operation", sql::kFindOperation, {hash}, {"idempotency_pk"}},
      {"claim_operation", sql::kClaimOperation, {"1", hash}, {"idempotency_pk"}},
      {"read_operation_status", sql::kReadOperationStatus, {hash, "1"}, {"idempotency_pk"}},
      {"delete_expired_operation", sql::kDeleteExpiredOperation, {hash}, {"idempotency_pk"}},
      {"find_operation_view",
       sql::kFindOperationView,
       {hash},
       {"idempotency_pk", "effect_name_unique"}},
      {"find_left_operation",
       sql::kFindLeftOperation,
       {"'payments'", "0"},
       {"idempotency_purge", "effect_name_unique"}},
      {"purge_operations",
       sql::kPurgeOperations,
       {now, "500"},
       {"idempotency_pk", "idempotency_purge"},
       2 * 510},
  };
}

const std::set<std::string> kLarge{"outbox", "idempotency", "journal", "parked"};

void check(const Case& c, const Plan& plan) {
  CAPTURE(c.name);
  CAPTURE(plan.summary());
  CHECK_FALSE(plan.scans.empty());
  for (const Scan& scan : plan.scans)
    if (kLarge.contains(scan.table)) CHECK(c.indexes.contains(scan.index));
}

/// Runs it, too.
void check_run(const Case& c, Planner& planner) {
  const Plan plan = planner.plan(c.query, c.literals, true);
  check(c, plan);
  CAPTURE(c.name);
  CAPTURE(plan.summary());
  CHECK(plan.sorted <= std::max(c.rows_max, kPage));
  double rows = 0;
  for (const Scan& scan : plan.scans)
    if (kLarge.contains(scan.table)) rows += scan.rows;
  CHECK(rows <= c.rows_max);
}

void check_all(Planner& planner, const Stage& stage) {
  for (const Case& c : log_cases(stage)) check_run(c, planner);
  for (const Case& c : table_cases(stage)) check_run(c, planner);
  for (const Case& c : service_cases()) {
    check_run(c, planner);
    check(c, planner.generic_plan(c.query, c.literals));
  }
}

/// Adds events `from` + 1 to `to`, by transactions of ten, and for one of `every` an operation and
/// a parked one.
void add_rows(sql::Connection& connection, std::uint64_t from, std::uint64_t to,
              std::uint64_t every) {
  const std::string range = std::to_string(from + 1) + ", " + std::to_string(to);
  connection.execute(
      "INSERT INTO outseal.outbox (tx, created_at, event_id, topic, type, payload)"
      " SELECT (1000 + i / 10)::text::xid8, '2020-01-01', lpad(to_hex(i), 32, '0')::uuid, 't', 'x',"
      " '.' FROM generate_series(" +
      range + ") i");
  connection.execute(
      "INSERT INTO outseal.idempotency (key_hash, fingerprint, scope, state, status, body,"
      " content_type, created_at, completed_at, purge_at, expires_at) SELECT"
      " sha256(i::text::bytea), sha256(''), 's', 'succeeded', 200, '', '', now(), now(),"
      " now() + i * interval '1 s', now() + i * interval '1 s'"
      " FROM generate_series(" +
      range + ", " + std::to_string(every) + ") i");
  connection.execute(
      "INSERT INTO outseal.journal (subscription, first_position, event_count, from_seq, to_seq,"
      " snap_from, snap_to, last_event_id, hash, chain_hash, epoch, bound_at, acked_at)"
      " SELECT 'main', i, 1, i, i, '3:3:', '3:3:', gen_random_uuid(), sha256(''), sha256(''), 1,"
      " now(), now() FROM generate_series(" +
      range + ", 100) i");
  connection.execute(
      "INSERT INTO outseal.parked (subscription, seq, event_id, topic, key, cause, state, reason,"
      " parked_at) SELECT 'main', i, gen_random_uuid(), 't', (i % 997)::text, 'refused',"
      " (ARRAY['parked', 'queued', 'discarded'])[least(3, 1 + i % 1000 / 500 + i % 500 / 2)], '',"
      " now() FROM generate_series(" +
      range + ", " + std::to_string(every) + ") i");
}

void set_subscription(sql::Connection& connection, const Stage& stage) {
  connection.execute("UPDATE outseal.subscription SET snap_from = " + stage.read() +
                     ", acked_snap = " + stage.read());
}

}  // namespace

TEST_CASE("queries keep to their indexes from an empty table to a backlog of a million") {
  PostgresDatabase database;
  const auto connection = database.open();
  Planner planner{*connection};
  connection->execute(
      "INSERT INTO outseal.subscription (name, topics, sink, event_source, created_at, updated_at)"
      " VALUES ('main', '[\"*\"]', 'file:x', '', now(), now())");
  for (const char* table : {"outbox", "idempotency", "journal", "parked", "subscription"}) {
    // Nothing improves the statistics behind our back; and no need to log so much.
    connection->execute(std::string{"ALTER TABLE outseal."} + table +
                        " SET (autovacuum_enabled = off)");
    connection->execute(std::string{"VACUUM ANALYZE outseal."} + table);
  }
  connection->execute("ALTER TABLE outseal.outbox SET UNLOGGED");

  // The statistics say that all tables are empty.
  Stage stage{.rows = 20'000, .backlog = 10'000};
  add_rows(*connection, 0, stage.rows, 1);
  set_subscription(*connection, stage);
  check_all(planner, stage);

  // They know of 5 million rows, all of them published.
  const std::uint64_t published = std::max<std::uint64_t>(100'000, scaled(5'000'000));
  add_rows(*connection, stage.rows, published, 50);
  connection->execute(
      "ANALYZE outseal.outbox, outseal.idempotency, outseal.journal,"
      " outseal.parked, outseal.subscription");
  stage = {.rows = published, .backlog = 1'000};
  set_subscription(*connection, stage);
  check_all(planner, stage);

  // A backlog that they do not know of.
  const std::uint64_t backlog = published / 5;
  add_rows(*connection, published, published + backlog, 50);
  connection->execute(
      "INSERT INTO outseal.outbox (tx, created_at, topic, type, payload) SELECT '999', "
      "'2020-01-01',"
      " 't', 'x', '.' FROM generate_series(1, " +
      std::to_string(Stage::kLate) + ")");
  stage = {.rows = published + backlog, .backlog = backlog};
  set_subscription(*connection, stage);
  check_all(planner, stage);

  // No transaction has written these rows, and no batch holds them: they may go by a decision.
  connection->execute("UPDATE outseal.subscription SET topics = '[\"other\"]'");
  sql::transact(*connection, std::chrono::seconds{1}, [&] {
    store::append_audit(*connection, {"me", "topics.discard", "t", "{}"});
  });
  // What retention has removed and no vacuum has taken away is not passed by its next step.
  store::RetentionProgress progress;
  for (int step = 0; step < 20; ++step)
    CHECK(store::retain_step(*connection, "main",
                             {.events = std::chrono::hours{1}, .step_rows = 2'000},
                             &progress) == 2'000);
  const auto pages_after = [&](Seq after) {
    return planner
        .plan(sql::kListLog, {"1700000000000", "500", std::to_string(after.value())}, true)
        .pages;
  };
  const double behind = pages_after(progress.after);
  CHECK(behind < pages_after(Seq{}));
}

TEST_CASE("a service that has kept its plans since its first day finds keys by their index") {
  PostgresDatabase database;
  const auto connection = database.open();
  const auto add = [&](int from, int to) {
    connection->execute(
        "INSERT INTO outseal.idempotency (key_hash, fingerprint, scope, state, status, body,"
        " content_type, created_at, completed_at, purge_at, expires_at) SELECT"
        " sha256(i::text::bytea), sha256(''), 's', 'succeeded', 200, '', '', now(), now(), now(),"
        " now()"
        " FROM generate_series(" +
        std::to_string(from) + ", " + std::to_string(to) + ") i");
  };
  for (const bool purged : {false, true}) {
    CAPTURE(purged);
    connection->execute(std::string{"PREPARE kept AS "} + sql::kClaimOperation.postgres);
    for (int i = 0; i < 10; ++i) {  // From the sixth on the plan is kept.
      add(i, i);
      connection->execute("EXECUTE kept (1, sha256('1'))");
    }
    add(10, 20'000);
    const auto rows = connection->prepare("EXPLAIN (FORMAT JSON) EXECUTE kept (1, sha256('1'))");
    rows->step();
    CHECK(rows->text(0).find("idempotency_pk") != std::string_view::npos);
    connection->execute("DEALLOCATE kept");
    // All expire in a night without traffic.
    connection->execute("DELETE FROM outseal.idempotency");
    connection->execute("VACUUM ANALYZE outseal.idempotency");
  }
}
