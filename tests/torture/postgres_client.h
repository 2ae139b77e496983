// Plain SQL on a libpq connection, for what a service does beside outseal.
#pragma once

#include <libpq-fe.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace outseal::test {

/// The server refused a statement, or the connection was lost.
struct SqlFailure : std::runtime_error {
  SqlFailure(const std::string& message, std::string sqlstate)
      : std::runtime_error{message}, state{std::move(sqlstate)} {}
  std::string state;  ///< Empty: the connection was lost.
};

using SqlRows = std::vector<std::vector<std::string>>;

/// Runs one or several statements; the rows of the last one, as text.
/// @throws SqlFailure
SqlRows query(PGconn* connection, const std::string& sql);

/// A connection of the test's own.
///
/// Threads: Not thread-safe; one thread at a time.
class PostgresClient {
 public:
  /// @param where a URL or keywords and values.
  explicit PostgresClient(const std::string& where);

  SqlRows rows(const std::string& sql) { return query(connection_.get(), sql); }
  /// The first field of the first row; empty if there is none.
  std::string value(const std::string& sql);

 private:
  std::unique_ptr<PGconn, decltype(&PQfinish)> connection_;
};

}  // namespace outseal::test
