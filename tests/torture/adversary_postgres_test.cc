// The adversarial suite on PostgreSQL.
#include <doctest/doctest.h>
#include <soci/postgresql/soci-postgresql.h>

#include "sql/connection.h"
#include "store/migrations.h"
#include "support/postgres_server.h"
#include "support/scale.h"
#include "torture/adversary_campaign.h"

using namespace outseal;
using namespace outseal::test;
using namespace outseal::test::adversary;

namespace {

class PostgresSite final : public Site {
 public:
  PostgresSite() : name_{shared_server().fresh_database()} {
    const auto connection = sql::open(Url::parse("--db", shared_server().url(name_)));
    store::migrate_up(*connection, store::newest_version(connection->dialect()), {});
    connection->execute(
        "CREATE TABLE work (label integer, n integer, event uuid, key text);"
        "CREATE FUNCTION append_event() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " PERFORM outseal.append('t', NEW.key, 'x', NEW.n::text, event_id => NEW.event);"
        " RETURN NEW; END $$;"
        "CREATE TRIGGER append AFTER INSERT ON work FOR EACH ROW WHEN (NEW.event IS NOT NULL)"
        " EXECUTE FUNCTION append_event();"
        "CREATE TABLE account (id integer PRIMARY KEY, v integer);"
        "INSERT INTO account VALUES (1, 0), (2, 0);"
        "CREATE TABLE strict (id integer PRIMARY KEY);"
        "INSERT INTO strict VALUES (1);"
        "CREATE TABLE later (id integer UNIQUE DEFERRABLE INITIALLY DEFERRED);"
        "DROP ROLE IF EXISTS adversary_nobody;"
        "CREATE ROLE adversary_nobody;"
        "GRANT ALL ON work, account, strict, later TO adversary_nobody");
  }
  ~PostgresSite() override { shared_server().drop_database(name_); }
  PostgresSite(const PostgresSite&) = delete;
  PostgresSite& operator=(const PostgresSite&) = delete;

  bool postgres() const override { return true; }
  std::unique_ptr<soci::session> open(bool beside = false) const override {
    return std::make_unique<soci::session>(
        soci::postgresql, shared_server().conninfo(name_) +
                              " application_name=adversary options='" +
                              // Whatever is locked is locked by the same thread.
                              (beside ? "-c lock_timeout=5" : "-c lock_timeout=100") +
                              " -c client_min_messages=error'");
  }
  void prepare(soci::session& /*session*/) const override {}
  void settle(soci::session& reader) const override {
    for (int left = 1; left != 0;) {
      std::vector<std::string> prepared(10);
      reader << "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()",
          soci::into(prepared);
      for (const std::string& name : prepared) reader << "ROLLBACK PREPARED '" + name + "'";
      reader << "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'adversary'"
                " AND pid <> pg_backend_pid()",
          soci::into(left);
    }
  }

 private:
  std::string name_;
};

/// Each a dozen times or more.
const std::vector<std::string> kMustHappen{"append constraint",
                                           "append denied",
                                           "append foreign_commit",
                                           "append invalid_config",
                                           "append storage",
                                           "append unreachable",
                                           "commit foreign_commit",
                                           "commit internal",
                                           "commit invalid_config",
                                           "commit ok",
                                           "commit storage",
                                           "commit unreachable",
                                           "commit_and_chain ok",
                                           "helper commit",
                                           "prepare ok",
                                           "reconnect ok",
                                           "result error foreign_commit",
                                           "result error unreachable",
                                           "result executed final_failure",
                                           "result executed success",
                                           "result replayed success",
                                           "result released final_failure",
                                           "result threw undone",
                                           "roll_back ok",
                                           "rollback_and_chain ok",
                                           "rollback_to ok",
                                           "terminate ok"};

}  // namespace

TEST_CASE("whatever a service does with its session, rows, events and records agree") {
  if (skipped_without_postgres()) return;
  Coverage coverage;
  run_campaign(PostgresSite{}, scaled(1'500, 50'000), coverage);
  check_coverage(coverage, kMustHappen);
}

#ifdef OUTSEAL_FAULTS
TEST_CASE("without a guard of its transaction a program is found wrong") {
  if (skipped_without_postgres()) return;
  check_mutants({"no_identity", "no_watch", "no_order_check"}, "whatever a service does*");
}
#endif
