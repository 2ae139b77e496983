// A fresh database of the shared server, for the cases that are PostgreSQL's alone.
#pragma once

#include <doctest/doctest.h>
#include <libpq-fe.h>
#include <soci/postgresql/soci-postgresql.h>
#include <soci/soci.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "outseal/outseal.h"
#include "sql/connection.h"
#include "store/migrations.h"
#include "support/postgres_server.h"

namespace outseal::test {

/// The schema, and the tables `account (id, balance)` and `note (id, n)`.
class PostgresDatabase {
 public:
  PostgresDatabase() {
    if (skipped_without_postgres()) std::exit(0);  // Every case here needs it.
    name_ = shared_server().fresh_database();
    const auto connection = open();
    store::migrate_up(*connection, store::newest_version(connection->dialect()), {});
    connection->execute(
        "CREATE TABLE account (id integer PRIMARY KEY, balance integer NOT NULL);"
        "CREATE TABLE note (id bigint GENERATED ALWAYS AS IDENTITY, n text);"
        "INSERT INTO account VALUES (1, 100), (2, 100)");
  }
  ~PostgresDatabase() { shared_server().drop_database(name_); }
  PostgresDatabase(const PostgresDatabase&) = delete;
  PostgresDatabase& operator=(const PostgresDatabase&) = delete;

  const std::string& name() const { return name_; }
  std::string url() const { return shared_server().url(name_); }
  /// A connection of outseal's own.
  std::unique_ptr<sql::Connection> open() const { return sql::open(Url::parse("--db", url())); }
  /// A session as a service would open it.
  std::unique_ptr<soci::session> session(const std::string& more = "") const {
    return std::make_unique<soci::session>(soci::postgresql,
                                           shared_server().conninfo(name_) + more);
  }
  /// The first field of the last statement, as text; by a connection of its own.
  std::string value(const std::string& sql) const { return shared_server().execute(sql, name_); }
  std::string events() const { return value("SELECT count(*) FROM outseal.outbox"); }
  std::string balance() const { return value("SELECT balance FROM account WHERE id = 1"); }
  std::string payloads() const {
    return value("SELECT string_agg(payload, ' ' ORDER BY seq) FROM outseal.outbox");
  }

 private:
  std::string name_;
};

/// The same with a session of a service.
struct ServiceFixture {
  PostgresDatabase database;
  std::unique_ptr<soci::session> session = database.session();

  void run(const std::string& sql) { *session << sql; }
};

inline PGconn* handle_of(soci::session& session) {
  return static_cast<soci::postgresql_session_backend*>(session.get_backend())->conn_;
}

inline Event event(std::string payload) {
  return {.topic = "t", .type = "x", .payload = std::move(payload), .content_type = "text/plain"};
}

inline Operation operation(std::string key) {
  return {.scope = "payments", .key = std::move(key), .fingerprint = fingerprint("amount=5")};
}

inline constexpr const char* kCharge = "UPDATE account SET balance = balance - 5 WHERE id = 1";

/// Charges account 1, appends one event and replies.
inline Handler charging(soci::session& session, Reply reply = {}) {
  return [&session, reply](Transaction& tx) {
    session << kCharge;
    append(tx, event("charged"));
    return reply;
  };
}

/// Is told what destructors cannot throw.
template <typename Note>
Observer unthrown(Note note) {
  return [note](const Observation& seen) {
    if (const auto* found = std::get_if<UnthrownError>(&seen)) note(*found->error);
  };
}

/// The code of the Error that `call` throws.
template <typename Call>
ErrorCode code_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    CHECK_FALSE(error.message().empty());
    return error.code();
  }
  FAIL("no error was thrown");
  return ErrorCode::internal;
}

}  // namespace outseal::test
