// Idempotency: an operation takes effect once, and every repetition gets the same answer.
//
// A handler of execute() must not
//   - end the transaction: no tx.commit(), no COMMIT or ROLLBACK through the session;
//   - use another transaction on the session, or reconnect or close it; savepoints are fine, but
//     their names and those of prepared statements must not begin with "outseal_";
//   - do anything outside the database: it may run again.
//
// What an HTTP service answers (Idempotency-Key as in draft-ietf-httpapi-idempotency-key-header):
//
//   | outcome         | reply | HTTP status                                                     |
//   | ---             | ---   | ---                                                             |
//   | executed        | yes   | the reply's                                                     |
//   | replayed        | yes   | the reply's, with `Idempotent-Replayed: true`                   |
//   | released        | yes   | the reply's, for example 503: the client may try again          |
//   | mismatch        | no    | 422: the key was used for another request                       |
//   | in_progress     | no    | 409 with `Retry-After: retry_after`                             |
//   | unknown         | no    | 409 without Retry-After: an operator has to decide              |
//   | expired         | no    | 410: it ended, as `ended` and `status` say; its reply is gone   |
//   | an Error        |       | by Error::recovery(): 400 for bad input, else 503, never a 2xx  |
//
// A key that is missing or malformed is a 400, and never reaches execute().
//
// An exception of the handler passes through execute() unchanged, with two exceptions of which the
// original is nested: if the connection was lost it becomes Error{unreachable}, and if the
// handler's SQL met a serialization failure or a deadlock, Error{conflict}. Each is then said as
// plainly as if execute()'s own statements had met it. A handler that replies after it has passed
// over a conflict gets Error{conflict}, too. Whatever it threw, nothing is stored, unless it had
// committed by itself: Error{foreign_commit}. (Effects are recorded before it runs: effects.h.)
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "outseal/fingerprint.h"
#include "outseal/session.h"
#include "outseal/transaction.h"

namespace outseal {

/// The fingerprint of a request in another version of its canonical form.
struct VersionedFingerprint {
  int version = 0;
  std::string fingerprint;  ///< 32 bytes.
};

/// Names one operation. The key is stored only as SHA-256 over scope, principal and key; if it is a
/// UUIDv7 or a ULID, behind the key's own time, in milliseconds. Such keys cost the database far
/// less than random ones once it holds millions of records: new_idempotency_key() makes one.
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
  /// Which version of the service's canonical form `fingerprint` is of; any number from 1 on. It is
  /// stored with the fingerprint.
  int fingerprint_version = 1;
  /// The request's fingerprints in older versions, each version once, at most 16. If the record was
  /// stored with another version than `fingerprint_version`, the one of that version is compared.
  /// **If there is none, nothing is compared and the key alone decides: the request counts as a
  /// repetition.** So a deployment with a new form does not refuse the retries that are pending.
  std::vector<VersionedFingerprint> older_fingerprints = {};
};

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
  /// Of the response, for example Location; stored and replayed as they are. UTF-8, at most 64
  /// names and 16 KiB in all, 64 KiB as JSON.
  std::map<std::string, std::string> headers = {};
};

/// What execute() did.
enum class Outcome {
  executed,     ///< The handler ran and its reply is stored.
  replayed,     ///< The handler did not run; the reply is the stored one.
  mismatch,     ///< The key is known with another fingerprint; the handler did not run.
  in_progress,  ///< The key is being executed, or its effects are not finished; retry later.
  released,     ///< The handler ran and returned retryable_failure; nothing is stored.
  expired,      ///< It ended as ExecuteResult::ended says; the reply's retention has passed.
  unknown,      ///< Nobody knows how one of its effects ended, until somebody decides.
};

/// The stable snake_case name of `outcome`.
std::string_view name_of(Outcome outcome);

