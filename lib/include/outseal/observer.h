// Observation: what became of each call, for a service's own metrics, logs and traces.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <variant>

#include "outseal/ids.h"

namespace outseal {

class Error;
enum class Arrival;
enum class EffectState;
enum class HttpDecision;
enum class OperationState;
enum class Outcome;
enum class Verdict;

/// What the observations of all calls have in common.
struct ObservedCall {
  /// From the call to its return or exception, by the steady clock.
  std::chrono::nanoseconds duration{};
  /// Whether it ended with an exception.
  bool threw = false;
  /// That exception if it is an Error, else null: for example an exception of a handler. Error's
  /// code() tells a conflict, a foreign commit and a commit in doubt apart.
  const Error* error = nullptr;
};

/// execute(), with the wait for the key's turn and the handler's own time. The handler's calls of
/// append() and the commit have been observed by themselves before.
struct ExecuteCall : ObservedCall {
  /// Operation::scope. The key is a client's secret, and is not given.
  std::string_view scope;
  /// None if it threw.
  std::optional<Outcome> outcome = {};
  /// Of the reply that was returned, the handler's or the stored one; none without a reply.
  std::optional<Verdict> verdict = {};
  /// How often the key was looked up with the intent to run the handler: more than 1 if another
  /// execution of the key, or on SQLite another writer, was in the way. 0 if it was refused before.
  int attempts = 0;
};

/// begin(), effect(), finish() or leave() of an Attempt; those of the one-call execute() and of
/// complete() as well, before the ExecuteCall of the whole.
struct AttemptCall : ObservedCall {
  enum class Step { begin, effect, finish, leave };
  Step step = Step::begin;
  std::string_view scope = {};            ///< Empty if the attempt was resumed.
  std::string_view effect = {};           ///< Its name, of effect().
  std::optional<EffectState> state = {};  ///< What became of it; none if it threw.
  std::optional<Outcome> outcome = {};    ///< The answer; none if it goes on, or threw.
};

/// A callback of an effect: the provider was called, asked or told to cancel. What follows from the
/// answer is in the AttemptCall behind it.
struct ProviderCall : ObservedCall {
  enum class Step { call, ask, cancel };
  Step step = Step::call;
  std::string_view effect = {};
  std::string_view provider = {};
  int attempt = 0;  ///< The number of the last request that was sent; more than 1: again.
  std::string_view answer =
      {};  ///< The enumerator's name, for example "uncertain"; empty if it threw.
};

/// append(), of one event or many. On PostgreSQL they may still be deferred: see CommitCall.
struct AppendCall : ObservedCall {
  std::size_t events = 0;
};

/// receive() and receive_in_order().
struct ReceiveCall : ObservedCall {
  std::string_view stream;
  /// None if it threw. receive() knows no gap.
  std::optional<Arrival> arrival = {};
};

/// take(), and consume() for each transaction with events.
struct TakeCall : ObservedCall {
  std::string_view stream;
  std::size_t events = 0;  ///< How many were taken; 0 also if it threw.
};

/// Transaction::commit() of a transaction that outseal began, or the commit of execute(). If it
/// threw, the error says whether anything is committed. After Error{constraint} execute() may try
/// again: another execution of the key was faster.
struct CommitCall : ObservedCall {};

/// An error that the destructor of a Transaction found and cannot throw: Error{foreign_commit}, or
/// Error{commit_in_doubt}; the message names events that could not be stored. Without an observer
/// it is one line on stderr.
struct UnthrownError {
  const Error* error = nullptr;  ///< Never null.
};

/// Trouble that consume() met and survived: it tries again, or has set an event aside.
struct ConsumeTrouble {
  std::string_view stream = {};
  std::string_view reason = {};  ///< For a human. A handler's exception may show values of rows.
  const Error* error = nullptr;  ///< What it was if it was no event's fault: connection, conflict.
  EventId event = {};            ///< Whose handler failed; nil if it was one of a batch.
  Position position = {};        ///< Of that event.
  std::uint32_t attempts = 0;    ///< How often that event has been begun.
  bool parked = false;           ///< It is set aside now.
  std::chrono::milliseconds wait{};  ///< Until the next try.
};

/// status(), and each look of a StatusPoller.
struct StatusCall : ObservedCall {
  std::optional<OperationState> state = {};  ///< None if it threw.
};

/// An attempt of run() that has failed and is followed by another one.
struct RetryCall {
  int attempt = 0;                    ///< From 1.
  const Error* error = nullptr;       ///< Null if it was no Error, for example of the opener.
  std::chrono::milliseconds pause{};  ///< Before the next attempt.
};

/// HttpFront's answer to a request, with all that it waited for. What execute() did for it has been
/// observed by itself before. `error` is also set if the answer is `unavailable`.
struct HttpCall : ObservedCall {
  std::string_view scope;
  std::optional<HttpDecision> decision = {};  ///< None if it threw.
  int status = 0;                             ///< The response's; 0 if it threw.
  bool from_cache = false;                    ///< The reply came out of the cache of hot replays.
  bool waited = false;                        ///< It attached to a running execution.
};

/// What an observer is told. Pointers and views in it are valid during its call only.
using Observation =
    std::variant<ExecuteCall, AttemptCall, ProviderCall, AppendCall, ReceiveCall, TakeCall,
                 CommitCall, ConsumeTrouble, StatusCall, RetryCall, HttpCall, UnthrownError>;

/// Is told of each call at its end. Set it in TransactionOptions or ExecuteOptions; it is copied
/// for each transaction, so capture little, for example one reference. append(), receive() and
/// take() tell the observer of their transaction, or of their handle on a joined one.
///
/// ```
/// const outseal::Observer observer = [&metrics](const outseal::Observation& seen) {
///   if (const auto* call = std::get_if<outseal::ExecuteCall>(&seen))
///     metrics.record(call->scope, call->outcome, call->duration);
/// };
/// outseal::execute(session, operation, handler, {.observer = observer});
/// ```
///
/// An empty one costs nothing: no clock is read and nothing is allocated.
///
/// Exceptions that it throws are ignored: they change nothing about the call, which may have
/// committed.
/// Re-entrancy: it must not use the session or the transaction of the call, nor call outseal with
/// them: the call is not over. It may be called while an exception is on its way.
/// Threads: it is called by the thread of the call, before the call returns. One that several
/// threads
///          use is called by them at once, and has to be thread-safe.
/// Crash: a call that a crash interrupts is not told; it may have committed.
using Observer = std::function<void(const Observation&)>;

}  // namespace outseal
