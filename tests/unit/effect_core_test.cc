// The core of attempts: its commands, its deadlines, and what it makes of a record.
#include "operation/effect_core.h"

#include <doctest/doctest.h>

#include "outseal/error.h"
#include "support/mutant.h"

using namespace outseal;
using namespace outseal::attempt;
using namespace outseal::test;
using namespace std::chrono_literals;

namespace {

const Operation kOperation{.scope = "payments", .key = "k", .fingerprint = std::string(32, 'f')};

Effect make_effect(std::vector<Policy> policies = {Policy::rerun}) {
  return {.name = "charge",
          .request = "5",
          .provider = {.name = "pay", .replays = Replays::any, .window = 24h, .margin = 5min},
          .policies = std::move(policies),
          .call = [](EffectCall&) { return CallResult{}; }};
}

OperationView in_progress(Milliseconds lease_left, std::vector<EffectRow> effects = {}) {
  return {.state = OperationView::State::in_progress,
          .key_hash = std::string(32, 'h'),
          .fingerprint = kOperation.fingerprint,
          .fingerprint_version = 1,
          .handle = std::string(16, 'x'),
          .fence = 7,
          .attempts = 1,
          .lease_owner = "me",
          .lease_left = lease_left,
          .reply = {},
          .effects = std::move(effects)};
}

/// A core whose lease is 60 s, whose margin is 5 s, and whose calls take a second at least.
struct Stage {
  EffectCore core{{60s, 5s, 1s}, std::string(32, 'h')};
  Milliseconds now{1'000'000};

  Command begin(const OperationView& view = {}) {
    core.begin(kOperation, now);
    return core.on(Loaded{view}, now);
  }
  template <typename End>
  End get(Command command) {
    REQUIRE(std::holds_alternative<End>(command));
    return std::get<End>(std::move(command));
  }
};

}  // namespace

TEST_CASE("an intent is committed before its request leaves, and its outcome with what follows") {
  Stage s;
  const Effect effect = make_effect();
  s.get<Continue>(s.begin());
  const auto intent = s.get<Commit>(s.core.effect(effect, s.now)).advance;
  CHECK_FALSE(intent.fence.has_value());
  REQUIRE(intent.send.has_value());
  CHECK(intent.send->rerun_for == 24h - 5min);
  CHECK(intent.lease == 60s);
  CHECK(s.get<Call>(s.core.on(Committed{true}, s.now)).attempt == 1);
  const auto outcome =
      s.get<Return>(s.core.on(Called{{.verdict = CallResult::Verdict::applied}}, s.now)).outcome;
  CHECK(outcome.state == EffectState::confirmed);
  const auto finish = s.get<Finish>(s.core.finish(s.now));
  CHECK(finish.fence == 1);
  REQUIRE(finish.settled.size() == 1);
  CHECK(finish.settled[0].state == EffectState::confirmed);
  CHECK(s.get<Answer>(s.core.on(Finished{Reply{}}, s.now)).result.outcome == Outcome::executed);
}

TEST_CASE("a lease counts from before the commit that granted it") {
  Stage s;
  const Effect effect = make_effect();
  s.begin();
  s.core.effect(effect, s.now);
  const Milliseconds before = s.now;
  s.now += 20s;  // The commit took so long, or the machine slept.
  s.get<Call>(s.core.on(Committed{true}, s.now));
  CHECK(s.core.deadline() == before + 55s);
}

TEST_CASE("no call starts with less time than it needs, and then its window has not begun") {
  Stage s;
  const Effect effect = make_effect();
  s.begin();
  s.core.effect(effect, s.now);
  s.now += 54'001ms;
  const auto outcome = s.get<Return>(s.core.on(Committed{true}, s.now)).outcome;
  CHECK(outcome.state == EffectState::intended);
  const auto left = s.get<Commit>(s.core.leave(s.now)).advance;
  CHECK(left.give_back);
  REQUIRE(left.settled.size() == 1);
  CHECK(left.settled[0].state == EffectState::intended);
  CHECK(left.settled[0].sent == Settle::Sent::never);
}

