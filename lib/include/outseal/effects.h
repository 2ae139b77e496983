// Operations with effects outside the database: a charge, a mail, a shipment.
//
// Charging a card is not a row: nothing can commit it together with the record. So an effect is
// written down as intended, with the key that the provider gets, before it is tried, and confirmed
// after it: two commits for an operation of one effect, N + 1 for N. Whoever comes after a crash
// finds what was intended, and follows the effect's policies: it is tried again only where that is
// proven to be safe, and otherwise nobody guesses.
//
// What is intended is durable before the request leaves, whatever the session has set: PostgreSQL's
// synchronous_commit = off and SQLite's PRAGMA synchronous below FULL are raised for that commit.
// Times are the database's. A clock that is set back by more than a profile's margin sends nothing
// again; one that jumps forward lets leases, windows and waits end too soon, which nobody can see.
// So let clocks be slewed, not set.
//
// ```
// outseal::Attempt attempt{session, operation};
// if (auto known = attempt.begin()) return respond(*known);
// const outseal::EffectOutcome charge = attempt.effect({.name = "charge", ...});
// if (!charge.settled()) return respond(attempt.leave());
// return respond(attempt.finish([&](outseal::Transaction& tx) {
//   ...  // Rows and events, as in a handler of execute().
//   return outseal::Reply{.body = charge.reference};
// }));
// ```
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "outseal/idempotency.h"
#include "outseal/outbox.h"
#include "outseal/provider.h"
#include "outseal/session.h"

namespace outseal {

/// An amount of money in the currency's smallest unit, for example cents.
struct Amount {
  std::int64_t minor = 0;  ///< Not negative.
  std::string currency;    ///< ISO 4217: three capital letters.

  bool operator==(const Amount&) const = default;
};

/// What is known of an effect.
enum class EffectState {
  intended,     ///< It may have been tried; no outcome is recorded.
  confirmed,    ///< The provider has applied it.
  not_applied,  ///< Proven: it was not applied, and never will be.
  failed,       ///< The provider has refused it for good.
  unknown,      ///< Handed over: an operator decides.
  applied,      ///< By an operator: it was applied.
  abandoned,    ///< By an operator: nobody will ever know, and nobody needs to.
  disputed,     ///< Later evidence contradicts what was settled.
};

/// The stable snake_case name of `state`.
std::string_view name_of(EffectState state);

/// An effect as it is recorded.
struct EffectOutcome {
  std::string name;
  EffectState state = EffectState::intended;
  std::string reference = {};  ///< The provider's name for it, for example a charge id.
  std::optional<Amount> amount = {};
  std::string response = {};  ///< What the call returned, at most 1 MiB.
  int attempts = 0;           ///< How often it was sent.
  /// If it is not settled: when it is worth while to come again.
  std::chrono::milliseconds retry_after{};

  /// Whether an operation may finish with it.
  bool settled() const;
  /// Whether it was applied, by the provider's word or an operator's.
  bool is_applied() const;
};

/// What a call, a question or a cancellation is given.
class EffectCall {
 public:
  /// The key to send: the same for every attempt at the effect.
  const std::string& provider_key() const { return provider_key_; }
  /// How much time is left for the call; not negative. Set the timeouts of your client by it: after
  /// it another process may take the operation over, or the provider forget the key. It also counts
  /// the time in which the machine sleeps.
  std::chrono::milliseconds left() const { return left_(); }
  /// The same as a time, which is right until the machine sleeps or the lease is renewed.
  std::chrono::steady_clock::time_point deadline() const {
    return std::chrono::steady_clock::now() + left();
  }
  /// 1 for the first time that the request is sent.
  int attempt() const { return attempt_; }
  /// Keeps the operation for another AttemptOptions::lease and moves the deadline. One commit on
  /// the attempt's session, which must not be in a transaction.
  /// @throws Error{lease_lost} if another process has taken the operation over: stop.
  void renew() { renew_(); }

 private:
  friend class Attempt;
  EffectCall(std::string provider_key, int attempt, std::function<std::chrono::milliseconds()> left,
             std::function<void()> renew)
      : provider_key_{std::move(provider_key)},
        attempt_{attempt},
        left_{std::move(left)},
        renew_{std::move(renew)} {}

