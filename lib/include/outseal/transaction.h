// Transaction: the only door to the outbox, so that an event cannot be written outside of one.
#pragma once

#include <chrono>
#include <memory>

namespace soci {
class session;
}

namespace outseal {

/// Keeps outseal's prepared statements from one transaction of an SQLite session to the next:
/// preparing them costs about as much as running them. Optional; make one right after the session.
/// PostgreSQL needs none: see TransactionOptions::named_statements.
///
/// Threads: Not thread-safe; same rule as the session. It must be destroyed before the session is
/// closed, else SQLite keeps the connection open.
class Statements {
 public:
  /// @throws Error{invalid_config} for a session of an unsupported backend.
  explicit Statements(soci::session& session);
  ~Statements();
  Statements(const Statements&) = delete;
  Statements& operator=(const Statements&) = delete;

 private:
  friend class Transaction;
  struct Kept;
  std::unique_ptr<Kept> kept_;
};

/// How a transaction begins.
struct TransactionOptions {
  static constexpr std::chrono::milliseconds kBusyWaitDefault{5'000};
  static constexpr std::chrono::milliseconds kBusyWaitMax{600'000};

  /// How long `BEGIN` and `COMMIT` wait for other writers of a SQLite file before they give up with
  /// Error{conflict}. Range 0 to 10 minutes. Longer waits hide contention; shorter ones need the
  /// caller to retry. Chosen by us: 5 s carries at least 16 busy writers, see tests/README.md.
  std::chrono::milliseconds busy_wait = kBusyWaitDefault;
  /// Prepared statements of the same session to use; null prepares them for this transaction alone.
  Statements* statements = nullptr;
  /// PostgreSQL: prepares outseal's statements once by name in the session, which saves about a
  /// tenth of a short transaction. Switch it off behind a pooler in transaction mode (PgBouncer),
  /// where the next transaction may meet another server session.
  bool named_statements = true;

  /// @throws Error{invalid_config} naming every field that is out of range.
  void validate() const;
};

/// One SQL transaction on a service's own SOCI session: business rows, the idempotency record and
/// outbox events commit together or not at all.
///
/// ```
/// outseal::Transaction tx{session};
/// session << "UPDATE account SET balance = balance - 5 WHERE id = 7";
/// outseal::append(tx, {.topic = "payments", .key = "7", .type = "charged", .payload = "{}"});
/// tx.commit();
/// ```
///
/// SQLite: begins with BEGIN IMMEDIATE, so that a transaction that has begun cannot fail later
/// because another writer was faster. PostgreSQL: begins with BEGIN, in the session's isolation
/// level; appended events are put off and travel with COMMIT, in the same round trip.
///
/// The session must outlive the transaction. Do not end the transaction by other means
/// (`session.commit()`, `COMMIT`) while this object lives: if events were put off, it could not be
/// mended, and the destructor ends the program. Once the service has rolled back by itself,
/// commit() refuses, also in a transaction that it began behind that. Savepoints may be set and
/// returned to at will.
///
/// Threads: Not thread-safe; one thread at a time, the same one that uses the session.
/// Crash: before commit() nothing remains; after it everything does.
class Transaction {
 public:
  /// Begins a transaction.
  /// @throws Error{conflict} if the database stayed busy for `options.busy_wait`.
  /// @throws Error{invalid_argument} if the session already has a transaction: use join().
  /// @throws Error{invalid_config} for a session of an unsupported backend or for bad options, such
  ///         as Statements of another session.
  explicit Transaction(soci::session& session, const TransactionOptions& options = {});

  /// Wraps the transaction that the service began itself. commit() and the destructor then leave it
  /// alone: whoever began it ends it. Begin it with BEGIN IMMEDIATE on SQLite: a plain BEGIN takes
  /// the write lock at the first write, which can fail with Error{conflict}.
  /// `options` are those about statements; nothing waits.
  /// @throws Error{invalid_argument} if the session has no transaction.
  static Transaction join(soci::session& session, const TransactionOptions& options = {});

  /// Rolls back unless committed or joined. Never throws.
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  /// Commits; on a joined transaction it does nothing.
  /// @throws Error{conflict} if readers kept the file locked for the busy wait; nothing is
  ///         committed and the transaction is still open.
  /// @throws Error{commit_in_doubt} if the database cannot say whether it committed, for
  ///         example because the connection was lost.
  /// @throws Error{constraint} if an event that was put off is refused, for example for an event id
  ///         that is already in the outbox; nothing is committed.
  /// @throws Error{conflict} on a serialization failure or deadlock (PostgreSQL); nothing is
  ///         committed, run the whole transaction again.
  /// @throws Error{storage} on a full disk or an I/O error, or if an earlier error had ended the
  ///         transaction; nothing is committed.
  /// @throws Error{internal} if called twice.
  void commit();

  /// The implementation; opaque to users.
  class Impl;
  Impl& impl() noexcept { return *impl_; }

 private:
  explicit Transaction(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace outseal
