// The fixture itself: what other tests believe about their servers.
#include "support/postgres_server.h"

#include <doctest/doctest.h>
#include <libpq-fe.h>
#include <signal.h>

#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>

#include "support/pgbouncer.h"

namespace {

using outseal::test::PgBouncer;
using outseal::test::PostgresServer;
using outseal::test::shared_server;
using outseal::test::skipped_without_postgres;
using outseal::test::wait_until;

using Connection = std::unique_ptr<PGconn, decltype(&PQfinish)>;

Connection connect(const std::string& where) { return {PQconnectdb(where.c_str()), &PQfinish}; }

bool answers(const std::string& where) {
  const Connection connection = connect(where);
  const std::unique_ptr<PGresult, decltype(&PQclear)> result{PQexec(connection.get(), "SELECT 1"),
                                                             &PQclear};
  return PQresultStatus(result.get()) == PGRES_TUPLES_OK;
}

std::string rows(const PostgresServer& server, const std::string& database) {
  return server.execute("SELECT count(*) FROM t", database);
}

/// A database with a table of one row.
std::string filled_database(PostgresServer& server) {
  std::string database = server.fresh_database();
  server.execute("CREATE TABLE t (i int); INSERT INTO t VALUES (1)", database);
  return database;
}

}  // namespace

TEST_CASE("a server lets in who has the password and nobody else") {
  if (skipped_without_postgres()) return;
  PostgresServer& server = shared_server();
  CHECK(answers(server.url()));
  CHECK(answers(server.conninfo()));
  const Connection refused = connect(server.url("postgres", "admin", "wrong"));
  CHECK(PQstatus(refused.get()) == CONNECTION_BAD);
  CHECK(std::string{PQerrorMessage(refused.get())}.find("password authentication failed") !=
        std::string::npos);
  CHECK_FALSE(answers(server.url("absent")));
}

TEST_CASE("databases of one server are apart and can be dropped while they are used") {
  if (skipped_without_postgres()) return;
  PostgresServer& server = shared_server();
  const std::string first = filled_database(server);
  const std::string second = server.fresh_database();
  CHECK(first != second);
  CHECK_THROWS_AS(rows(server, second), std::runtime_error);
  const Connection user = connect(server.url(first));
  server.drop_database(first);
  server.drop_database(second);
  CHECK_FALSE(answers(server.url(first)));
}

TEST_CASE("committed data is there again however the server was stopped") {
  if (skipped_without_postgres()) return;
  PostgresServer server{{.durable = false, .settings = {"max_connections=7"}}};
  CHECK(server.execute("SHOW fsync") == "off");
  CHECK(server.execute("SHOW max_connections") == "7");
  const std::string database = filled_database(server);
  const std::string url = server.url();
  server.stop_immediate();
  CHECK_FALSE(server.is_running());
  CHECK_FALSE(answers(url));
  server.start();
  CHECK(rows(server, database) == "1");
  const Connection user = connect(server.url(database));
  server.kill_hard();
  server.start();
  CHECK(rows(server, database) == "1");
  // A server outlives the thread that started it.
  std::thread{[&] { server.restart(); }}.join();
  CHECK(rows(server, database) == "1");
  CHECK(server.url() == url);
}

TEST_CASE("a standby follows, lags when it is cut off, and can be promoted") {
  if (skipped_without_postgres()) return;
  PostgresServer primary{{.durable = true}};
  CHECK(primary.execute("SHOW fsync") == "on");
  const std::string database = filled_database(primary);
  const auto standby = primary.make_standby();
  primary.execute("INSERT INTO t VALUES (2)", database);
  standby->wait_for_replay(primary);
  CHECK(rows(*standby, database) == "2");
  CHECK(standby->execute("SELECT pg_is_in_recovery()") == "t");
  CHECK_THROWS_AS(standby->execute("INSERT INTO t VALUES (3)", database), std::runtime_error);
  standby->stop_following();
  primary.execute("INSERT INTO t VALUES (3)", database);
  standby->promote();
  CHECK(standby->execute("SELECT pg_is_in_recovery()") == "f");
  CHECK(rows(*standby, database) == "2");
  const char* const identifier = "SELECT system_identifier FROM pg_control_system()";
  CHECK(standby->execute(identifier) == primary.execute(identifier));
  CHECK(shared_server().execute(identifier) != primary.execute(identifier));
}

TEST_CASE("a dump can be restored") {
  if (skipped_without_postgres()) return;
  PostgresServer& server = shared_server();
  const std::string database = filled_database(server);
  const std::string copy = server.fresh_database();
  const std::string file = (server.folder() / "dump.sql").string();
  server.dump_to(file, database);
  server.restore_from(file, copy);
  CHECK(rows(server, copy) == "1");
  CHECK_THROWS_AS(server.restore_from(file, copy), std::runtime_error);
}

TEST_CASE("PgBouncer shares few server connections among many clients of any role") {
  if (skipped_without_postgres()) return;
  if (!outseal::test::pgbouncer_is_installed()) {
    MESSAGE("SKIPPED: PgBouncer is not installed (apt install pgbouncer)");
    return;
  }
  PostgresServer& server = shared_server();
  server.execute("CREATE ROLE clerk LOGIN PASSWORD '" + server.password() + "'");
  const PgBouncer bouncer{server, 1};
  const Connection first = connect(bouncer.url("postgres", "clerk"));
  const Connection second = connect(bouncer.url("postgres", "clerk"));
  const auto backend = [](const Connection& connection) {
    const std::unique_ptr<PGresult, decltype(&PQclear)> result{
        PQexec(connection.get(), "SELECT pg_backend_pid()"), &PQclear};
    REQUIRE(PQresultStatus(result.get()) == PGRES_TUPLES_OK);
    return std::string{PQgetvalue(result.get(), 0, 0)};
  };
  CHECK(backend(first) == backend(second));
  CHECK(answers(bouncer.url(server.fresh_database())));
}

TEST_CASE("a server that cannot start says why") {
  if (skipped_without_postgres()) return;
  std::string message;
  try {
    const PostgresServer server{{.settings = {"no_such_setting=1"}}};
  } catch (const std::runtime_error& fault) {
    message = fault.what();
  }
  CHECK(message.find("no_such_setting") != std::string::npos);
}