TEST_CASE("a rerun ends with its window, however long the lease is") {
  Stage s;
  const Effect effect = make_effect();
  EffectRow row;
  row.outcome = {.name = "charge"};
  row.request_hash = {};
  s.begin();  // To learn what the row holds.
  auto sent = *s.get<Commit>(s.core.effect(effect, s.now)).advance.send;
  row.request_hash = sent.request_hash;
  row.provider = "pay";
  row.provider_key = sent.provider_key;
  row.last_sent_ago = 10s;

  const auto resumed = [&](Milliseconds first_sent_ago) {
    Stage later;
    row.first_sent_ago = first_sent_ago;
    later.get<TakeOver>(later.begin(in_progress(-1ms, {row})));
    later.get<Continue>(later.core.on(TakenOver{in_progress(60s, {row})}, later.now));
    later.get<Commit>(later.core.effect(effect, later.now));
    return later;
  };
  Stage early = resumed(1h);
  const Milliseconds begun = early.now;
  if (const auto command = early.core.on(Committed{true}, early.now);
      std::holds_alternative<Call>(command))
    CHECK(early.core.deadline() == begun + 55s);
  Stage late = resumed(24h - 5min - 10s);
  late.get<Call>(late.core.on(Committed{true}, late.now));
  CHECK(late.core.deadline() == begun + 10s);
  late.core.renewed(late.now, late.now);
  CHECK(late.core.deadline() == begun + 10s);
}

TEST_CASE("what a record says to an attempt") {
  CHECK(standing_of({}, kOperation) == Standing::fresh);
  CHECK(standing_of(in_progress(1ms), kOperation) == Standing::in_progress);
  CHECK(standing_of(in_progress(0ms), kOperation) == Standing::take_over);
  OperationView view = in_progress(1ms);
  view.fingerprint[0] = 'g';
  CHECK(standing_of(view, kOperation) == Standing::mismatch);
  view = in_progress(0ms);
  view.state = OperationView::State::failed;
  CHECK(standing_of(view, kOperation) == Standing::expired);
  view.reply = Reply{};
  CHECK(standing_of(view, kOperation) == Standing::replay);
  for (const EffectState state : {EffectState::unknown, EffectState::disputed}) {
    EffectRow row;
    row.outcome.state = state;
    view = in_progress(0ms, {row});
    CHECK(standing_of(view, kOperation) == Standing::unknown);
    CHECK_FALSE(may_take_over(view));
    view.state = OperationView::State::unknown;
    CHECK(standing_of(view, kOperation) == Standing::unknown);
    view.effects[0].outcome.state = EffectState::applied;  // An operator has decided.
    CHECK(standing_of(view, kOperation) == Standing::take_over);
  }
}

TEST_CASE("an attempt whose fence is old is told, whatever it was about to do") {
  Stage s;
  const Effect effect = make_effect();
  s.begin();
  s.core.effect(effect, s.now);
  s.get<Lost>(s.core.on(Committed{false}, s.now));
  CHECK_THROWS_AS(s.core.effect(effect, s.now), Error);
  CHECK_THROWS_AS(s.core.finish(s.now), Error);
  CHECK_THROWS_AS(s.core.leave(s.now), Error);
  CHECK(may_write(OperationView::State::in_progress, 7, 7));
  CHECK_FALSE(may_write(OperationView::State::in_progress, 8, 7));
  CHECK_FALSE(may_write(OperationView::State::unknown, 7, 7));
}

TEST_CASE("a provider key is a UUID of the operation and the effect, and of nothing else") {
  const std::string key = provider_key_of("operation", "charge");
  CHECK(EventId::parse(key).has_value());
  CHECK(key[14] == '8');
  CHECK(key == provider_key_of("operation", "charge"));
  CHECK(key != provider_key_of("operation", "refund"));
  CHECK(key != provider_key_of("operationc", "harge"));
  // An operation of 48 bits of time and a hash.
  const std::string timed =
      provider_key_of("\x01\x93\xaa\xbb\xcc\xdd" + std::string(32, 'h'), "charge");
  CHECK(timed.starts_with("0193aabb-ccdd-8"));
}

TEST_CASE("an answer to a command that was not given is refused") {
  Stage s;
  CHECK_THROWS_AS(s.core.on(Asked{}, s.now), Error);
  s.begin();
  CHECK_THROWS_AS(s.core.on(Called{}, s.now), Error);
}

#ifdef OUTSEAL_FAULTS
TEST_CASE("the guards of the core are missed by its tests") {
  CHECK_FALSE(passes_with_mutant("no_intent_before_call", "an intent is committed before*"));
  CHECK_FALSE(passes_with_mutant("lease_by_local_clock", "a lease counts from before*"));
  CHECK_FALSE(passes_with_mutant("late_call", "no call starts with less*"));
  CHECK_FALSE(passes_with_mutant("window_ignored", "a rerun ends with its window*"));
  CHECK_FALSE(passes_with_mutant("no_fence", "an attempt whose fence is old*"));
  CHECK_FALSE(passes_with_mutant("lease_ignored", "what a record says*"));
}
#endif
