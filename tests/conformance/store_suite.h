// One suite for every database. A new one joins by a file like store_sqlite_test.cc, which says how
// a fresh database is made; the suite then runs all of its cases on it.
#pragma once

#include <memory>
#include <string>

#include "base/url.h"
#include "sql/connection.h"

namespace soci {
class session;
}

namespace outseal::test {

/// A fresh database with the schema applied and a business table `account (id, balance)` with the
/// rows (1, 100) and (2, 100).
class StoreUnderTest {
 public:
  virtual ~StoreUnderTest() = default;
  virtual Url url() const = 0;
  /// A session as a service would open it.
  virtual std::unique_ptr<soci::session> session() const = 0;
};

/// Defined by the file that includes this suite's cases: makes the database under test.
std::unique_ptr<StoreUnderTest> make_store();

}  // namespace outseal::test
