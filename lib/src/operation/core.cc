#include "operation/core.h"

#include "outseal/error.h"

namespace outseal::operation {

std::optional<Outcome> answer_of(Found found) {
  switch (found) {
    case Found::unfinished:
      return Outcome::in_progress;
    case Found::unknown:
      return Outcome::unknown;
    case Found::finished:
      return Outcome::replayed;
    case Found::expired:
      return Outcome::expired;
    case Found::mismatch:
      return Outcome::mismatch;
    case Found::free:
    case Found::taken:
    case Found::busy:
      break;
  }
  return std::nullopt;
}

Command Core::on(const Input& input, Milliseconds now) {
  return std::visit([&](const auto& each) { return take(each, now); }, input);
}

Command Core::take(const Claimed& claimed, Milliseconds now) {
  require(State::claiming);
  found_ = claimed.found;
  if (found_ == Found::free) return enter(State::running, Run{});
  if (const auto outcome = answer_of(found_)) return enter(State::done, Answer{*outcome});
  if (now >= deadline_) return give_up();
  return enter(State::waiting, Wait{deadline_ - now});
}

Command Core::take(const Waited& waited, Milliseconds now) {
  require(State::waiting);
  return waited.came ? claim(now) : give_up();
}

Command Core::take(const Replied& replied, Milliseconds /*now*/) {
  require(State::running);
  switch (replied.verdict) {
    case Verdict::success:
      return enter(State::completing, Complete{});
    case Verdict::final_failure:
      return enter(State::undoing, Undo{});
    case Verdict::retryable_failure:
      break;
  }
  return enter(State::done, Answer{Outcome::released});
}

Command Core::take(const Undone& /*undone*/, Milliseconds /*now*/) {
  require(State::undoing);
  return enter(State::completing, Complete{});
}

Command Core::take(const Completed& completed, Milliseconds now) {
  require(State::completing);
  if (completed.stored) return enter(State::done, Answer{Outcome::executed});
  if (++overtaken_ > kOvertakenMax) return enter(State::done, Fail{Fail::Why::hidden});
  return claim(now);
}

Command Core::claim(Milliseconds now) { return enter(State::claiming, Claim{deadline_ - now}); }

Command Core::give_up() {
  if (found_ == Found::busy) return enter(State::done, Fail{Fail::Why::busy});
  return enter(State::done, Answer{Outcome::in_progress});
}

Command Core::enter(State state, Command command) {
  state_ = state;
  return command;
}

void Core::require(State state) const {
  if (state_ != state)
    throw Error{ErrorCode::internal, "execute", "an answer to a command that was not given"};
}

}  // namespace outseal::operation
