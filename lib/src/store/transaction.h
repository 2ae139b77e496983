// Transaction's implementation, for the parts of the store that work inside one.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "outseal/transaction.h"
#include "sql/connection.h"

namespace outseal::store {

/// One row of the outbox on its way there.
struct NewEvent {
  std::string id;
  std::string topic;
  std::string key;
  std::string type;
  std::string headers;
  std::string payload;
  std::string content_type;
};

/// Events that travel with COMMIT instead of making a round trip of their own (PostgreSQL).
///
/// A service may set savepoints with its own SQL. What it appended before the first one must
/// survive a return to it, what it appended after must not. So events are only put off until a
/// savepoint is seen; from then on they are written at once. Those put off before are written with
/// the first of these, in their order, and written again if a return to a savepoint took them back.
class PutOffEvents {
 public:
  void append(sql::Connection& connection, NewEvent event);
  /// What must run before COMMIT; null if there is nothing. Valid until the next call.
  sql::Statement* flush(sql::Connection& connection);
  /// Whether some would be lost without flush().
  bool any_unsent() const { return !sent_ && !events_.empty(); }

 private:
  std::vector<NewEvent> events_;  ///< Appended before the first savepoint.
  std::size_t bytes_ = 0;
  bool sent_ = false;  ///< Written inside of a savepoint, so they may be taken back.
};

/// The statement that inserts `events`, bound; they must outlive its use. More than one only where
/// the database pipelines.
sql::Statement& bind_events(sql::Connection& connection, std::span<const NewEvent> events);

}  // namespace outseal::store

namespace outseal {

class Transaction::Impl {
 public:
  std::shared_ptr<sql::Connection> connection;
  TransactionOptions options;
  bool owned = true;  ///< False for join(): whoever began it ends it.
  bool committed = false;
  store::PutOffEvents events;

  /// Begins on the session's connection; `first` of that connection travels with BEGIN.
  void begin(sql::Statement* first = nullptr);
  /// Runs `last`, writes the events that were put off, and commits.
  void commit(std::span<sql::Statement* const> last = {});
  /// The session's connection, as `options` say.
  static std::unique_ptr<Impl> attach(soci::session& session, const TransactionOptions& options);
  /// The same, without a transaction: to begin on.
  static std::unique_ptr<Impl> connect(soci::session& session, const TransactionOptions& options);
  static Transaction make(std::unique_ptr<Impl> impl) { return Transaction{std::move(impl)}; }
};

}  // namespace outseal

namespace outseal::store {

/// The connection under `tx`, whose statements live as long as the transaction.
inline sql::Connection& connection_of(Transaction& tx) { return *tx.impl().connection; }

}  // namespace outseal::store