  std::string provider_key_;
  int attempt_;
  std::function<std::chrono::milliseconds()> left_;
  std::function<void()> renew_;
};

/// What became of a request, as the one who sent it can tell.
struct CallResult {
  enum class Verdict {
    applied,    ///< The provider says that it did it.
    refused,    ///< The provider says no, for good: a declined card.
    not_sent,   ///< Proven: this request had no effect (connection refused, 429). Try again later.
    uncertain,  ///< A timeout, a broken connection, a 5xx, a key in use: nobody knows.
  };
  Verdict verdict = Verdict::uncertain;
  std::string reference = {};         ///< At most 1,024 bytes of UTF-8.
  std::optional<Amount> amount = {};  ///< What the provider says; another one than asked: disputed.
  std::string response = {};          ///< Recorded, for whoever resumes. At most 1 MiB.
};

/// What a provider says about a request that it may have got.
struct AskResult {
  enum class Answer {
    applied,             ///< It has applied it.
    not_applied_proven,  ///< It has not, and nothing of it can still arrive.
    not_found_yet,       ///< It knows of none; a proof only after ProviderProfile::absence_after.
    cannot_tell,         ///< No answer.
  };
  Answer answer = Answer::cannot_tell;
  std::string reference = {};
  std::optional<Amount> amount = {};
  std::string response = {};
};

/// What became of a cancellation.
struct CancelResult {
  enum class Answer {
    cancelled,    ///< What the key did is undone, and it will never do anything.
    applied,      ///< It is applied and cannot be cancelled.
    cannot_tell,  ///< No answer.
  };
  Answer answer = Answer::cannot_tell;
  std::string reference = {};
  std::optional<Amount> amount = {};
  std::string response = {};
};

/// A side effect outside of the database.
struct Effect {
  /// Which of the operation's effects, for example "charge". 1 to 255 bytes of UTF-8.
  std::string name;
  /// What is asked for, in a canonical form; only its SHA-256 is stored. The same name with another
  /// request is refused.
  std::string request;
  ProviderProfile provider;
  /// In their order. Not empty. Those that need a callback must have it.
  std::vector<Policy> policies = {Policy::hand_over};
  /// Which answers rerun needs the provider to replay. `any` if a request that was refused must not
  /// be executed anew.
  Replays rerun_needs = Replays::success;
  std::optional<Amount> amount = {};
  /// A JSON object of whatever else is to be compared with the provider. At most 16 KiB.
  std::string attributes = "{}";
  /// The key for the provider. At most 255 bytes. Empty: made of the operation and the name.
  std::string provider_key = {};

