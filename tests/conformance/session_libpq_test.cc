// The suite of sessions on libpq's connections, and what libpq alone lets a service do with one.
#include <doctest/doctest.h>
#include <libpq-fe.h>

#include <cstdlib>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "conformance/session_suite.h"
#include "support/postgres_server.h"

namespace outseal::test {
namespace {

class LibpqSession final : public ServiceSession {
 public:
  explicit LibpqSession(std::string address) : address_{std::move(address)} { connect(); }
  ~LibpqSession() override { close(); }
  LibpqSession(const LibpqSession&) = delete;
  LibpqSession& operator=(const LibpqSession&) = delete;

  PGconn* handle() const { return handle_; }
  Session session() override { return handle_; }
  void run(const std::string& sql) override {
    PGresult* result = PQexec(handle_, sql.c_str());
    const bool failed = PQresultStatus(result) != PGRES_COMMAND_OK;
    PQclear(result);
    if (failed) throw std::runtime_error{PQerrorMessage(handle_)};
  }
  std::vector<Replacement> replacements() override {
    const auto finish = [this] {
      close();
      connect();
    };
    return {{"PQreset", [this] { PQreset(handle_); }}, {"PQfinish", finish}};
  }
  void close() override { PQfinish(std::exchange(handle_, nullptr)); }

 private:
  void connect() {
    handle_ = PQconnectdb(address_.c_str());
    REQUIRE(PQstatus(handle_) == CONNECTION_OK);
  }

  std::string address_;
  PGconn* handle_ = nullptr;
};

class LibpqSessions final : public SessionsUnderTest {
 public:
  LibpqSessions() { prepare_database(url()); }
  ~LibpqSessions() override { shared_server().drop_database(database_); }
  LibpqSessions(const LibpqSessions&) = delete;
  LibpqSessions& operator=(const LibpqSessions&) = delete;

  std::string kind() const override { return "libpq"; }
  Url url() const override { return Url::parse("--db", shared_server().url(database_)); }
  std::unique_ptr<ServiceSession> open() const override {
    return std::make_unique<LibpqSession>(shared_server().conninfo(database_));
  }
  std::string ask(const std::string& sql) const { return shared_server().execute(sql, database_); }

 private:
  std::string database_ = shared_server().fresh_database();
};

/// A service whose session is known to be libpq's.
struct Fixture {
  LibpqSessions sessions;
  LibpqSession service{shared_server().conninfo(sessions.ask("SELECT current_database()"))};

