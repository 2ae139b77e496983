// The adversarial suite on SQLite.
#include <doctest/doctest.h>
#include <soci/sqlite3/soci-sqlite3.h>

#include "sql/connection.h"
#include "store/migrations.h"
#include "support/scale.h"
#include "support/temp_folder.h"
#include "torture/adversary_campaign.h"

using namespace outseal;
using namespace outseal::test;
using namespace outseal::test::adversary;

namespace {

class SqliteSite final : public Site {
 public:
  explicit SqliteSite(std::string journal) : journal_{std::move(journal)} {
    {
      const auto connection =
          sql::open(Url::parse("--db", "sqlite:" + folder_.file("main.db")), sql::OpenMode::create);
      store::migrate_up(*connection, store::newest_version(connection->dialect()), {});
      connection->execute("PRAGMA journal_mode = " + journal_);
    }
    const auto session = open();
    for (const char* sql :
         {"CREATE TABLE main.work (label INTEGER, n INTEGER, event TEXT, key TEXT)",
          "CREATE TRIGGER main.append AFTER INSERT ON work WHEN NEW.event IS NOT NULL BEGIN"
          " INSERT INTO outseal_outbox (event_id, topic, key, type, payload) VALUES"
          " (NEW.event, 't', NEW.key, 'x', CAST(NEW.n AS TEXT)); END",
          "CREATE TABLE main.account (id INTEGER PRIMARY KEY, v INTEGER)",
          "INSERT INTO account VALUES (1, 0), (2, 0)",
          "CREATE TABLE main.strict (id INTEGER PRIMARY KEY)", "INSERT INTO strict VALUES (1)",
          "CREATE TABLE main.later (id INTEGER REFERENCES strict DEFERRABLE INITIALLY DEFERRED)",
          "CREATE TABLE main.filler (bytes BLOB)",
          "CREATE TABLE other.work (label INTEGER, n INTEGER)"})
      *session << sql;
  }
  bool postgres() const override { return false; }
  bool splits_files() const override { return journal_ == "wal"; }
  std::unique_ptr<soci::session> open(bool /*beside*/ = false) const override {
    auto session =
        std::make_unique<soci::session>(soci::sqlite3, "dbname=" + folder_.file("main.db"));
    prepare(*session);
    return session;
  }
  void prepare(soci::session& session) const override {
    try {
      session << "ATTACH '" + folder_.file("other.db") + "' AS other";
    } catch (const soci::soci_error&) {  // It is attached.
    }
    session << "PRAGMA other.journal_mode = " + journal_;
    session << "PRAGMA foreign_keys = ON";
  }
  void settle(soci::session& /*reader*/) const override {}

 private:
  /// In memory, where that is possible: a kill takes nothing from files, and syncs cost time.
  static std::filesystem::path place() {
    return std::filesystem::exists("/dev/shm") ? "/dev/shm"
                                               : std::filesystem::temp_directory_path();
  }

  TempFolder folder_{place()};
  std::string journal_;
};

/// Each some dozens of times.
const std::vector<std::string> kMustHappen{"append constraint",
                                           "append unreachable",
                                           "commit constraint",
                                           "commit internal",
                                           "commit invalid_config",
                                           "commit ok",
                                           "commit storage",
                                           "commit unreachable",
                                           "full error",
                                           "helper error",
                                           "interrupt error",
                                           "or_rollback error",
                                           "raw_commit error",
                                           "reconnect ok",
                                           "result error invalid_argument",
                                           "result error unreachable",
                                           "result executed final_failure",
                                           "result executed success",
                                           "result replayed success",
                                           "result released final_failure",
                                           "result threw undone",
                                           "roll_back ok",
                                           "rollback_to ok"};

}  // namespace

TEST_CASE("whatever a service does with its session, rows, events and records agree") {
  Coverage coverage;
  for (const std::string journal : {"wal", "delete"}) {
    CAPTURE(journal);
    run_campaign(SqliteSite{journal}, scaled(journal == "wal" ? 3'000 : 600, 100'000), coverage);
  }
  check_coverage(coverage, kMustHappen);
}

#ifdef OUTSEAL_FAULTS
TEST_CASE("without a guard of its transaction a program is found wrong") {
  check_mutants({"no_commit_hook", "no_rollback_hook", "no_atomic_check"},
                "whatever a service does*");
}
#endif
