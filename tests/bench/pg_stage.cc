#include "bench/pg_stage.h"

#include <libpq-fe.h>
#include <soci/postgresql/soci-postgresql.h>
#include <time.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

#include "bench/bench.h"
#include "outseal/ids.h"
#include "store/migrations.h"

namespace outseal::bench {
namespace {

test::PostgresServer& server() {
  static test::PostgresServer instance{
      {.durable = true,
       .settings = {"shared_buffers = 512MB", "max_wal_size = 4GB", "min_wal_size = 1GB",
                    "checkpoint_timeout = 1h"}}};
  static const bool printed = [] {
    const std::string facts = instance.execute(
        "SELECT current_setting('server_version') || ', ' || string_agg(name || '=' ||"
        " current_setting(name), ' ' ORDER BY name) FROM pg_settings WHERE name IN ('fsync',"
        " 'synchronous_commit', 'full_page_writes', 'wal_sync_method', 'shared_buffers',"
        " 'max_wal_size', 'autovacuum')");
    // A server that has run for a while writes into old segments of its log. A new one has to make
    // each, which costs whoever writes most.
    instance.execute(
        "SELECT count(pg_logical_emit_message(false, 'fill', repeat('x', 1 << 20)))"
        " FROM generate_series(1, 1000)");
    instance.execute("CHECKPOINT");
    std::printf("  PostgreSQL %s\n", facts.c_str());
    return true;
  }();
  static_cast<void>(printed);
  return instance;
}

}  // namespace

WriteOutcome operator-(const WriteOutcome& after, const WriteOutcome& before) {
  return {.wal_bytes = after.wal_bytes - before.wal_bytes,
          .wal_syncs = after.wal_syncs - before.wal_syncs,
          .inserted = after.inserted - before.inserted,
          .updated = after.updated - before.updated,
          .deleted = after.deleted - before.deleted};
}

double cpu_seconds(pid_t process) {
  clockid_t clock{};
  timespec time{};
  if (::clock_getcpuclockid(process, &clock) != 0 || ::clock_gettime(clock, &time) != 0)
    throw std::runtime_error{"the process is gone"};
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

// --- Stage ---------------------------------------------------------------------------------------

Stage::Stage() : database_{server().fresh_database()} {
  const auto connection = sql::open(Url::parse("--db", url()));
  store::migrate_up(*connection, store::newest_version("postgresql"),
                    [](const store::MigrationStatus&) {});
  // Room on each page, so that the business's own updates stay on it, as in a tuned database.
  ask("CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL) WITH (fillfactor = 50)");
  ask("CREATE TABLE bare_row (topic text, key text, payload text)");
  ask("INSERT INTO account SELECT i, 0 FROM generate_series(0, " +
      std::to_string(kAccountsPerClient * kClientsMax - 1) + ") i");
}

Stage::~Stage() {
  try {
    server().drop_database(database_);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "cannot drop the database: %s\n", error.what());
  }
}

std::string Stage::url() const { return server().url(database_); }
std::string Stage::conninfo() const { return server().conninfo(database_); }
std::string Stage::ask(const std::string& sql) const { return server().execute(sql, database_); }
double Stage::number(const std::string& sql) const { return std::atof(ask(sql).c_str()); }

void Stage::fill(int events, int per_commit) const {
  const std::string step = std::to_string(per_commit);
  // An anonymous block can commit only outside of a transaction: alone in its message.
  const auto connection = sql::open(Url::parse("--db", url()));
  connection->execute("SET synchronous_commit = off");
  connection->execute("DO $$ BEGIN FOR i IN 0 .. " + std::to_string(events / per_commit - 1) +
                      " LOOP"
                      " INSERT INTO outseal.outbox (topic, key, type, payload)"
                      " SELECT 'payments', 'k' || (n % 1000), 'paid',"
                      "  '{\"order\":' || n || ',\"text\":\"' || repeat('x', 280) || '\"}'"
                      " FROM generate_series(i * " +
                      step + " + 1, (i + 1) * " + step + ") n; COMMIT; END LOOP; END $$");
  ask("SELECT count(created_at) FROM outseal.outbox");
  checkpoint();
}

WriteOutcome Stage::written() const {
  test::wait_until("the sessions to end", [&] {
    return ask("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
               " AND backend_type = 'client backend' AND pid <> pg_backend_pid()") == "0";
  });
  const auto sum = [&](const char* column) {
    return number("SELECT sum(" + std::string{column} +
                  ") FROM pg_stat_user_tables WHERE schemaname = 'outseal'");
  };
  return {.wal_bytes = number("SELECT pg_current_wal_insert_lsn() - '0/0'"),
          .wal_syncs = number("SELECT wal_sync FROM pg_stat_wal"),
          .inserted = sum("n_tup_ins"),
          .updated = sum("n_tup_upd"),
          .deleted = sum("n_tup_del")};
}

// --- Client --------------------------------------------------------------------------------------

Client::Client(const Stage& stage, int number)
    : session_{soci::postgresql, stage.conninfo()},
      number_{number},
      run_{new_event_id().to_string() + "/"},
      update_{(session_.prepare << "UPDATE account SET balance = balance - 1 WHERE id = :id",
               soci::use(account_))} {}

pg_conn* Client::handle() {
  return static_cast<soci::postgresql_session_backend*>(session_.get_backend())->conn_;
}

void Client::charge() {
  ++turn_;
  account_ = number_ * Stage::kAccountsPerClient + turn_ % Stage::kAccountsPerClient;
  update_.execute(true);
}

Event Client::event() const {
  return {.topic = "payments",
          .key = std::to_string(account_),
          .type = "paid",
          .payload = payload(turn_)};
}

void Client::bare() {
  session_.begin();
  charge();
  session_.commit();
}

void Client::with_row() {
  PGconn* const connection = handle();
  const auto take = [&] {
    const std::unique_ptr<PGresult, decltype(&PQclear)> result{PQgetResult(connection), &PQclear};
    if (result != nullptr && PQresultStatus(result.get()) == PGRES_FATAL_ERROR)
      throw std::runtime_error{PQerrorMessage(connection)};
  };
  if (!std::exchange(row_is_prepared_, true))
    PQclear(PQprepare(connection, "row", "INSERT INTO bare_row VALUES ($1, $2, $3)", 3, nullptr));
  const std::string key = std::to_string(account_);
  const std::string bytes = payload(turn_);
  const char* const values[] = {"payments", key.c_str(), bytes.c_str()};
  session_.begin();
  charge();
  PQenterPipelineMode(connection);
  PQsendQueryPrepared(connection, "row", 3, values, nullptr, nullptr, 0);
  PQsendQueryParams(connection, "COMMIT", 0, nullptr, nullptr, nullptr, nullptr, 0);
  PQpipelineSync(connection);
  for (int answers = 0; answers < 5; ++answers) take();  // Two results, two ends, the sync.
  PQexitPipelineMode(connection);
}

EventId Client::with_append() {
  Transaction tx{session_};
  charge();
  const EventId id = append(tx, event());
  tx.commit();
  return id;
}

void Client::with_execute() {
  const Operation operation{.scope = "payments",
                            .principal = "shop",
                            .key = run_ + std::to_string(turn_),
                            .fingerprint = fingerprint("account " + std::to_string(turn_))};
  const ExecuteResult result = execute(session_, operation, [&](Transaction& tx) -> Reply {
    charge();
    append(tx, event());
    return {.status = 201, .body = R"({"paid":true})"};
  });
  if (result.outcome != Outcome::executed) throw std::runtime_error{"a key was not new"};
}

// --- Clients -------------------------------------------------------------------------------------

struct Clients::Worker {
  Worker(const Stage& stage, int number, Turn what) : client{stage, number}, turn{std::move(what)} {
    turn(client);  // Prepares its statements.
    thread = std::jthread{[this](const std::stop_token& stop) {
      for (; !stop.stop_requested(); done.fetch_add(1, std::memory_order_relaxed)) turn(client);
    }};
  }

  Client client;
  Turn turn;
  std::atomic<long> done = 0;
  std::jthread thread;
};

Clients::Clients(const Stage& stage, int count, Turn turn) {
  for (int i = 0; i < count; ++i) workers_.push_back(std::make_unique<Worker>(stage, i, turn));
}

double Clients::rate(std::chrono::duration<double> time) const {
  const auto total = [&] {
    long sum = 0;
    for (const auto& worker : workers_) sum += worker->done.load(std::memory_order_relaxed);
    return sum;
  };
  const auto start = std::chrono::steady_clock::now();
  const long before = total();
  std::this_thread::sleep_for(time);
  const long after = total();
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
  return static_cast<double>(after - before) / passed.count();
}

Clients::~Clients() {
  for (const auto& worker : workers_) worker->thread.request_stop();  // All, before one is awaited.
}

LongTransaction::LongTransaction(const Stage& stage)
    : session_{soci::postgresql, stage.conninfo()} {
  session_ << "BEGIN";
  session_ << "INSERT INTO outseal.outbox (topic, key, type, payload)"
              " VALUES ('payments', 'long', 'paid', 'x')";
}

}  // namespace outseal::bench