  PGconn* handle() const { return service.handle(); }
  std::string events() const { return sessions.ask("SELECT count(*) FROM outseal.outbox"); }
};

}  // namespace

std::vector<std::unique_ptr<SessionsUnderTest>> make_sessions() {
  std::vector<std::unique_ptr<SessionsUnderTest>> all;
  if (skipped_without_postgres()) std::exit(0);  // Every case here needs it.
  all.push_back(std::make_unique<LibpqSessions>());
  return all;
}

TEST_CASE("a connection that failed, or whose server has ended it, is unreachable") {
  if (skipped_without_postgres()) return;
  PGconn* failed = PQconnectdb("host=127.0.0.1 port=1");
  CHECK(code_of([&] { Transaction{failed}; }) == ErrorCode::unreachable);
  PQfinish(failed);
  Fixture f;
  Transaction tx{f.handle()};
  append(tx, charged());
  f.sessions.ask("SELECT pg_terminate_backend(" + std::to_string(PQbackendPID(f.handle())) +
                 ", 10000)");
  CHECK(code_of([&] { tx.commit(); }) == ErrorCode::unreachable);
  PQreset(f.handle());
  Transaction next{f.handle()};
  append(next, charged());
  next.commit();
  CHECK(f.events() == "1");
}

TEST_CASE("a reset that fails ends the transaction, and so does the one after it") {
  if (skipped_without_postgres()) return;
  Fixture f;
  f.sessions.ask("CREATE ROLE resetting LOGIN SUPERUSER PASSWORD '" + shared_server().password() +
                 "'");
  const std::string database = f.sessions.ask("SELECT current_database()");
  {
    LibpqSession service{shared_server().conninfo(database, "resetting")};
    Transaction tx{service.handle()};
    append(tx, charged());
    f.sessions.ask("ALTER ROLE resetting NOLOGIN");
    PQreset(service.handle());
    CHECK(PQstatus(service.handle()) == CONNECTION_BAD);
    CHECK(code_of([&] { append(tx, charged()); }) == ErrorCode::unreachable);
    f.sessions.ask("ALTER ROLE resetting LOGIN");
    PQreset(service.handle());
    CHECK(code_of([&] { tx.commit(); }) == ErrorCode::unreachable);
  }
  f.sessions.ask("DROP ROLE resetting");
  CHECK(f.events() == "0");
}

TEST_CASE("in nonblocking mode outseal's calls block, also for events of any size") {
  if (skipped_without_postgres()) return;
  Fixture f;
  REQUIRE(PQsetnonblocking(f.handle(), 1) == 0);
  Event large = charged();
  large.payload = '"' + std::string(1'000'000, 'x') + '"';
  const std::vector<Event> many(20, large);
  for (const bool at_once : {false, true}) {
    Transaction tx{f.handle(), {.append_at_once = at_once}};
    append(tx, many);
    f.service.run(kCharge);
    tx.commit();
  }
  const Operation operation{.scope = "s", .key = "k", .fingerprint = fingerprint("x")};
  for (const Outcome outcome : {Outcome::executed, Outcome::replayed})
    CHECK(execute(f.handle(), operation, [&](Transaction& tx) {
            append(tx, many);
            return Reply{.body = std::string(500'000, 'y')};
          }).outcome == outcome);
  CHECK(PQisnonblocking(f.handle()) == 1);
  CHECK(f.sessions.ask("SELECT sum(length(payload)) FROM outseal.outbox") == "60000120");
}

TEST_CASE("a connection in the middle of something else is refused and left as it is") {
  if (skipped_without_postgres()) return;
  Fixture f;
  REQUIRE(PQenterPipelineMode(f.handle()) == 1);
  CHECK(code_of([&] { Transaction{f.handle()}; }) == ErrorCode::invalid_argument);
  CHECK(PQpipelineStatus(f.handle()) == PQ_PIPELINE_ON);
  REQUIRE(PQexitPipelineMode(f.handle()) == 1);
  Transaction tx{f.handle()};
  REQUIRE(PQsendQuery(f.handle(), kCharge) == 1);
  CHECK(code_of([&] { append(tx, charged()); }) == ErrorCode::invalid_argument);
  CHECK(code_of([&] { tx.commit(); }) == ErrorCode::invalid_argument);
  while (PGresult* result = PQgetResult(f.handle())) PQclear(result);
  append(tx, charged());
  tx.commit();
  CHECK(f.events() == "1");
}

TEST_CASE("events are stored after a COMMIT by libpq, even if the connection is closed by then") {
  if (skipped_without_postgres()) return;
  Fixture f;
  Transaction tx{f.handle()};
  append(tx, charged());
  f.service.run("COMMIT");
  f.service.close();
  CHECK(code_of([&] { tx.commit(); }) == ErrorCode::foreign_commit);
  CHECK(f.events() == "1");
}

TEST_CASE("a query that came row by row does not change what the next commit says") {
  if (skipped_without_postgres()) return;
  Fixture f;
  const auto query_row_by_row = [&] {
    REQUIRE(PQsendQuery(f.handle(), "SELECT generate_series(1, 3)") == 1);
    REQUIRE(PQsetSingleRowMode(f.handle()) == 1);
    while (PGresult* result = PQgetResult(f.handle())) PQclear(result);
  };
  for (const bool at_once : {false, true})
    for (int i = 0; i < 2; ++i) {
      Transaction tx{f.handle(), {.append_at_once = at_once}};
      append(tx, charged());
      query_row_by_row();
      tx.commit();
    }
  CHECK(f.events() == "4");
  const Operation operation{.scope = "s", .key = "k", .fingerprint = fingerprint("x")};
  for (const Outcome outcome : {Outcome::executed, Outcome::replayed})
    CHECK(execute(f.handle(), operation, [&](Transaction& tx) {
            append(tx, charged());
            query_row_by_row();
            return Reply{};
          }).outcome == outcome);
  CHECK(f.events() == "5");
}

TEST_CASE("a pipeline that the service began is left, and the transaction in it rolled back") {
  if (skipped_without_postgres()) return;
  Fixture f;
  const auto begin_pipeline = [&](bool sync, int queries) {
    REQUIRE(PQenterPipelineMode(f.handle()) == 1);
    for (int i = 0; i < queries; ++i)
      PQsendQueryParams(f.handle(), kCharge, 0, nullptr, nullptr, nullptr, nullptr, 0);
    if (sync) PQpipelineSync(f.handle());
  };
  const auto is_left = [&] {
    return PQpipelineStatus(f.handle()) == PQ_PIPELINE_OFF &&
           PQtransactionStatus(f.handle()) == PQTRANS_IDLE;
  };
  for (const bool sync : {false, true})
    for (const int queries : {0, 1, 3}) {
      CAPTURE(sync);
      CAPTURE(queries);
      {
        Transaction tx{f.handle()};
        append(tx, charged());
        begin_pipeline(sync, queries);
      }
      CHECK(is_left());
      const Operation operation{.scope = "s", .key = "k", .fingerprint = fingerprint("x")};
      CHECK(code_of([&] {
              static_cast<void>(execute(f.handle(), operation, [&](Transaction& tx) {
                append(tx, charged());
                begin_pipeline(sync, queries);
                return Reply{};
              }));
            }) == ErrorCode::invalid_argument);
      CHECK(is_left());
      CHECK_THROWS_AS(static_cast<void>(execute(f.handle(), operation,
                                                [&](Transaction& tx) -> Reply {
                                                  append(tx, charged());
                                                  begin_pipeline(sync, queries);
                                                  throw std::runtime_error{"deadline"};
                                                })),
                      std::runtime_error);
      CHECK(is_left());
    }
  CHECK(f.events() == "0");
}

}  // namespace outseal::test
