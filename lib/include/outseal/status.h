// The status of an operation: what is known of a key, and waiting for its answer.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "outseal/effects.h"
#include "outseal/idempotency.h"
#include "outseal/observer.h"
#include "outseal/session.h"

namespace outseal {

/// Names an operation without its request; see Operation.
struct OperationKey {
  std::string scope;
  std::string principal = {};
  std::string key;
};

/// What has become of an operation.
enum class OperationState {
  /// Nothing is recorded. That proves nothing about the future: a request may still be on its way,
  /// and on SQLite an execute() that has not committed is not visible. Repeat the same key.
  absent,
  /// Somebody works on it, or has begun and died. On PostgreSQL also an execute() that has not
  /// committed yet; nothing but that is known of one.
  in_progress,
  succeeded,  ///< OperationStatus::reply is the answer.
  failed,     ///< For good; OperationStatus::reply is the answer.
  unknown,    ///< Nobody knows what became of an effect: an operator decides.
  expired,    ///< It has ended, and its reply is no longer kept: OperationStatus::ended says how.
  disputed,   ///< Later evidence contradicts what was recorded of an effect: an operator decides.
};

/// The stable snake_case name of `state`.
std::string_view name_of(OperationState state);

/// What is recorded of an operation, as of one moment.
struct OperationStatus {
  OperationState state = OperationState::absent;
  std::string scope = {};
  /// When it began; the epoch if that is not recorded.
  std::chrono::system_clock::time_point since = {};
  /// Whether the process that worked on it certainly runs no longer. False if it runs, is on
  /// another machine, or cannot be judged.
  bool owner_gone = false;
  int attempts = 0;  ///< How often it was begun or taken over.
  /// Its effects in the order in which they were intended, without the responses of the calls.
  std::vector<EffectOutcome> effects = {};
  /// Of succeeded and failed. It answers the request that used the key: whether another request is
  /// a repetition of that one, only execute() and find() tell.
  std::optional<Reply> reply = {};
  std::optional<Verdict> ended = {};  ///< How it ended, also without its reply.
  /// For the client in place of its key; empty for an operation of one transaction.
  std::string handle = {};
  /// Whether it is proven that the operation has done nothing and never will, so that the client
  /// may ask for the same thing under a new key: it failed for good, and each of its effects is
  /// known not to have been applied. A failed operation of one transaction has kept no row. Never
  /// true for one that might still run: of all others the same key is the only safe one. (A handler
  /// that committed by itself, against the rules, is beyond any proof.)
  bool safe_new_key = false;
  /// When it is worth while to look or to come again; 0 at once, or never if it has ended.
  std::chrono::milliseconds retry_after{};

  /// Whether nothing but an operator will change it any more.
  bool has_ended() const {
    return state != OperationState::absent && state != OperationState::in_progress;
  }
  /// Whether the same request may take it up now: nothing is recorded, or its lease has ended.
  bool may_begin() const { return !has_ended() && retry_after.count() == 0; }
};

/// How status() looks.
struct StatusOptions {
  /// As TransactionOptions::statements.
  StatementCache* statements = nullptr;
  /// As TransactionOptions::named_statements.
  bool named_statements = true;
  /// Is told of the look: StatusCall.
  Observer observer = {};
};

/// Looks at the record of a key and its effects, in one round trip. It takes no lock, waits for
/// nobody and writes nothing. Inside of a transaction it uses that transaction's view.
///
/// PostgreSQL: for a key without a record it also looks, in the same statement, whether somebody
/// holds the key's lock (`pg_locks`).
///
/// @throws Error{invalid_argument} if a field breaks its limit.
/// @throws Error{schema_missing} if the database has no outseal schema.
/// Threads: not thread-safe; one session per thread.
/// Crash: nothing was written.
[[nodiscard]] OperationStatus status(Session session, const OperationKey& operation,
                                     const StatusOptions& options = {});

/// The same by ExecuteResult::handle. A handle is 128 random bits behind the key's hash: whoever
/// has it may see the status, and nobody can guess it. It is compared in constant time.
/// @returns absent for a handle of no operation, and for a text that is none.
[[nodiscard]] OperationStatus status(Session session, std::string_view handle,
                                     const StatusOptions& options = {});

/// How a StatusPoller looks.
struct PollerOptions {
  static constexpr std::chrono::milliseconds kIntervalMinDefault{10};
  static constexpr std::chrono::milliseconds kIntervalMaxDefault{500};
  static constexpr std::chrono::milliseconds kIntervalLimit{60'000};

  /// The pause between two looks at a key: it begins with `interval_min` and grows by half each
  /// time up to `interval_max`. Range 1 ms to 1 minute. Shorter ones answer sooner and ask more.
  std::chrono::milliseconds interval_min = kIntervalMinDefault;
  std::chrono::milliseconds interval_max = kIntervalMaxDefault;
  /// As TransactionOptions::named_statements.
  bool named_statements = true;
  /// Is told of each look, by the poller's thread: StatusCall.
  Observer observer = {};

  /// @throws Error{invalid_config} naming every field that is out of range.
  void validate() const;
};

/// Waits for operations that somebody else executes, in this process or another one. Keep one per
/// process: however many threads wait, for however many keys, it looks from one thread over one
/// connection, which it opens when somebody waits for the first time.
///
/// Threads: thread-safe. `open` is called by the poller's own thread.
/// Crash: it holds nothing.
class StatusPoller {
 public:
  using Deadline = std::chrono::steady_clock::time_point;

  /// @throws Error{invalid_config} for bad options, Error{invalid_argument} for an empty `open`.
  explicit StatusPoller(SessionOpener open, const PollerOptions& options = {});
  /// Nobody may wait any more.
  ~StatusPoller();
  StatusPoller(const StatusPoller&) = delete;
  StatusPoller& operator=(const StatusPoller&) = delete;

  /// Waits until the operation has ended. If it may be begun or taken over instead, because nothing
  /// is recorded or its lease has ended, one of those who wait for it returns at a time: whoever
  /// does should execute it, and the others continue to wait for the answer.
  ///
  /// A connection that breaks is replaced until the deadline.
  /// @returns what was seen last, at the latest at the deadline or when `stop` is requested.
  /// @throws Error{unreachable} if the last look failed or there was none in time; before the
  ///         deadline, any error that only a change of schema, privilege or argument cures.
  OperationStatus wait(const OperationKey& operation, Deadline deadline,
                       const std::stop_token& stop = {});
  /// The same by handle.
  OperationStatus wait(std::string_view handle, Deadline deadline,
                       const std::stop_token& stop = {});

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace outseal
