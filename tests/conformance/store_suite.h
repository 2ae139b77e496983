// One suite for every database. A new one joins by a file like store_sqlite_test.cc, which says how
// a fresh database is made; the suite then runs all of its cases on it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

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
  /// A session as a service would open it. Thread-safe.
  virtual std::unique_ptr<soci::session> session() const = 0;

  /// A claim that steers the cases: whether a transaction that writes makes all others wait. Then
  /// events get their numbers in the order of commits, and a cursor is nothing but such a number.
  virtual bool one_writer() const = 0;
  /// The next event gets the number after `seq`.
  virtual void use_numbers_up_to(std::int64_t seq) const = 0;
};

/// SQL of the cases as `dialect` has it. They call tables outseal_NAME, the column of a
/// binary payload {payload_bytes}, a time long ago {long_ago} and the length of a day {day}, and
/// are in other respects SQL that every database understands.
inline std::string in_dialect(std::string_view dialect, std::string sql) {
  const auto replace = [&sql](std::string_view word, std::string_view by) {
    for (std::size_t at = 0; (at = sql.find(word, at)) != std::string::npos; at += by.size())
      sql.replace(at, word.size(), by);
  };
  const bool sqlite = dialect == "sqlite";
  if (!sqlite) replace("outseal_", "outseal.");
  replace("{long_ago}", sqlite ? "1" : "to_timestamp(1)");
  replace("{payload_bytes}", sqlite ? "payload" : "payload_bytes");
  replace("{day}", sqlite ? "86400000" : "interval '1 day'");
  return sql;
}

/// Defined by the file that includes this suite's cases: makes the database under test.
std::unique_ptr<StoreUnderTest> make_store();

}  // namespace outseal::test
