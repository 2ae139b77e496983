// The kills of operations with effects, on PostgreSQL.
#include <soci/postgresql/soci-postgresql.h>
#include <soci/soci.h>

#include <cstdlib>

#include "conformance/store_suite.h"
#include "sql/connection.h"
#include "store/migrations.h"
#include "support/postgres_server.h"

namespace outseal::test {
namespace {

class PostgresStore final : public StoreUnderTest {
 public:
  PostgresStore() : database_{shared_server().fresh_database()} {
    const auto connection = sql::open(url());
    store::migrate_up(*connection, store::newest_version(connection->dialect()), {});
  }
  ~PostgresStore() override { shared_server().drop_database(database_); }
  PostgresStore(const PostgresStore&) = delete;
  PostgresStore& operator=(const PostgresStore&) = delete;

  Url url() const override { return Url::parse("--db", shared_server().url(database_)); }
  std::unique_ptr<soci::session> session() const override {
    return std::make_unique<soci::session>(soci::postgresql, shared_server().conninfo(database_));
  }
  bool one_writer() const override { return false; }
  void use_numbers_up_to(std::int64_t /*seq*/) const override {}

 private:
  std::string database_;
};

}  // namespace

std::unique_ptr<StoreUnderTest> make_store() {
  if (skipped_without_postgres()) std::exit(0);  // Every case here needs it.
  return std::make_unique<PostgresStore>();
}

}  // namespace outseal::test
