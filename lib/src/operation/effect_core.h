// One attempt at an operation with effects, as a pure state machine: inputs in, commands out; no
// I/O and no clock of its own. attempt.cc carries its commands out, on a database and a provider;
// the simulation does, on models of both.
//
//   begin()   Load -> [TakeOver ->] Continue | Answer
//   effect()  a new one, or one of which nothing was sent:
//               Commit{intent} -> Call -> Return
//             one that may have been sent, by its policies in their order:
//               rerun          Commit{intent} -> Call -> Return
//               ask            [Commit{lease} ->] Ask -> Return | as a new one | the next policy
//               cancel_by_key  Commit{sending} -> Cancel -> Return | the next policy
//               hand_over      Commit{unknown} -> Return
//   finish()  Finish -> Answer | Commit{give back} -> Answer
//   leave()   Commit{give back} -> Answer
//
// An outcome that Return tells is not committed yet: it travels with the next commit, which is what
// makes N + 1 commits of N effects. A crash before it loses the outcome, and the next attempt finds
// an effect that may have been sent.
//
// Why a request is not sent twice. (1) No request leaves before its intent is committed, so whoever
// comes later knows of it. (2) The intent's commit is a compare-and-set on the fence, so only one
// attempt has sent under it, and all its requests leave before the lease ends: the lease counts
// from before the commit that granted it, and no request starts with less than call_min before the
// deadline. (3) Nobody takes over before the lease has ended by the database's clock, and where a
// request on its way could still do harm, nobody decides before last_sent + max_in_flight. (4) What
// may have been sent is sent again only under the same provider key, and only while the provider
// replays it, or after it was proven that it never arrived.
//
// Times are of a monotonic clock that also counts while the machine sleeps. A time of the
// database's is known by it as an interval: the window is counted from its earliest end, what has
// to be waited for from its latest.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "model/effect_view.h"

namespace outseal::attempt {

using Milliseconds = std::chrono::milliseconds;

/// How long to leave an effect alone whose request got no answer, or was not sent.
inline constexpr Milliseconds kRetryAfter = ExecuteResult::kRetryAfterDefault;

/// What a record says to an attempt that is about to begin.
enum class Standing {
  fresh,      ///< No record: the first effect begins the operation.
  take_over,  ///< In progress, and its lease has ended.
  in_progress,
  replay,
  mismatch,
  unknown,  ///< An effect waits for an operator.
  expired,  ///< Final, and its reply is no longer kept.
};
Standing standing_of(const OperationView& view, const Operation& operation);

/// Whether an attempt with `fence` may write an operation that is in `state` and has `current`.
bool may_write(OperationView::State state, std::int64_t current, std::int64_t fence);
/// Whether the operation's lease ended at least `idle` ago, and no effect of it is handed over.
bool may_take_over(const OperationView& view, Milliseconds idle = {});

/// The key that a provider is given unless an effect brings its own: a UUID, the same for every
/// attempt, because one that changes with them makes each a new request.
std::string provider_key_of(std::string_view key_hash, std::string_view effect);

// --- Commands, each answered by one input --------------------------------------------------------

struct Load {};
struct TakeOver {
  std::int64_t fence;
};
struct Commit {
  Advance advance;
};
struct Call {
  int attempt;
};
struct Ask {};
struct Cancel {};
struct Finish {
  std::optional<std::int64_t> fence;  ///< Nothing: no effect has begun the operation.
  std::vector<Settle> settled;
};

// --- Commands that end a call of the attempt -----------------------------------------------------

struct Continue {};  ///< Of begin(): it is fresh, or ours.
struct Answer {
  ExecuteResult result;  ///< But for its handle.
};
struct Return {
  EffectOutcome outcome;
};
struct Lost {};  ///< Another attempt has the operation.

using Command =
    std::variant<Load, TakeOver, Commit, Call, Ask, Cancel, Finish, Continue, Answer, Return, Lost>;

// --- Inputs --------------------------------------------------------------------------------------

struct Loaded {
  OperationView view;
};
struct TakenOver {
  std::optional<OperationView> view;  ///< Nothing if somebody else was faster.
};
struct Committed {
  bool ours;  ///< False: the fence was another one, and nothing was changed.
};
struct Called {
  CallResult result;
};
struct Asked {
  AskResult result;
};
struct Cancelled {
  CancelResult result;
};
struct Finished {
  std::optional<Reply> reply;  ///< Nothing: the fence was another one.
};

using Input = std::variant<Loaded, TakenOver, Committed, Called, Asked, Cancelled, Finished>;

/// How long an attempt holds its operation; see AttemptOptions.
struct Timing {
  Milliseconds lease;
  Milliseconds margin;
  Milliseconds call_min;
};

/// Threads: Not thread-safe; one thread at a time.
/// Crash: it holds nothing that the next attempt needs, except outcomes that are not committed.
class EffectCore {
 public:
  /// `key_hash` is what the operation is kept under.
  EffectCore(const Timing& timing, std::string key_hash)
      : timing_{timing}, key_hash_{std::move(key_hash)} {}

  // Each begins a call, `now` being the time before its first command is carried out; on() takes
  // the answer to the command before, and gives the next one.

