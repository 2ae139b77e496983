// The decisions of one execution: each state, and what every answer in it leads to.
#include <doctest/doctest.h>

#include <initializer_list>
#include <string>
#include <vector>

#include "operation/core.h"
#include "outseal/error.h"

using namespace outseal;
using namespace outseal::operation;
using namespace std::chrono_literals;

namespace {

std::string word(const Claim& claim) { return "claim " + std::to_string(claim.left.count()); }
std::string word(const Wait& wait) { return "wait " + std::to_string(wait.left.count()); }
std::string word(const Run&) { return "run"; }
std::string word(const Undo&) { return "undo"; }
std::string word(const Complete&) { return "complete"; }
std::string word(const Answer& answer) { return std::string{name_of(answer.outcome)}; }
std::string word(const Fail& fail) { return fail.why == Fail::Why::busy ? "busy" : "hidden"; }

/// Commands in words, of an execution that waits for 100 ms; each answer comes 10 ms later.
class Stage {
 public:
  explicit Stage(Milliseconds wait = 100ms) : core_{wait, now_} { note(core_.start(now_)); }

  Stage& on(const Input& input) {
    now_ += 10ms;
    note(core_.on(input, now_));
    return *this;
  }
  const std::string& last() const { return commands_.back(); }
  State state() const { return core_.state(); }

 private:
  void note(const Command& command) {
    commands_.push_back(std::visit([](const auto& each) { return word(each); }, command));
  }

  Milliseconds now_{1'000'000};
  Core core_;
  std::vector<std::string> commands_;
};

}  // namespace

TEST_CASE("a free key runs the handler, and what it decides is recorded, undone or released") {
  Stage stage;
  CHECK(stage.last() == "claim 100");
  CHECK(stage.on(Claimed{Found::free}).last() == "run");
  CHECK(stage.state() == State::running);
  CHECK(stage.on(Replied{Verdict::success}).last() == "complete");
  CHECK(stage.on(Completed{true}).last() == "executed");
  CHECK(stage.state() == State::done);

  Stage failing;
  failing.on(Claimed{Found::free});
  CHECK(failing.on(Replied{Verdict::final_failure}).last() == "undo");
  CHECK(failing.on(Undone{}).last() == "complete");
  CHECK(failing.on(Completed{true}).last() == "executed");

  Stage retryable;
  retryable.on(Claimed{Found::free});
  CHECK(retryable.on(Replied{Verdict::retryable_failure}).last() == "released");
  CHECK(retryable.state() == State::done);
}

TEST_CASE("a known key is answered at once") {
  CHECK(Stage{}.on(Claimed{Found::finished}).last() == "replayed");
  CHECK(Stage{}.on(Claimed{Found::mismatch}).last() == "mismatch");
  CHECK(Stage{}.on(Claimed{Found::expired}).last() == "expired");
  CHECK(Stage{}.on(Claimed{Found::unknown}).last() == "unknown");
  CHECK(Stage{}.on(Claimed{Found::unfinished}).last() == "in_progress");
}

TEST_CASE("a turn that somebody else has is waited for until the time is up") {
  for (const Found found : {Found::taken, Found::busy}) {
    Stage stage;
    CHECK(stage.on(Claimed{found}).last() == "wait 90");
    CHECK(stage.state() == State::waiting);
    CHECK(stage.on(Waited{true}).last() == "claim 80");
    CHECK(stage.on(Claimed{found}).last() == "wait 70");
    CHECK(stage.on(Waited{true}).last() == "claim 60");
    CHECK(stage.on(Claimed{Found::finished}).last() == "replayed");
  }
  Stage won;
  won.on(Claimed{Found::taken}).on(Waited{true});
  CHECK(won.on(Claimed{Found::free}).last() == "run");
}

TEST_CASE("a turn that does not come is in progress, or busy if nobody knows with what") {
  for (const Milliseconds wait : {0ms, 10ms})  // Nothing is left when the first claim has failed.
    CHECK(Stage{wait}.on(Claimed{Found::taken}).last() == "in_progress");
  CHECK(Stage{}.on(Claimed{Found::taken}).on(Waited{false}).last() == "in_progress");
  CHECK(Stage{}.on(Claimed{Found::busy}).on(Waited{false}).last() == "busy");
  CHECK(Stage{10ms}.on(Claimed{Found::busy}).last() == "busy");
}

TEST_CASE("an execution that was overtaken claims again, and gives up on a record it cannot see") {
  Stage stage;
  for (int time = 0; time < Core::kOvertakenMax; ++time) {
    stage.on(Claimed{Found::free}).on(Replied{Verdict::success});
    CHECK(stage.on(Completed{false}).last().starts_with("claim"));
  }
  stage.on(Claimed{Found::free}).on(Replied{Verdict::success});
  CHECK(stage.on(Completed{false}).last() == "hidden");

  Stage replaying;
  replaying.on(Claimed{Found::free}).on(Replied{Verdict::success}).on(Completed{false});
  CHECK(replaying.on(Claimed{Found::finished}).last() == "replayed");
}

TEST_CASE("an answer to a command that was not given is an error") {
  const std::vector<Input> inputs{Claimed{Found::free}, Waited{true}, Replied{Verdict::success},
                                  Undone{}, Completed{true}};
  for (std::size_t first = 1; first < inputs.size(); ++first)
    CHECK_THROWS_AS(Stage{}.on(inputs[first]), Error);
  Stage done;
  done.on(Claimed{Found::finished});
  for (const Input& input : inputs) CHECK_THROWS_AS(done.on(input), Error);
}
