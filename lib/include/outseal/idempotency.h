// Idempotency: an operation takes effect once, and everyone who asks again gets the same answer.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "outseal/transaction.h"

namespace outseal {

/// Names one operation. The key is stored only as SHA-256 over scope, principal and key.
struct Operation {
  /// What the key is for, for example "payments". 1 to 255 bytes of UTF-8.
  std::string scope;
  /// Who sent it, for example the tenant: two principals never share a key. 0 to 255 bytes.
  std::string principal = {};
  /// The client's idempotency key. 1 to 255 bytes. It names a request, not an entity: with an order
  /// number as key, the second change of that order would be taken for a repetition.
  std::string key;
  /// 32 bytes that stand for the request's meaning; see fingerprint(). The same key with another
  /// fingerprint is a mismatch, never a replay.
  std::string fingerprint;
};

/// SHA-256 of `canonical_request`, 32 raw bytes. Give it a canonical form (fixed order of fields,
/// no whitespace or header noise), else a harmless re-encoding of the same request is a mismatch.
std::string fingerprint(std::string_view canonical_request);

/// What a handler decided.
enum class Verdict {
  success,        ///< Rows, events and the record commit.
  final_failure,  ///< The handler's rows and events are undone; its reply is stored and replayed.
  retryable_failure,  ///< Everything is undone and the key is free for another try.
};

/// What a handler answers, and what a duplicate gets back byte for byte.
struct Reply {
  Verdict verdict = Verdict::success;
  /// The service's own status, for example an HTTP one. Range 0 to 999.
  int status = 200;
  /// At most ExecuteOptions::body_bytes_max bytes, any bytes.
  std::string body = {};
  /// At most 255 bytes.
  std::string content_type = "application/json";
};

/// What execute() did.
enum class Outcome {
  executed,     ///< The handler ran and its reply is stored.
  replayed,     ///< The handler did not run; the reply is the stored one.
  mismatch,     ///< The key is known with another fingerprint; the handler did not run.
  in_progress,  ///< The key's turn did not come within ExecuteOptions::wait; retry later.
  released,     ///< The handler ran and said retryable_failure; nothing is stored.
};

/// The stable snake_case name of `outcome`.
std::string_view name_of(Outcome outcome);

struct ExecuteResult {
  Outcome outcome;
  /// The handler's or the stored reply; empty for mismatch and in_progress.
  Reply reply;
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
  /// How long to wait for the key's turn before Outcome::in_progress. On PostgreSQL only
  /// executions of the same key wait for each other, by an advisory lock of the transaction. On
  /// SQLite, where one writer excludes all, this is also the wait for the file. Range 0 to 10
  /// minutes.
  std::chrono::milliseconds wait = kWaitDefault;
  /// How long the record answers duplicates after it completed; then the key is new again. Range 1
  /// minute to 10 years. Must exceed the longest retry or redelivery of your clients. Chosen by us:
  /// 30 days outlive the dead-letter redrives that we know of.
  std::chrono::seconds retention = kRetentionDefault;
  /// As TransactionOptions::statements.
  Statements* statements = nullptr;
  /// As TransactionOptions::named_statements.
  bool named_statements = true;

  /// @throws Error{invalid_config} naming every field that is out of range.
  void validate() const;
};

/// Does the work of one operation inside the transaction that execute() began. It may write
/// business rows through the session and call append(). It must not commit. It may run again after
/// a crash or a retryable failure, so it must not do anything outside of the database.
using Handler = std::function<Reply(Transaction&)>;

/// Runs `handler` at most once per (scope, principal, key) and stores its reply, in one
/// transaction.
///
/// PostgreSQL: BEGIN and the look-up of the key are one round trip; the record, the appended events
/// and COMMIT are another. Under REPEATABLE READ and above a handler may run a second time when a
/// concurrent execution of the same key was faster; only one of them commits.
///
/// If the handler throws, everything is undone, the key stays free and the exception passes
/// through.
///
/// @throws Error{invalid_argument} if a field or the reply breaks its limit; nothing is written.
/// @throws Error{invalid_argument} if the session already has a transaction.
/// @throws Error{schema_missing} if the database has no outseal schema.
/// @throws Error{conflict} on a serialization failure or deadlock (PostgreSQL), also one that the
///         handler met in its own SQL: run the whole operation again.
/// @throws Error{commit_in_doubt} if the outcome of the commit is unknown: call again with the same
///         key and it finds out.
/// Threads: not thread-safe; one session per thread. Any number of threads and processes may
/// execute
///          the same key at once: one runs the handler.
/// Crash: before the commit nothing remains and the key is free; after it, duplicates are replayed.
ExecuteResult execute(soci::session& session, const Operation& operation, const Handler& handler,
                      const ExecuteOptions& options = {});

/// How much purge() removes at once.
struct PurgeOptions {
  static constexpr std::uint32_t kStepRowsDefault = 500;
  static constexpr std::uint32_t kStepRowsMax = 10'000;

  /// Records per transaction; range 1 to 10,000. Larger steps hold the write lock longer.
  std::uint32_t step_rows = kStepRowsDefault;
  /// Steps per call; 0 means until nothing is left.
  std::uint32_t steps_max = 0;

  /// @throws Error{invalid_config} naming every field that is out of range.
  void validate() const;
};

/// Deletes completed idempotency records whose retention has passed; never one in progress.
///
/// @returns how many records went.
/// @throws Error{conflict} if the database stayed busy.
/// Threads: not thread-safe; one session per thread.
/// Crash: each step is one transaction; what was deleted stays deleted.
std::uint64_t purge(soci::session& session, const PurgeOptions& options = {});

}  // namespace outseal
