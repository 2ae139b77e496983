// Idempotency: an operation takes effect once, and every repetition gets the same answer.
//
// A handler of execute() must not
//   - end the transaction: no tx.commit(), no COMMIT or ROLLBACK through the session;
//   - use another transaction on the session, or reconnect or close it; savepoints are fine, but
//     their names and those of prepared statements must not begin with "outseal_";
//   - do anything outside the database: it may run again.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "outseal/session.h"
#include "outseal/transaction.h"

namespace outseal {

/// Names one operation. The key is stored only as SHA-256 over scope, principal and key.
struct Operation {
  /// What the key is for, for example "payments". 1 to 255 bytes of UTF-8, stored as it is.
  std::string scope;
  /// Who sent it, for example the tenant: two principals never share a key. 0 to 255 bytes of any
  /// kind.
  std::string principal = {};
  /// The client's idempotency key. 1 to 255 bytes of any kind. It names a request, not an entity:
  /// with an order number as key, the second change of that order would pass for a repetition.
  std::string key;
  /// 32 bytes that stand for the request's meaning; see fingerprint(). The same key with another
  /// fingerprint is a mismatch, never a replay.
  std::string fingerprint;
};

/// SHA-256 of `canonical_request`, 32 raw bytes. Give it a canonical form (fixed order of fields,
/// no whitespace or header noise); otherwise a harmless re-encoding of the request is a mismatch.
std::string fingerprint(std::string_view canonical_request);

/// What a handler decided.
enum class Verdict {
  success,        ///< Rows, events and the record commit.
  final_failure,  ///< The handler's rows and events are undone; its reply is stored and replayed.
  retryable_failure,  ///< Everything is undone and the key is free for another attempt.
};

/// A handler's answer, which a duplicate gets back byte for byte.
struct Reply {
  Verdict verdict = Verdict::success;
  /// The service's own status, for example an HTTP one. Range 0 to 999.
  int status = 200;
  /// At most ExecuteOptions::body_bytes_max bytes, any bytes.
  std::string body = {};
  /// At most 255 printable ASCII characters; may be empty.
  std::string content_type = "application/json";
};

/// What execute() did.
enum class Outcome {
  executed,     ///< The handler ran and its reply is stored.
  replayed,     ///< The handler did not run; the reply is the stored one.
  mismatch,     ///< The key is known with another fingerprint; the handler did not run.
  in_progress,  ///< The key was still being executed after ExecuteOptions::wait; retry later.
  released,     ///< The handler ran and returned retryable_failure; nothing is stored.
  unknown,      ///< An effect of it waits for an operator's decision.
  expired,      ///< It is final, but its reply is no longer kept. It never runs again.
};

/// The stable snake_case name of `outcome`.
std::string_view name_of(Outcome outcome);

/// ```
/// if (result.reply) return respond(*result.reply);
/// return result.outcome == Outcome::mismatch ? respond(422) : respond(409);
/// ```
struct ExecuteResult {
  Outcome outcome;
  /// The handler's or the stored reply. None for mismatch and in_progress: nothing that could be
  /// mistaken for an answer to this request.
  std::optional<Reply> reply = {};
  /// If in progress: when it is worthwhile to come again.
  std::chrono::milliseconds retry_after{};
};

/// How execute() waits and how long its record lives. Keep one per scope.
struct ExecuteOptions {
  static constexpr std::chrono::milliseconds kWaitDefault{5'000};
  static constexpr std::chrono::milliseconds kWaitMax{600'000};
  static constexpr std::chrono::seconds kRetentionDefault = std::chrono::hours{24 * 30};
  static constexpr std::chrono::seconds kRetentionMin = std::chrono::minutes{1};
  static constexpr std::chrono::seconds kRetentionMax = std::chrono::hours{24 * 3660};
  static constexpr std::size_t kBodyBytesDefault = 1U << 20U;
  static constexpr std::size_t kBodyBytesMax = 16U << 20U;

  /// Largest reply body that is stored, in bytes; range 1 to 16 MiB.
  std::size_t body_bytes_max = kBodyBytesDefault;
  /// How long to wait for the key's turn. On PostgreSQL only executions of the same key are
  /// serialised, by an advisory lock of the transaction; after that, Outcome::in_progress. On
  /// SQLite, where one writer excludes all others, this is the wait for the file, and nobody can
  /// tell who holds it; after that, Error{conflict}. The handle's busy timeout (SOCI's
  /// `timeout=`) does not count meanwhile; a busy handler of your own does. Range 0 to 10 minutes.
  std::chrono::milliseconds wait = kWaitDefault;
  /// How long the record answers duplicates after it completed; after that, the key counts as
  /// unused. Range 1 minute to 10 years. Must exceed the longest retry or redelivery of your
  /// clients. Chosen by us: 30 days outlive the dead-letter redrives that we know of.
  std::chrono::seconds retention = kRetentionDefault;
  /// As TransactionOptions::statements.
  StatementCache* statements = nullptr;
  /// As TransactionOptions::named_statements.
  bool named_statements = true;
  /// As TransactionOptions::append_at_once.
  bool append_at_once = false;
  /// As TransactionOptions::isolation.
  Isolation isolation = Isolation::session_default;
  /// As TransactionOptions::observer; is told of execute() as well.
  Observer observer = {};

  /// @throws Error{invalid_config} naming every field that is out of range.
  void validate() const;
};

/// Does the work of one operation inside the transaction that execute() began. It may write
/// business rows through the session, set savepoints and call append(). The top of this file lists
/// what it must not do. It may run again after a crash or a retryable failure.
using Handler = std::function<Reply(Transaction&)>;

/// Runs `handler` at most once per (scope, principal, key) and stores its reply, in one
/// transaction.
///
/// PostgreSQL: BEGIN and the look-up of the key are one round trip; the record, the appended events
/// and COMMIT are another. Concurrent executions of a key are serialised, also while a final
/// failure is stored: one runs the handler, the others replay its reply. (Two may run it if the
/// second looks up the key at the moment at which the first commits; only one of them commits.)
///
/// If the handler throws, everything is undone, the key stays free and the exception passes
/// through. `tx.commit()` inside the handler is refused before anything is sent; a handler that
/// swallows that error has changed nothing. A `SET LOCAL ROLE` or `SET ROLE` of the handler also
/// applies to what execute() writes afterwards: that role needs the privileges of
/// `outseal_producer`, otherwise every commit fails with Error{denied}.
///
/// @throws Error{invalid_argument} if a field or the reply breaks its limit or `handler` is empty;
///         nothing is written.
/// @throws Error{invalid_config} if somebody's trigger or rule drops an event or the record, or as
///         Transaction::commit() does, see ExecuteOptions::append_at_once.
/// @throws Error{invalid_argument} if the session already has a transaction, if the handler ended
///         it, if it executes its own key, or if the session's client_encoding is not UTF8.
/// @throws Error{schema_missing} if the database has no outseal schema.
/// @throws Error{conflict} on a serialization failure or deadlock (PostgreSQL), including one that
///         the handler met in its own SQL and ignored, whatever it then replied, unless it returned
///         to a savepoint: run the whole operation again. Also if a statement was cancelled or
///         interrupted, for example by statement_timeout or sqlite3_interrupt().
/// @throws Error{conflict} if another writer held the file for the whole wait (SQLite): nothing was
///         done; call again with the same key.
/// @throws Error{foreign_commit} if the handler committed the transaction by other means
///         (PostgreSQL; SQLite refuses that). Its rows are committed, and so are, by now, its
///         events and a record: of the handler's reply, or if it threw, a final failure with status
///         500. The message names whatever could not be stored; without the record a retry runs the
///         handler again.
/// @throws Error{commit_in_doubt} if the outcome of the commit is unknown: call again with the same
///         key to find out. On SQLite also if the handler replaced the connection's hooks and a
///         COMMIT of its own went through: then look for the rows first, since no record exists.
/// Threads: not thread-safe; one session per thread. Any number of threads and processes may
///          execute the same key at once: one runs the handler.
/// Crash: before the commit nothing remains and the key is free; after it, duplicates are replayed.
[[nodiscard]] ExecuteResult execute(Session session, const Operation& operation,
                                    const Handler& handler, const ExecuteOptions& options = {});

/// The same for any other callable, including one that can only be moved.
template <typename Callable>
requires(!std::is_same_v<std::remove_cvref_t<Callable>, Handler> &&
         std::is_invocable_r_v<Reply, Callable&, Transaction&>) [[nodiscard]] ExecuteResult
    execute(Session session, const Operation& operation, Callable&& handler,
            const ExecuteOptions& options = {}) {
  return execute(session, operation, Handler{std::ref(handler)}, options);
}

/// Looks up what is recorded for `operation` without running anything: replayed, mismatch, or
/// in_progress for one whose effects are not finished. One SELECT; takes no lock, waits for nobody
/// and writes nothing. Inside a transaction it uses that transaction's view.
///
/// @returns nothing if the key is unused or its retention has passed. An execution that has not
///          committed yet is not visible: only execute() rules one out.
/// @throws Error{invalid_argument} if a field breaks its limit.
/// @throws Error{schema_missing} if the database has no outseal schema.
/// Threads: not thread-safe; one session per thread.
/// Crash: nothing was written.
[[nodiscard]] std::optional<ExecuteResult> find(Session session, const Operation& operation);

/// How much purge_operations() removes at once.
struct PurgeOptions {
  static constexpr std::uint32_t kStepRowsDefault = 500;
  static constexpr std::uint32_t kStepRowsMax = 10'000;

  /// Records per transaction; range 1 to 10,000. Larger steps hold the write lock longer.
  std::uint32_t step_rows = kStepRowsDefault;
  /// Steps per call; 0 means until none is left.
  std::uint32_t steps_max = 0;

  /// @throws Error{invalid_config} naming every field that is out of range.
  void validate() const;
};

/// Deletes completed idempotency records whose retention has passed; never one in progress.
///
/// @returns how many records were deleted.
/// @throws Error{conflict} if the database stayed busy.
/// Threads: not thread-safe; one session per thread.
/// Crash: each step is one transaction; deleted records stay deleted.
std::uint64_t purge_operations(Session session, const PurgeOptions& options = {});

}  // namespace outseal
