// Operations with effects: their states, commits, takeovers and what a resumed one finds.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conformance/effect_helpers.h"
#include "support/mutant.h"

using namespace outseal;
using namespace outseal::test;

TEST_CASE("an operation with an effect is executed once and replayed") {
  EffectFixture f;
  const ExecuteResult first = f.execute(f.provider.effect(), {.status = 201, .body = "paid"});
  CHECK(first.outcome == Outcome::executed);
  CHECK(f.state() == "succeeded");
  CHECK(f.effect_state() == "confirmed");
  CHECK(f.text("SELECT external_ref FROM outseal_effect") == "ch_1");
  const ExecuteResult again = f.execute(f.provider.effect());
  CHECK(again.outcome == Outcome::replayed);
  REQUIRE(again.reply.has_value());
  CHECK(again.reply->status == 201);
  CHECK(again.reply->body == "paid");
  CHECK(f.provider.keys.size() == 1);
  CHECK(balance(*f.session, 1) == 95);
  CHECK(count(*f.session, "outseal_outbox") == 1);
}

TEST_CASE("an operation of N effects makes N + 1 commits") {
  for (const int effects : {0, 1, 2, 3}) {
    CAPTURE(effects);
    EffectFixture f;
    int commits = 0;
    f.options.execute.observer = [&](const Observation& seen) {
      commits += std::holds_alternative<CommitCall>(seen) ? 1 : 0;
    };
    Attempt attempt = f.attempt();
    CHECK(commits == 0);
    for (int i = 0; i < effects; ++i) {
      const auto effect = f.provider.effect({Policy::rerun}, "charge-" + std::to_string(i));
      CHECK(attempt.effect(effect).state == EffectState::confirmed);
      CHECK(commits == i + 1);
    }
    CHECK(f.finish(attempt).outcome == Outcome::executed);
    CHECK(commits == effects + 1);
    CHECK(f.provider.keys.size() == static_cast<std::size_t>(effects));
    CHECK(f.state() == "succeeded");
  }
}

TEST_CASE("each effect has a provider key of its own, the same for every attempt") {
  EffectFixture f;
  f.leave_uncertain();
  CHECK(f.execute(f.provider.effect()).outcome == Outcome::executed);
  REQUIRE(f.provider.keys.size() == 2);
  CHECK(f.provider.keys[0] == f.provider.keys[1]);
  CHECK(f.provider.keys[0].size() == 36);
  CHECK(f.execute(f.provider.effect(), {}, "k2").outcome == Outcome::executed);
  CHECK(f.provider.keys[2] != f.provider.keys[0]);
}

TEST_CASE("a resumed operation returns what is recorded and calls nothing for it") {
  EffectFixture f;
  {
    Attempt attempt = f.attempt();
    CHECK(attempt.effect(f.provider.effect({Policy::rerun}, "hold")).settled());
    CHECK(attempt.leave().outcome == Outcome::in_progress);
  }
  Attempt attempt = f.attempt();
  REQUIRE(attempt.effects().size() == 1);
  CHECK(attempt.effects()[0].reference == "ch_1");
  const auto known = attempt.effect(f.provider.effect({Policy::rerun}, "hold"));
  CHECK(known.state == EffectState::confirmed);
  CHECK(known.reference == "ch_1");
  CHECK(known.response == "answer");
  CHECK(known.attempts == 1);
  CHECK(known.amount == Amount{500, "EUR"});
  CHECK(f.provider.keys.size() == 1);
  CHECK(f.finish(attempt).outcome == Outcome::executed);
  CHECK(f.text("SELECT CAST(attempts AS varchar(9)) FROM outseal_idempotency") == "2");
}

TEST_CASE("an operation in progress is left alone until its lease has ended") {
  EffectFixture f;
  Attempt attempt = f.attempt();
  CHECK(attempt.effect(f.provider.effect()).settled());
  const auto other = f.store->session();
  Attempt second{*other, charge("k1")};
  const auto known = second.begin();
  REQUIRE(known.has_value());
  CHECK(known->outcome == Outcome::in_progress);
  CHECK(known->retry_after > 50s);
  CHECK(known->retry_after <= 60s);
  CHECK_FALSE(known->reply.has_value());
  Attempt third{*other, charge("k1", "amount=6")};
  CHECK(third.begin()->outcome == Outcome::mismatch);
  CHECK(f.finish(attempt).outcome == Outcome::executed);
}

