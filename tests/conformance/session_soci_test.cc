// The suite of sessions on SOCI's, of both databases.
#include <soci/postgresql/soci-postgresql.h>
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>

#include <utility>

#include "conformance/session_suite.h"
#include "support/postgres_server.h"
#include "support/temp_folder.h"

namespace outseal::test {
namespace {

class SociSession final : public ServiceSession {
 public:
  SociSession(const soci::backend_factory& backend, std::string address)
      : backend_{backend}, address_{std::move(address)} {}
  Session session() override { return session_; }
  void run(const std::string& sql) override { session_ << sql; }
  std::vector<Replacement> replacements() override {
    return {{"reconnect", [this] { session_.reconnect(); }}, {"close and open", [this] {
                                                                session_.close();
                                                                session_.open(backend_, address_);
                                                              }}};
  }
  void close() override { session_.close(); }

 private:
  const soci::backend_factory& backend_;
  std::string address_;
  soci::session session_{backend_, address_};
};

class SociOnPostgres final : public SessionsUnderTest {
 public:
  SociOnPostgres() { prepare_database(url()); }
  ~SociOnPostgres() override { shared_server().drop_database(database_); }
  SociOnPostgres(const SociOnPostgres&) = delete;
  SociOnPostgres& operator=(const SociOnPostgres&) = delete;

  std::string kind() const override { return "SOCI on PostgreSQL"; }
  Url url() const override { return Url::parse("--db", shared_server().url(database_)); }
  std::unique_ptr<ServiceSession> open() const override {
    return std::make_unique<SociSession>(soci::postgresql, shared_server().conninfo(database_));
  }

 private:
  std::string database_ = shared_server().fresh_database();
};

class SociOnSqlite final : public SessionsUnderTest {
 public:
  SociOnSqlite() { prepare_database(url()); }
  std::string kind() const override { return "SOCI on SQLite"; }
  Url url() const override { return Url::parse("--db", "sqlite:" + folder_.file("main.db")); }
  std::unique_ptr<ServiceSession> open() const override {
    return std::make_unique<SociSession>(soci::sqlite3, "dbname=" + folder_.file("main.db"));
  }

 private:
  TempFolder folder_;
};

}  // namespace

std::vector<std::unique_ptr<SessionsUnderTest>> make_sessions() {
  std::vector<std::unique_ptr<SessionsUnderTest>> all;
  all.push_back(std::make_unique<SociOnSqlite>());
  if (!skipped_without_postgres()) all.push_back(std::make_unique<SociOnPostgres>());
  return all;
}

}  // namespace outseal::test
