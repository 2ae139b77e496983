// The audit trail: whole as written, and broken links are found.
#include "store/audit.h"

#include <doctest/doctest.h>

#include <memory>
#include <string>

#include "outseal/error.h"
#include "store/migrations.h"
#include "support/temp_folder.h"

using namespace outseal;

namespace {

/// A database with three audit rows, in a folder of its own that is gone at the end.
class Fixture {
 public:
  Fixture() {
    connection =
        sql::open(Url::parse("--db", "sqlite:" + folder.file("test.db")), sql::OpenMode::create);
    store::migrate_up(*connection, store::newest_version(), {});
    for (const char* const act : {"first", "second", "third"}) append(act);
  }
  Fixture(const Fixture&) = delete;
  Fixture& operator=(const Fixture&) = delete;

  void append(std::string_view act) {
    sql::transact(*connection, std::chrono::seconds{1}, [&] {
      store::append_audit(*connection, {"alice", act, "main", "{}"});
    });
  }
  /// As somebody would who has the file and no respect for its triggers.
  void tamper(std::string_view sql) {
    connection->execute(
        "DROP TRIGGER outseal_audit_no_update; DROP TRIGGER outseal_audit_no_delete;");
    connection->execute(sql);
  }

  test::TempFolder folder;
  std::unique_ptr<sql::Connection> connection;
};

}  // namespace

TEST_CASE("A trail is whole as it was written") {
  Fixture fixture;
  CHECK(store::verify_audit(*fixture.connection) == std::nullopt);
  fixture.append("fourth");
  CHECK(store::verify_audit(*fixture.connection) == std::nullopt);
}

TEST_CASE("A changed row is found") {
  Fixture fixture;
  fixture.tamper("UPDATE outseal_audit SET actor = 'mallory' WHERE id = 2");
  CHECK(store::verify_audit(*fixture.connection) == "audit row 2 was changed after it was written");
}

TEST_CASE("A text that moved from one field to the next is found") {
  Fixture fixture;
  fixture.tamper("UPDATE outseal_audit SET actor = 'alices', act = 'econd' WHERE id = 2");
  CHECK(store::verify_audit(*fixture.connection).has_value());
}

TEST_CASE("A removed row is found") {
  Fixture fixture;
  fixture.tamper("DELETE FROM outseal_audit WHERE id = 2");
  CHECK(store::verify_audit(*fixture.connection) ==
        "audit row 3 does not follow the row before it");
}

TEST_CASE("The database itself refuses to change or remove a row") {
  Fixture fixture;
  CHECK_THROWS_AS(fixture.connection->execute("UPDATE outseal_audit SET actor = 'mallory'"), Error);
  CHECK_THROWS_AS(fixture.connection->execute("DELETE FROM outseal_audit"), Error);
  CHECK(store::verify_audit(*fixture.connection) == std::nullopt);
}

TEST_CASE("An audit row outside of a transaction is refused") {
  Fixture fixture;
  CHECK_THROWS_AS(store::append_audit(*fixture.connection, {"alice", "act", "main", "{}"}), Error);
}
