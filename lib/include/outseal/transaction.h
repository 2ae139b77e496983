// Transaction: the only way to the outbox, so that no event can be written outside a transaction.
#pragma once

#include <chrono>
#include <memory>

#include "outseal/observer.h"
#include "outseal/session.h"

namespace outseal {

/// Keeps outseal's prepared statements from one transaction of an SQLite session to the next:
/// preparing them costs about as much as running them. Optional; make one right after the session.
/// PostgreSQL needs none: see TransactionOptions::named_statements.
///
/// Threads: Not thread-safe; same rule as the session. It must be destroyed before the session is
/// closed; otherwise SQLite keeps the connection open, and sqlite3_close() fails.
class StatementCache {
 public:
  /// @throws Error{invalid_config} for a session that is not open, or of an unsupported backend.
  explicit StatementCache(Session session);
  ~StatementCache();
  StatementCache(const StatementCache&) = delete;
  StatementCache& operator=(const StatementCache&) = delete;

 private:
  friend class Transaction;
  struct Kept;
  std::unique_ptr<Kept> kept_;
};

/// How a transaction sees others (PostgreSQL; SQLite's are always serializable).
enum class Isolation { session_default, read_committed, repeatable_read, serializable };

/// How a transaction begins, and what it does with events.
struct TransactionOptions {
  static constexpr std::chrono::milliseconds kBusyWaitDefault{5'000};
  static constexpr std::chrono::milliseconds kBusyWaitMax{600'000};

  /// How long `BEGIN` and `COMMIT` wait for other writers of a SQLite file before they give up with
  /// Error{conflict}. Range 0 to 10 minutes. Longer waits hide contention; shorter ones need the
  /// caller to retry. Chosen by us: 5 s carries at least 16 busy writers, see tests/README.md.
  std::chrono::milliseconds busy_wait = kBusyWaitDefault;
  /// Prepared statements of the same session to use; null prepares them for this transaction alone.
  StatementCache* statements = nullptr;
  /// PostgreSQL: prepares outseal's statements once by name in the session, which saves about a
  /// tenth of a short transaction. Switch it off behind a pooler in transaction mode (PgBouncer),
  /// where the next transaction may meet another server session.
  bool named_statements = true;
  /// PostgreSQL: writes each event when it is appended, in a round trip of its own. Needed by a
  /// service whose triggers or SQL also append events beside its own calls of append(): without it
  /// their order would not be known, which commit() refuses. Off by default: events travel with
  /// COMMIT.
  bool append_at_once = false;
  /// PostgreSQL: as in BEGIN ISOLATION LEVEL. Set it here: SET TRANSACTION comes too late, because
  /// the transaction's number has been read by then.
  Isolation isolation = Isolation::session_default;
  /// Is told of commit() and of what is done in the transaction, and of errors that the destructor
  /// cannot throw; see observer.h. Empty: those are one line on stderr.
  Observer observer = {};

  /// @throws Error{invalid_config} naming every field that is out of range.
  void validate() const;
};

/// One SQL transaction on a service's own session: business rows, the idempotency record and outbox
/// events commit together or not at all.
///
/// ```
/// outseal::Transaction tx{session};
/// session << "UPDATE account SET balance = balance - 5 WHERE id = 7";
/// outseal::append(tx, {.topic = "payments", .key = "7", .type = "charged", .payload = "{}"});
/// tx.commit();
/// ```
///
/// It knows its transaction by identity: commit() commits that one or none, and the destructor
/// rolls back that one or none, whatever the service did with its session in between. Savepoints
/// are free to use. ROLLBACK, a reconnect or an error that makes the database roll back end the
/// transaction: commit() then throws, and whatever the service began afterwards is left alone.
/// Leave COMMIT to commit():
///
/// - SQLite refuses any other COMMIT while this object lives, including that of a single statement
///   outside a transaction. This uses the connection's commit and rollback hooks, of which there is
///   one each: a service's own hooks are replaced and not restored.
/// - PostgreSQL cannot refuse it. The rows are then committed without the events. Those are stored
///   as soon as outseal notices (in execute(): when the handler has ended), by a transaction of
///   their own, and this is reported as Error{foreign_commit}, again by every later call. If the
///   process dies in between, they are lost.
///
/// SQLite: begins with BEGIN IMMEDIATE, so that a transaction that has begun cannot fail later
/// because another writer was faster. With attached databases only the main one is locked. A commit
/// that wrote to several files is refused unless SQLite makes it atomic.
/// PostgreSQL: appended events travel with COMMIT, in the same round trip.
///
/// The session must outlive the transaction: see Session.
///
/// Threads: Not thread-safe; one thread at a time, the same one that uses the session.
/// Crash: before commit() nothing remains; after it everything does.
/// Source: sqlite.org, "Commit And Rollback Notification Callbacks" and "ATTACH DATABASE".
class Transaction {
 public:
  /// Begins a transaction.
  /// @throws Error{conflict} if the database stayed busy for `options.busy_wait`.
  /// @throws Error{invalid_argument} if the session already has a transaction: use join(). Also if
  ///         it is in pipeline mode or in the middle of a COPY (PostgreSQL), or of a query whose
  ///         snapshot is too old to write after it (SQLite).
  /// @throws Error{invalid_argument} if the session's client_encoding is not UTF8 (PostgreSQL).
  /// @throws Error{invalid_config} for a session that is not open or of an unsupported backend, or
  ///         for bad options, such as a StatementCache of another session.
  explicit Transaction(Session session, const TransactionOptions& options = {});

  /// Wraps the transaction that the service began itself. commit() and the destructor then leave it
  /// alone: whoever began it ends it. Events are written at once, unless a Transaction on the same
  /// session began it: then they are queued with that one's. Begin it with BEGIN IMMEDIATE on
  /// SQLite: a plain BEGIN takes the write lock at the first write, which can fail with
  /// Error{conflict}. Of `options` only those about statements and the observer count; nothing
  /// waits. The handle is for this transaction alone: once that has ended, it is refused, even if
  /// the session is in another one by then. (On PostgreSQL a ROLLBACK AND CHAIN after a SAVEPOINT
  /// goes unnoticed.) On SQLite this also takes the connection's commit and rollback hooks, which
  /// let every COMMIT pass.
  /// @throws Error{invalid_argument} if the session has no transaction, or as the constructor does.
  static Transaction join(Session session, const TransactionOptions& options = {});

  /// Rolls back unless committed, rolled back or joined. Never throws: see
  /// TransactionOptions::observer.
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  /// Commits; on a joined transaction it does nothing.
  /// @throws Error{conflict} if readers kept the file locked for the busy wait; nothing is
  ///         committed and the transaction is still open.
  /// @throws Error{conflict} on a serialization failure or deadlock (PostgreSQL); nothing is
  ///         committed, run the whole transaction again.
  /// @throws Error{conflict} if a statement was cancelled or interrupted, for example by
  ///         statement_timeout or sqlite3_interrupt(); run the whole transaction again.
  /// @throws Error{commit_in_doubt} if the connection was lost during COMMIT or the database cannot
  ///         say whether it committed. To find out: look for the rows, or on PostgreSQL ask
  ///         `pg_xact_status`, with the number that the error's hint gives, on a new connection.
  /// @throws Error{foreign_commit} if the service committed the transaction by other means
  ///         (PostgreSQL). Its rows are committed, and so are its events by now, except those that
  ///         the message names. After this error or Error{commit_in_doubt} every later call throws
  ///         it again.
  /// @throws Error{constraint} if an event is refused, for example because its id is already in the
  ///         outbox; nothing is committed.
  /// @throws Error{invalid_config} if something else appended events as well (PostgreSQL): see
  ///         TransactionOptions::append_at_once; nothing is committed.
  /// @throws Error{invalid_argument} if a statement of the service that writes is not finished
  ///         (SQLite), or as the constructor does; nothing is committed.
  /// @throws Error{invalid_config} if several files were written, which SQLite does not commit
  ///         atomically; nothing is committed.
  /// @throws Error{storage} on a full disk or an I/O error, or if the transaction has ended before:
  ///         by an earlier error, or because the service ended it; nothing is committed.
  /// @throws Error{unreachable} if the session was closed, reconnected or lost before; nothing is
  ///         committed.
  /// @throws Error{invalid_argument} inside a handler of execute(): nothing is sent, and execute()
  ///         still commits what the handler did.
  /// @throws Error{internal} if called twice.
  void commit();

  /// Rolls back now instead of in the destructor. Does nothing if the transaction was rolled back
  /// already.
  /// @throws Error{invalid_argument} on a joined transaction: whoever began it ends it; throw an
  ///         exception to tell them. Also if commit() has succeeded, and inside a handler of
  ///         execute(), as commit() does.
  /// @throws Error{foreign_commit} or Error{commit_in_doubt} as commit() does.
  /// @throws Error{storage} if the database does not let it, for example SQLite because of an
  ///         authorizer or a progress handler. SQLite then refuses the session's next COMMIT, so
  ///         that nothing of it is ever committed. Statements that sqlite3_interrupt() has stopped
  ///         are reset first: they would stop the rollback, too.
  void rollback();

  /// The implementation; opaque to users.
  class Impl;
  Impl& impl() noexcept { return *impl_; }

 private:
  explicit Transaction(std::shared_ptr<Impl> impl);

  std::shared_ptr<Impl> impl_;
};

}  // namespace outseal