/// ```
/// if (result.reply) return respond(*result.reply);
/// if (result.outcome == Outcome::mismatch) return respond(422);
/// return respond(result.outcome == Outcome::expired ? 410 : 409);
/// ```
struct ExecuteResult {
  /// How long a client should wait if nothing better is known. Chosen by us.
  static constexpr std::chrono::milliseconds kRetryAfterDefault{1'000};

  Outcome outcome;
  /// The handler's or the stored reply; only for executed, replayed and released. Otherwise there
  /// is nothing that could be mistaken for an answer to this request.
  std::optional<Reply> reply = {};
  /// How the operation ended: for executed, replayed and expired.
  std::optional<Verdict> ended = {};
  /// The reply's status; only with `ended`.
  int status = 0;
  /// For in_progress: when another attempt may find more. The rest of the lease of whoever works on
  /// it, by the database's clock; kRetryAfterDefault where there is none. Else 0.
  std::chrono::milliseconds retry_after{0};
  /// A name of the record that may be given to the client in place of its key, 64 or 72 characters
  /// of A-Z a-z 0-9 - and _. Only of operations with external effects; else empty.
  std::string handle = {};
};

/// How execute() waits and how long its record lives. Keep one per scope.
///
/// A record has two retentions. First the response is kept, and repetitions get it back. When its
/// time is over, they get Outcome::expired: the key is still known, and is not executed again. Only
/// when the key's time is over does it count as unused. Both begin when the operation completes. A
/// record that is not final, or that has an effect of which nobody knows how it ended, never
/// expires.
struct ExecuteOptions {
  static constexpr std::chrono::milliseconds kWaitDefault{5'000};
  static constexpr std::chrono::milliseconds kWaitMax{600'000};
  static constexpr std::chrono::seconds kResponseRetentionDefault = std::chrono::hours{24 * 7};
  static constexpr std::chrono::seconds kKeyRetentionDefault = std::chrono::hours{24 * 400};
  static constexpr std::chrono::seconds kRetentionMin = std::chrono::minutes{1};
  /// 5,000 years. For scopes in which no key may ever be executed again, for example billing.
  static constexpr std::chrono::seconds kForever = std::chrono::hours{24 * 365 * 5'000};
  static constexpr std::size_t kBodyBytesDefault = 1U << 20U;
  static constexpr std::size_t kBodyBytesMax = 16U << 20U;

  /// Largest reply body that is stored, in bytes; range 1 to 16 MiB.
  std::size_t body_bytes_max = kBodyBytesDefault;
  /// How long to wait for the key's turn. On PostgreSQL only executions of the same key are
  /// serialised, by an advisory lock of the transaction; after that, Outcome::in_progress. On
  /// SQLite, where one writer excludes all others, this is the wait for the file, and nobody can
  /// tell who holds it; after that, Error{conflict}. The handle's busy timeout (SOCI's
  /// `timeout=`) does not count meanwhile; a busy handler of your own does. A record whose effects
  /// are not finished is not waited for. Range 0 to 10 minutes.
  std::chrono::milliseconds wait = kWaitDefault;
  /// How long the reply is stored and replayed. Range 1 minute to kForever. Must exceed the longest
  /// retry or redelivery of your clients. Chosen by us: 7 days.
  std::chrono::seconds response_retention = kResponseRetentionDefault;
  /// How long the key is known. Range `response_retention` to kForever. Chosen by us: 400 days, so
  /// that a yearly job that is run twice is noticed.
  std::chrono::seconds key_retention = kKeyRetentionDefault;
  /// Whether the audit trail gets a row when the operation has ended, in the transaction that ends
  /// it: its state and status under the hash of its key, no bodies. On PostgreSQL the row stands in
  /// `outseal.audit_pending` until a run of outseal-reconcile moves it into the chained trail, so
  /// that services need not wait for each other. For scopes that must prove what was decided.
  bool audit = false;
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

/// Looks up what is recorded for `operation` without running anything: replayed, mismatch, expired,
/// unknown, or in_progress for one whose effects are not finished. One SELECT (two for a record
/// with effects whose retention has passed); takes no lock, waits for nobody and writes nothing.
/// Inside a transaction it uses that transaction's view. Who expects a repetition asks here first:
/// on PostgreSQL execute() needs a second round trip to end the transaction that it has begun.
///
/// `options`: `statements` and `named_statements` count, the others are for what is executed.
/// @returns nothing if the key is unused or its retention has passed. An execution that has not
///          committed yet is not visible: only execute() rules one out.
/// @throws Error{invalid_argument} if a field breaks its limit.
/// @throws Error{schema_missing} if the database has no outseal schema.
/// Threads: not thread-safe; one session per thread.
/// Crash: nothing was written.
[[nodiscard]] std::optional<ExecuteResult> find(Session session, const Operation& operation,
                                                const ExecuteOptions& options = {});

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

/// What purge_operations() has taken away.
struct Purged {
  std::uint64_t responses = 0;  ///< Replies that were dropped; their keys stay known.
  std::uint64_t records = 0;    ///< Records that were removed, with their effects.
};

/// Drops the replies and removes the records whose retention has passed, by the database's clock.
/// Never those of an operation in progress or unknown, or with an effect that is intended, unknown
/// or disputed. Whether and when it runs changes no answer of execute(): it frees space.
///
/// @throws Error{conflict} if the database stayed busy.
/// Threads: not thread-safe; one session per thread.
/// Crash: each step is one transaction; what it has removed stays removed.
Purged purge_operations(Session session, const PurgeOptions& options = {});

}  // namespace outseal
