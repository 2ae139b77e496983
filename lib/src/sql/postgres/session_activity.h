// What a service does by itself on the connection that it shares with us.
#pragma once

#include <libpq-fe.h>

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "sql/text.h"

namespace outseal::sql::postgres {

/// What was seen of one transaction of ours. A result's tag alone does not tell whether the
/// transaction has ended: "ROLLBACK TO" says "ROLLBACK", too, and "ROLLBACK AND CHAIN" leaves
/// another one behind. So tags raise suspicion, and the server is asked.
struct Observed {
  bool savepoint = false;   ///< One was set.
  bool returned = false;    ///< Perhaps the session has gone back to one; forgotten when asked.
  bool suspect = false;     ///< Perhaps it has ended; forgotten when the server says it has not.
  bool committed = false;   ///< A COMMIT or PREPARE TRANSACTION went by: perhaps its own.
  bool begun_anew = false;  ///< A BEGIN went by behind a ROLLBACK.
  bool gone = false;        ///< The connection was closed or reset.
  std::weak_ptr<void> companion;
};

using Address = std::vector<std::pair<std::string, std::string>>;

/// What we know of a connection that services use as well: libpq tells us of each result on it.
/// Shared by libpq and whoever wraps the handle, so that it outlives the connection.
struct SessionActivity {
  /// Statements of ours that the server has, and the number that stands in their names: raised when
  /// nobody knows any more which it has.
  std::unordered_set<const Text*> prepared;
  unsigned names = 0;
  std::string failure;           ///< SQLSTATE of the error that has failed the transaction at hand.
  std::uint64_t statements = 0;  ///< How many results there were.
  bool gone = false;             ///< The handle was closed: it must not be touched any more.
  bool committed = false;        ///< Any transaction of ours, perhaps by others, not only the last.
  /// Counts the session's transactions, as far as tags tell them apart: "ROLLBACK" may mean a
  /// savepoint, if one was set; then a BEGIN behind it tells.
  std::uint64_t transaction = 0;
  bool savepoint = false;             ///< One was set in it, or may have been before we watched.
  bool returned = false;              ///< It may have ended by a ROLLBACK.
  std::shared_ptr<Observed> current;  ///< The last transaction of ours.
  Address address;  ///< Where a closed connection led to, if events may be left to store.
};

/// What is seen on `handle`: begins with the first call and ends with the connection.
std::shared_ptr<SessionActivity> activity_of(PGconn* handle);

/// What `handle` was opened with, its password included.
Address address_of(PGconn* handle);

}  // namespace outseal::sql::postgres