  /// `operation` must live until the command that ends the call.
  Command begin(const Operation& operation, Milliseconds now);
  /// Takes over what the store has found to be left behind.
  Command resume(std::int64_t fence, Milliseconds now);
  /// `effect` must live until the command that ends the call, and be valid.
  /// @throws Error{invalid_argument} if its name is known for something else.
  Command effect(const Effect& effect, Milliseconds now);
  /// @throws Error{invalid_argument} if an effect is not settled.
  Command finish(Milliseconds now);
  Command leave(Milliseconds now);
  /// @throws Error{internal} if `input` answers another command.
  Command on(const Input& input, Milliseconds now);

  /// The last command has failed with an exception, and has changed nothing that is known: the call
  /// is over, and another one may be made. A request that failed so may have arrived.
  void abort(Milliseconds now);

  /// For a call that outlasts its lease: what to commit, and that it was, `before` being the time
  /// before.
  Advance renewal() const;
  void renewed(Milliseconds before, Milliseconds now);

  /// The event that undoes an effect that was applied; it travels with the outcome.
  void set_compensation(std::string_view name, const std::string& event);

  /// What of the provider's last answer could not be kept: for the evidence.
  void note_left_out(std::string text) { left_out_ = std::move(text); }

  /// When the call at hand must have ended.
  Milliseconds deadline() const { return deadline_; }
  bool is_idle() const { return state_ == State::idle; }
  /// Whether the operation is recorded.
  bool has_begun() const { return fence_.has_value(); }
  /// The effect at hand, or that the last call was about.
  const EffectRow& row() const { return known_.at(current_).row; }
  std::vector<EffectOutcome> outcomes() const;
  /// What undoes the applied effects, the last one first.
  std::vector<std::string> compensations() const;

 private:
  enum class State {
    unbegun,
    loading,
    taking_over,
    idle,
    sending,  ///< An intent is being committed.
    calling,
    renewing,  ///< The lease is, for a question.
    asking,
    announcing,  ///< That a cancellation may leave.
    cancelling,
    handing_over,
    finishing,
    leaving,
    over,
  };
  /// A row, with its times by the local clock.
  struct Known {
    EffectRow row;
    bool recorded = false;
    std::optional<Milliseconds> first_sent = {};  ///< At the earliest.
    std::optional<Milliseconds> last_sent = {};   ///< At the latest.
  };

  Command take(const Loaded& loaded, Milliseconds now);
  Command take(const TakenOver& taken, Milliseconds now);
  Command take(const Committed& committed, Milliseconds now);
  Command take(const Called& called, Milliseconds now);
  Command take(const Asked& asked, Milliseconds now);
  Command take(const Cancelled& cancelled, Milliseconds now);
  Command take(const Finished& finished, Milliseconds now);

  Command send(Milliseconds now);
  Command call(Milliseconds now);
  Command follow_policies(Milliseconds now);
  Command next_policy(Milliseconds now);
  Command ask(Milliseconds now);
  Command send_anew(Milliseconds now);
  Command cancel(Milliseconds now);
  template <typename Result>
  Command confirm(const Result& result, std::string_view decided_by, Milliseconds now);
  Command settle(Settle settled);
  Command hand_over(Settle settled, Milliseconds now);
  Command come_back(Milliseconds retry_after);
  Command give_back(ExecuteResult result, Milliseconds now);
  Command commit(State state, Advance advance, Milliseconds now);
  Command finish_call(Command command);

  /// Nothing of the effect was sent, or nothing more of it will leave.
  Settle::Sent without_this() const;
  void add_left_out(Settle& settled);
  void note(Settle::Sent sent, std::string_view decided_by, Milliseconds now);
  bool may_rerun(Milliseconds now) const;
  Milliseconds rerun_end() const;
  bool has_time(Milliseconds now) const;
  /// Whether a request that changes something may be leaving.
  bool may_leave() const { return state_ == State::calling || state_ == State::cancelling; }
  void keep(const OperationView& view, Milliseconds before, Milliseconds after);
  void hold(Milliseconds before, Milliseconds now);
  void require(State state) const;
  void require_idle(std::string_view caller) const;
  void require_same(const Known& known, const std::string& request_hash) const;
  Known& at_hand() { return known_.at(current_); }
  const Known& at_hand() const { return known_.at(current_); }

  const Timing timing_;
  const std::string key_hash_;
  State state_ = State::unbegun;
  Milliseconds given_at_{};  ///< When the command at hand was given.

  std::optional<std::int64_t> fence_;
  std::vector<Known> known_;
  std::vector<Settle> pending_;  ///< To be committed.
  Milliseconds lease_end_{};
  Milliseconds deadline_{};
  Milliseconds retry_after_{};  ///< For whoever comes after leave().
  bool handed_over_ = false;
  std::optional<Answer> answer_;  ///< To be given when the lease is given back.

  // Of the call at hand.
  const Operation* operation_ = nullptr;
  const Effect* effect_ = nullptr;
  std::size_t current_ = 0;               ///< Which of known_.
  std::size_t policy_ = 0;                ///< The next one.
  bool is_rerun_ = false;                 ///< An earlier request is open.
  bool is_known_ = false;                 ///< The provider may have seen the key before.
  std::string left_out_;                  ///< Of the provider's last answer.
  std::string tried_;                     ///< What the policies have come to, for an operator.
  std::optional<CallResult> unrecorded_;  ///< Of a mutant that calls first.
};

}  // namespace outseal::attempt