  /// Sends the request. No transaction is open. An exception counts as uncertain, and passes
  /// through.
  std::function<CallResult(EffectCall&)> call;
  std::function<AskResult(EffectCall&)> ask = {};
  std::function<CancelResult(EffectCall&)> cancel = {};
  /// The event that undoes it, if the operation fails for good after it was applied.
  std::function<Event(const EffectOutcome&)> compensation = {};
};

/// How an attempt holds its operation, and how its record lives.
struct AttemptOptions {
  static constexpr std::chrono::milliseconds kLeaseDefault{60'000};
  static constexpr std::chrono::milliseconds kLeaseMin{1'000};
  static constexpr std::chrono::milliseconds kLeaseMax{24 * 3'600'000};
  static constexpr std::chrono::milliseconds kMarginDefault{5'000};
  static constexpr std::chrono::milliseconds kCallMinDefault{1'000};

  /// For how long others leave the operation alone; by the database's clock. A crash delays the
  /// next attempt by as much. Range 1 second to 1 day.
  std::chrono::milliseconds lease = kLeaseDefault;
  /// A call's deadline lies so long before the lease's end. Shorter than half of the lease.
  std::chrono::milliseconds margin = kMarginDefault;
  /// No call starts with less time than this before its deadline: the lease is renewed before.
  std::chrono::milliseconds call_min = kCallMinDefault;
  /// Renews the lease on the attempt's session while a call runs, from a thread of its own, each
  /// third of the lease. The callbacks must then not use the session.
  bool renew_in_background = false;
  /// For the transactions, the record and its retentions. `wait` is for the file (SQLite).
  ExecuteOptions execute = {};

  /// @throws Error{invalid_config} naming every field that is out of range.
  void validate() const;
};

/// The last transaction of an operation; see Handler.
using FinishHandler = std::function<Reply(Transaction&)>;

/// One attempt at an operation with effects, by one process.
///
/// Nothing is written before the first effect(): until then the key is free. From then on the
/// operation belongs to this attempt, up to the end of its lease; whoever comes after that takes it
/// over with a higher fence, and everything that this attempt would write then is refused with
/// Error{lease_lost}. That protects the rows, not the provider: keep to EffectCall::deadline().
///
/// Threads: not thread-safe; one thread at a time, the same one that uses the session.
/// Crash: the next attempt at the key resumes: recorded outcomes are returned without a call, and
/// an
///        effect without one follows its policies.
class Attempt {
 public:
  /// @throws Error{invalid_argument} and Error{invalid_config} as execute() does.
  Attempt(Session session, const Operation& operation, const AttemptOptions& options = {});
  /// Leaves, if nothing else has ended the attempt.
  ~Attempt();
  Attempt(Attempt&&) noexcept;
  Attempt& operator=(Attempt&&) = delete;

  /// Looks the key up, and takes an operation over whose lease has ended.
  /// @returns nothing if the attempt may continue, otherwise the answer: replayed, mismatch,
  ///          in_progress, unknown or expired.
  std::optional<ExecuteResult> begin();

  /// What is recorded of the operation's effects, in the order in which they were intended.
  const std::vector<EffectOutcome>& effects() const;

  /// Makes sure of `effect`: records the intent and calls, or returns what is recorded, or follows
  /// the policies.
  /// @throws Error{lease_lost} if another attempt has the operation: call begin() of a new one.
  /// @throws Error{invalid_argument} if `effect` breaks a limit, or its name is known with another
  ///         request; nothing is written and nothing called.
  EffectOutcome effect(const Effect& effect);

  /// The last transaction: confirms the effects, runs `handler`, and stores its reply, all in one.
  /// With Verdict::final_failure the compensations of applied effects are appended, the last one
  /// first. With Verdict::retryable_failure nothing is stored but the outcomes.
  /// @throws Error{invalid_argument} if an effect is not settled, or if called twice.
  /// @throws Error{lease_lost} if another attempt has the operation; nothing is committed.
  ExecuteResult finish(const FinishHandler& handler);

  /// Ends the attempt without an outcome: records what is known, and gives the lease back.
  /// @returns in_progress with retry_after, or unknown; `released` if nothing was recorded.
  ExecuteResult leave();

 private:
  friend std::optional<Attempt> resume(Session, std::string_view, const AttemptOptions&,
                                       std::chrono::milliseconds);
  struct Impl;
  explicit Attempt(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// An operation of one effect, in one call: begin(), effect() and finish(), or leave() if the
/// effect does not settle. `handler` also decides about a refused effect: see EffectOutcome::state.
[[nodiscard]] ExecuteResult execute(
    Session session, const Operation& operation, const Effect& effect,
    const std::function<Reply(Transaction&, const EffectOutcome&)>& handler,
    const AttemptOptions& options = {});

/// Takes over an operation of `scope` that is in progress and whose lease ended at least `idle`
/// ago, the oldest first. For a completer: who sent the request may never come again. The raw key
/// is not stored, so the request is to be found by the effects' names, attributes and references.
/// @returns nothing if there is none.
std::optional<Attempt> resume(Session session, std::string_view scope,
                              const AttemptOptions& options = {},
                              std::chrono::milliseconds idle = {});

/// Makes sure of the effects of an operation that was left behind, and finishes it or leaves.
/// `session` is the one that the opener returned last.
using Completion = std::function<ExecuteResult(Session session, Attempt& attempt)>;

/// How complete() works.
struct CompleteOptions {
  static constexpr std::chrono::milliseconds kPollDefault{1'000};
  static constexpr std::chrono::milliseconds kPollMax{3'600'000};

  AttemptOptions attempt = {};
  /// How long ago a lease must have ended: whoever sent the request may come again first.
  std::chrono::milliseconds idle{};
  /// Returns when there is nothing left to complete, instead of waiting for more.
  bool until_none = false;
  /// Returns when a stop is requested, at the latest after the operation at hand.
  std::stop_token stop = {};
  /// How long it waits before it looks again if there was nothing, or after a failure. Range 1 ms
  /// to 1 hour.
  std::chrono::milliseconds poll = kPollDefault;

  /// @throws Error{invalid_config} naming every field that is out of range.
  void validate() const;
};

/// What complete() has done.
struct Completed {
  std::uint64_t finished = 0;     ///< As `complete_one` said: final.
  std::uint64_t in_progress = 0;  ///< Attempts that left one for later.
  std::uint64_t unknown = 0;      ///< Operations that wait for an operator.
  std::uint64_t failed = 0;       ///< Attempts that ended with an exception.
};

/// Takes over one operation of `scope` after the other that was left behind, as resume() does, and
/// calls `complete_one` for each, until a stop is requested or, with `until_none`, there is none.
///
/// After an exception the operation's turn comes again after all others. An Error with
/// Recovery::reconnect or find_out makes it ask `open_session` for a new connection.
///
/// @throws what `open_session` throws the first time, and Error with Recovery::fix_first that does
///         not come from `complete_one`.
/// Threads: it uses one connection at a time, in the calling thread. Any number of threads and
///          processes may complete a scope at once.
/// Crash: the operation at hand is taken over when its lease has ended.
Completed complete(const SessionOpener& open_session, std::string_view scope,
                   const Completion& complete_one, const CompleteOptions& options = {});

}  // namespace outseal