TEST_CASE("an attempt whose operation was taken over writes nothing any more") {
  EffectFixture f;
  Attempt old = f.attempt();
  CHECK(old.effect(f.provider.effect()).settled());
  f.pass(EffectFixture::kLater);
  const auto other = f.store->session();
  Attempt taken{*other, charge("k1")};
  REQUIRE_FALSE(taken.begin().has_value());
  CHECK(f.text("SELECT CAST(fence AS varchar(9)) FROM outseal_idempotency") == "2");

  SUBCASE("finish") {
    CHECK(code_of([&] { f.finish(old); }) == ErrorCode::lease_lost);
  }
  SUBCASE("another effect") {
    CHECK(code_of([&] { old.effect(f.provider.effect({Policy::rerun}, "two")); }) ==
          ErrorCode::lease_lost);
    CHECK(f.provider.keys.size() == 1);
  }
  SUBCASE("leave") {
    CHECK(code_of([&] { old.leave(); }) == ErrorCode::lease_lost);
  }
  CHECK(balance(*f.session, 1) == 100);
  CHECK(count(*f.session, "outseal_effect") == 1);
  CHECK(f.effect_state() == "intended");  // What the old one knew, it alone knew.
  CHECK(code_of([&] { f.finish(old); }) == ErrorCode::invalid_argument);
  CHECK(taken.effect(f.provider.effect()).settled());
  CHECK(taken.finish(charging(*other, {})).outcome == Outcome::executed);
  CHECK(balance(*f.session, 1) == 95);
}

TEST_CASE("two attempts that begin at once: one has the operation, the other is told") {
  EffectFixture f;
  Attempt first = f.attempt();
  const auto other = f.store->session();
  Attempt second{*other, charge("k1")};
  REQUIRE_FALSE(second.begin().has_value());  // Nothing is written before the first effect.
  CHECK(first.effect(f.provider.effect()).settled());
  CHECK(code_of([&] { second.effect(f.provider.effect()); }) == ErrorCode::lease_lost);
  CHECK(f.provider.keys.size() == 1);
  const auto done = outseal::execute(*other, charge("k1"), f.provider.effect(),
                                     [](Transaction&, const EffectOutcome&) { return Reply{}; });
  CHECK(done.outcome == Outcome::in_progress);
  CHECK(f.finish(first).outcome == Outcome::executed);
}

TEST_CASE("an operation without effects is free until it finishes, and then final") {
  EffectFixture f;
  Attempt attempt = f.attempt();
  CHECK(attempt.leave().outcome == Outcome::released);
  CHECK(count(*f.session, "outseal_idempotency") == 0);
  Attempt second = f.attempt();
  Attempt third = f.attempt();
  CHECK(f.finish(second).outcome == Outcome::executed);
  CHECK(code_of([&] { f.finish(third); }) == ErrorCode::lease_lost);
  CHECK(balance(*f.session, 1) == 95);
}

TEST_CASE("a long call keeps its operation by renewing the lease") {
  EffectFixture f;
  const auto other = f.store->session();
  Effect effect = f.provider.effect();
  effect.call = [&](EffectCall& call) {
    CHECK(call.left() > 50s);
    CHECK(call.left() <= 55s);
    f.pass(50s);
    call.renew();
    CHECK(call.left() > 54s);
    f.pass(50s);
    Attempt second{*other, charge("k1")};
    CHECK(second.begin()->outcome == Outcome::in_progress);
    return CallResult{.verdict = Verdicts::applied};
  };
  CHECK(f.execute(effect).outcome == Outcome::executed);
}

TEST_CASE("a call that lost its operation is told by renew") {
  EffectFixture f;
  const auto other = f.store->session();
  Effect effect = f.provider.effect();
  effect.call = [&](EffectCall& call) {
    f.pass(EffectFixture::kLater);
    Attempt second{*other, charge("k1")};
    CHECK_FALSE(second.begin().has_value());
    CHECK(code_of([&] { call.renew(); }) == ErrorCode::lease_lost);
    CHECK(second.effect(f.provider.effect()).settled());
    CHECK(second.finish(charging(*other, {.body = "second"})).outcome == Outcome::executed);
    return CallResult{.verdict = Verdicts::applied};
  };
  // The answer of the one that was faster.
  const auto result = f.execute(effect, {.body = "first"});
  CHECK(result.outcome == Outcome::replayed);
  CHECK(result.reply->body == "second");
  CHECK(balance(*f.session, 1) == 95);
}

TEST_CASE("the lease is renewed in the background while a call runs") {
  EffectFixture f;
  f.options.lease = 1s;
  f.options.margin = 100ms;
  f.options.call_min = 100ms;
  f.options.renew_in_background = true;
  const auto other = f.store->session();
  Effect effect = f.provider.effect();
  effect.call = [&](EffectCall&) {
    // Until the lease has been renewed three times.
    const auto until = [&] {
      long until_ms = 0;
      *other << in_dialect(*other, other->get_backend_name() == "sqlite3"
                                       ? "SELECT lease_until FROM outseal_idempotency"
                                       : "SELECT (extract(epoch FROM lease_until) * 1000)::bigint"
                                         " FROM outseal_idempotency"),
          soci::into(until_ms);
      return until_ms;
    };
    long last = until();
    for (int renewals = 0; renewals < 3;) {
      const long now = until();
      renewals += now != last ? 1 : 0;
      last = now;
    }
    return CallResult{.verdict = Verdicts::applied};
  };
  CHECK(f.execute(effect).outcome == Outcome::executed);
}

