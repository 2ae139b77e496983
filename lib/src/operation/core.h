// One execution of an operation, as a pure state machine: inputs in, commands out; no I/O and no
// clock of its own. execute.cc carries its commands out.
//
//   claiming -> running -> (undoing) -> completing -> done
//    ^    ^                                 |
//    | waiting: another has the key's turn  |
//    |______________________________________|  overtaken: another's record was faster
//
// A claim that finds a record ends with what that says. An error, or an exception of the handler,
// ends the execution in any state: nothing of it is committed, and the key is free.
#pragma once

#include <chrono>
#include <optional>
#include <variant>

#include "outseal/idempotency.h"

namespace outseal::operation {

using Milliseconds = std::chrono::milliseconds;

enum class State {
  claiming,    ///< Begins a transaction, takes the key's turn, looks the key up.
  waiting,     ///< Nothing is known of the key yet, and somebody else has its turn.
  running,     ///< The turn is ours; the handler runs.
  undoing,     ///< A final failure keeps the turn and loses what the handler did.
  completing,  ///< The record is written, and the transaction commits.
  done,
};

/// What a claim found.
enum class Found {
  free,        ///< No record that counts, and the turn is ours.
  taken,       ///< No record, and another execution of the key has the turn.
  busy,        ///< No record, and nobody can tell whether who has the turn executes this key.
  unfinished,  ///< A record whose effects are not finished.
  unknown,     ///< A record with an effect of which nobody knows how it ended.
  finished,    ///< A record with a reply.
  expired,     ///< A record whose reply's retention has passed.
  mismatch,    ///< A record of another request.
};

/// What a record is answered with; nothing without one.
std::optional<Outcome> answer_of(Found found);

// --- Commands, each answered by one input --------------------------------------------------------

struct Claim {
  Milliseconds left;  ///< Of the time to wait for the turn.
};
struct Wait {
  Milliseconds left;
};
struct Run {};
struct Undo {};
struct Complete {};

// --- Commands that end it ------------------------------------------------------------------------

struct Answer {
  Outcome outcome;
};
struct Fail {
  enum class Why {
    busy,    ///< The turn did not come, and nobody can tell whether this key is being executed.
    hidden,  ///< There is a record, as each attempt to write one shows, but it cannot be seen.
  };
  Why why;
};

using Command = std::variant<Claim, Wait, Run, Undo, Complete, Answer, Fail>;

// --- Inputs --------------------------------------------------------------------------------------

struct Claimed {
  Found found;
};
struct Waited {
  bool came;  ///< Whether the turn may be ours by now.
};
struct Replied {
  Verdict verdict;
};
struct Undone {};
struct Completed {
  bool stored;  ///< False: another execution's record was faster, and nothing was committed.
};

using Input = std::variant<Claimed, Waited, Replied, Undone, Completed>;

/// Threads: Not thread-safe; one thread at a time.
/// Crash: it holds nothing that is not in the database; the next execution of the key finds it.
class Core {
 public:
  /// How often another execution's record may be faster. That takes one whose record commits
  /// between our look-up's snapshot and our turn, or a database that does not show it to us.
  static constexpr int kOvertakenMax = 10;

  /// Waits for the key's turn for at most `wait`; `now` is of any steady clock.
  Core(Milliseconds wait, Milliseconds now) : deadline_{now + wait} {}

  /// The first command.
  Command start(Milliseconds now) { return claim(now); }
  /// The next command, after the answer to the one before.
  /// @throws Error{internal} if it answers another one.
  Command on(const Input& input, Milliseconds now);

  State state() const { return state_; }

 private:
  Command take(const Claimed& claimed, Milliseconds now);
  Command take(const Waited& waited, Milliseconds now);
  Command take(const Replied& replied, Milliseconds now);
  Command take(const Undone& undone, Milliseconds now);
  Command take(const Completed& completed, Milliseconds now);

  Command claim(Milliseconds now);
  Command give_up();
  Command enter(State state, Command command);
  void require(State state) const;

  Milliseconds deadline_;
  State state_ = State::claiming;
  Found found_ = Found::free;  ///< By the last claim.
  int overtaken_ = 0;
};

}  // namespace outseal::operation
