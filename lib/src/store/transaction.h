// Transaction's implementation, for the parts of the store that work inside one.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "outseal/error.h"
#include "outseal/outbox.h"
#include "outseal/transaction.h"
#include "sql/connection.h"
#include "sql/operation.h"
#include "sql/outbox.h"

namespace outseal::store {

using sql::NewEvent;

/// What an error of a statement that inserts `events` is about.
std::string subject_of(std::span<const NewEvent> events);

/// The events of a transaction that Transaction began, where the database can pipeline.
///
/// They are put off until COMMIT, so that they make no round trip of their own. A service may set
/// savepoints with its own SQL: what it appended before the first one must survive a return to it,
/// what it appended after must not. So from the first savepoint on events are written at once;
/// those put off before are written with the first of these, and again if a return undid that.
///
/// Triggers and SQL of the service may append as well. Whenever put-off events are written after
/// other statements have run, the server proves that none of those has appended: else the events
/// would stand behind ones that are newer.
class DeferredEvents {
 public:
  /// `at_once`: puts nothing off.
  DeferredEvents(sql::Connection& connection, sql::OwnTransaction& own, bool at_once)
      : connection_{connection}, own_{own}, at_once_{at_once} {}

  /// @throws Error{invalid_config} if the service has appended in between by other means.
  void append(std::vector<NewEvent> events);
  /// What must run before COMMIT, and stores `record` too; null if there is nothing. Valid until
  /// the next call. It fails in another transaction.
  sql::Statement* flush(const sql::NewRecord* record);
  /// As subject_of(), of what flush() returned.
  std::string subject() const { return subject_of(events_); }
  /// Those that are not in the outbox; `connection` is one that can ask, maybe another one. For
  /// when the transaction has been committed by other means.
  std::span<const NewEvent> missing(sql::Connection& connection);
  std::span<const NewEvent> deferred() const { return events_; }

 private:
  bool needs_write();
  bool is_written(sql::Connection& connection) const;
  void write(std::span<const NewEvent> events, bool prove_order);
  std::string_view identity() const;
  sql::Statement& bind(std::span<const NewEvent> events, bool prove_order,
                       const sql::NewRecord* record);

  sql::Connection& connection_;
  sql::OwnTransaction& own_;
  bool at_once_;
  std::vector<NewEvent> events_;  ///< Put off: appended before the first savepoint.
  std::size_t bytes_ = 0;
  std::uint64_t appended_at_ = 0;  ///< How many statements had run before the first of them.
  bool written_ = false;           ///< Inside of a savepoint, so a return may undo it.
  std::string last_;               ///< Id of the last event that was written before them.
};

/// Runs what append_events() or the like has bound.
/// @throws as throw_clearer().
void run_insert(sql::Statement& insert, std::span<const NewEvent> events);

/// Appends events that are valid, where append() has no Transaction to do it in. (PostgreSQL)
void append_beside(sql::Connection& to, std::span<const Event> events);

/// Throws `error` anew: a proof that failed by its own name, a refused row of the outbox as that of
/// `subject`, if it has one.
[[noreturn]] void throw_clearer(const Error& error, std::string_view operation,
                                std::string_view subject = {});

/// For when a trigger of somebody's has dropped a row of `table`, which must not go unnoticed.
/// @throws Error{invalid_config}, always.
[[noreturn]] void throw_dropped(std::string_view operation, std::string_view table);
/// How the dialect calls outseal's `table`.
std::string name_of_table(const sql::Connection& connection, std::string_view table);
/// As throw_dropped(), unless the last statement has changed one row of outseal's `table`.
void require_stored(sql::Connection& connection, std::string_view operation,
                    std::string_view table);

/// Splits `events` into parts that one statement can carry, and calls `take` with each.
template <typename Take>
void in_parts(std::span<const NewEvent> events, Take&& take) {
  constexpr std::size_t kBytesMax = 1U << 20U;  // Memory is limited, and so is a message: 1 GiB.
  constexpr std::size_t kEventsMax = 1'000;
  while (!events.empty()) {
    std::size_t count = 0;
    for (std::size_t bytes = 0; count < events.size() && count < kEventsMax; ++count) {
      bytes += events[count].payload.size() + events[count].headers.size();
      if (count > 0 && bytes > kBytesMax) break;
    }
    take(events.first(count));
    events = events.subspan(count);
  }
}

}  // namespace outseal::store

namespace outseal {

class Transaction::Impl : public std::enable_shared_from_this<Impl> {
 public:
  explicit Impl(Session on) : session{on} {}

  Session session;
  std::shared_ptr<sql::Connection> connection;
  TransactionOptions options;
  bool committed = false;
  bool joined = false;      ///< Whoever began it ends it.
  bool in_handler = false;  ///< execute() ends it, not the handler that uses it.
  /// The transaction itself and its events; null for a joined one, and once it has ended for good.
  std::unique_ptr<sql::OwnTransaction> own;
  std::optional<store::DeferredEvents> events;
  /// Said when it ended, if not that nothing was committed; every later call says the same.
  std::optional<Error> end;
  /// Of a joined one: which transaction it is; and whose, if a Transaction began it.
  std::unique_ptr<sql::JoinedTransaction> theirs;
  std::weak_ptr<Impl> owner;

  /// Where its events are put off; null where they are written at once.
  store::DeferredEvents* queue();

  /// Begins on the session's connection. `first` and `keep_lock` are Begin's; with a lock, in place
  /// of the transaction at hand.
  void begin(std::span<sql::Statement* const> first = {},
             std::optional<std::int64_t> keep_lock = {});
  /// Undoes what a handler did since set_savepoint(), its events included.
  void rollback_to_handler();
  /// Runs `first`, writes the events that were put off and `record`, and commits.
  void commit(std::span<sql::Statement* const> first = {}, const sql::NewRecord* record = nullptr);
  void rollback();
  /// For the destructor: rolls back, and tells the observer what it cannot throw.
  void abandon() noexcept;

  /// @throws Error{invalid_argument} unless statements can run in the transaction, and
  ///         Error{foreign_commit} as settle_foreign_commit() does.
  void require_open(std::string_view operation);
  /// After a foreign COMMIT: stores what belongs to the rows and is not in the database, in one
  /// transaction of its own: the put-off events, and what `record` writes by the connection it is
  /// given. If that fails, the record alone, then event by event; the message names the missing.
  /// In a handler it only throws: execute() does it, with the record.
  /// @throws Error{foreign_commit}, always.
  [[noreturn]] void settle_foreign_commit(std::string_view operation,
                                          const std::function<void(sql::Connection&)>& record = {});
  sql::OwnTransaction::State state();

  /// The session's connection, as `options` say.
  static std::shared_ptr<Impl> attach(Session session, const TransactionOptions& options);
  /// The same, without a transaction: to begin on.
  static std::shared_ptr<Impl> connect(Session session, const TransactionOptions& options);
  static Transaction make(std::shared_ptr<Impl> impl) { return Transaction{std::move(impl)}; }

 private:
  void commit_unobserved(std::span<sql::Statement* const> first, const sql::NewRecord* record);
  [[noreturn]] void fail_ended(std::string_view operation, sql::OwnTransaction::State state);
  /// The same, for good.
  [[noreturn]] void give_up(std::string_view operation, sql::OwnTransaction::State state);
  void say_again(std::string_view operation) const;
};

}  // namespace outseal

namespace outseal::store {

/// The connection under `tx`, whose statements live as long as the transaction.
inline sql::Connection& connection_of(Transaction& tx) { return *tx.impl().connection; }

}  // namespace outseal::store