TEST_CASE("resume takes the operation that was left first, and only of its scope") {
  EffectFixture f;
  CHECK_FALSE(resume(*f.session, "payments").has_value());
  for (const char* key : {"k1", "k2"}) {
    Attempt attempt = f.attempt(key);
    CHECK(attempt.effect(f.provider.effect()).settled());
    CHECK(attempt.leave().outcome == Outcome::in_progress);
    f.pass(1s);
  }
  CHECK_FALSE(resume(*f.session, "refunds").has_value());
  CHECK_FALSE(resume(*f.session, "payments", f.options, 1h).has_value());
  for (int i = 0; i < 2; ++i) {
    auto attempt = resume(*f.session, "payments");
    REQUIRE(attempt.has_value());
    CHECK(code_of([&] { attempt->begin(); }) == ErrorCode::invalid_argument);
    REQUIRE(attempt->effects().size() == 1);
    CHECK(attempt->effects()[0].settled());
    CHECK(f.finish(*attempt).outcome == Outcome::executed);
  }
  CHECK_FALSE(resume(*f.session, "payments").has_value());
  CHECK(f.execute(f.provider.effect()).outcome == Outcome::replayed);
  CHECK(f.provider.keys.size() == 2);
}

TEST_CASE("complete finishes what was left behind, and passes over what fails") {
  EffectFixture f;
  for (const char* key : {"k1", "k2", "k3"}) {
    Attempt attempt = f.attempt(key);
    CHECK(attempt.effect(f.provider.effect()).settled());
    CHECK(attempt.leave().outcome == Outcome::in_progress);
  }
  std::unique_ptr<soci::session> own;
  const SessionOpener open = [&]() -> Session {
    own = f.store->session();
    return *own;
  };
  int failures = 1;
  const auto done = complete(open, "payments",
                             [&](Session, Attempt& attempt) {
                               CHECK(attempt.effect(f.provider.effect()).settled());
                               if (failures-- > 0) throw std::runtime_error{"not now"};
                               return attempt.finish(charging(*own, {}));
                             },
                             {.until_none = true, .poll = 1ms});
  CHECK(done.finished == 3);
  CHECK(done.failed == 1);
  CHECK(f.provider.keys.size() == 3);
  CHECK(balance(*f.session, 1) == 85);
}

namespace {

/// What a process does that is stopped beyond its lease: before its call, or in it.
/// @returns 0 if it has neither called in vain nor written.
int stopped_process(const StoreUnderTest& store, bool in_call) {
  const auto session = store.session();
  bool stops = !in_call;
  int calls = 0;
  AttemptOptions options{.lease = 1s, .margin = 100ms, .call_min = 100ms};
  options.execute.observer = [&](const Observation& seen) {
    if (std::holds_alternative<CommitCall>(seen) && std::exchange(stops, false)) ::raise(SIGSTOP);
  };
  Provider provider;
  Effect effect = provider.effect();
  effect.call = [&](EffectCall& call) -> CallResult {
    ++calls;
    if (in_call) ::raise(SIGSTOP);
    return {.verdict = call.left() > 0ms ? Verdicts::applied : Verdicts::not_sent};
  };
  Attempt attempt{*session, charge("k1"), options};
  if (attempt.begin()) return 1;
  const EffectOutcome outcome = attempt.effect(effect);
  if (outcome.settled() || calls != (in_call ? 1 : 0)) return 2;
  try {
    attempt.leave();
  } catch (const Error& error) {
    return error.code() == ErrorCode::lease_lost ? 0 : 3;
  }
  return 4;
}

}  // namespace

TEST_CASE("a process that is stopped beyond its lease neither calls nor writes") {
  for (const bool in_call : {false, true}) {
    CAPTURE(in_call);
    const auto store = make_store();
    const pid_t child = ::fork();
    if (child == 0) ::_exit(stopped_process(*store, in_call));
    int status = 0;
    REQUIRE(::waitpid(child, &status, WUNTRACED) == child);
    REQUIRE(WIFSTOPPED(status));
    const auto session = store->session();
    Provider provider;
    const auto run = [&] {
      return outseal::execute(
                 *session, charge("k1"), provider.effect(),
                 [&](Transaction& tx, const EffectOutcome&) { return charging(*session, {})(tx); })
          .outcome;
    };
    Outcome outcome = run();
    for (; outcome == Outcome::in_progress; outcome = run()) {
    }
    CHECK(outcome == Outcome::executed);
    ::kill(child, SIGCONT);
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
    CHECK(balance(*session, 1) == 95);
    CHECK(count(*session, "outseal_outbox") == 1);
  }
}

#ifdef OUTSEAL_FAULTS

TEST_CASE("without a fence, a lease or a deadline an operation takes effect twice") {
  CHECK_FALSE(passes_with_mutant("no_fence", "an attempt whose operation was taken over*"));
  CHECK_FALSE(passes_with_mutant("lease_ignored", "an operation in progress is left alone*"));
  CHECK_FALSE(passes_with_mutant("late_call", "a process that is stopped beyond*"));
}
#endif
