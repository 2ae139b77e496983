// The kills of operations with effects, on SQLite.
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>

#include <filesystem>

#include "conformance/store_suite.h"
#include "sql/connection.h"
#include "store/migrations.h"
#include "support/temp_folder.h"

namespace outseal::test {
namespace {

class SqliteStore final : public StoreUnderTest {
 public:
  SqliteStore() {
    const auto connection = sql::open(url(), sql::OpenMode::create);
    store::migrate_up(*connection, store::newest_version(connection->dialect()), {});
  }
  Url url() const override { return Url::parse("--db", "sqlite:" + folder_.file("store.db")); }
  std::unique_ptr<soci::session> session() const override {
    return std::make_unique<soci::session>(soci::sqlite3, "dbname=" + folder_.file("store.db"));
  }
  bool one_writer() const override { return true; }
  void use_numbers_up_to(std::int64_t /*seq*/) const override {}

 private:
  /// In memory, where that is possible: a kill takes nothing from files, and syncs cost time.
  static std::filesystem::path place() {
    return std::filesystem::exists("/dev/shm") ? "/dev/shm"
                                               : std::filesystem::temp_directory_path();
  }

  TempFolder folder_{place()};
};

}  // namespace

std::unique_ptr<StoreUnderTest> make_store() { return std::make_unique<SqliteStore>(); }

}  // namespace outseal::test
