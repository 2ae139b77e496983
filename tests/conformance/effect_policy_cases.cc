// What is done about an effect that may have been sent: policies, answers and their times.
#include "conformance/effect_helpers.h"
#include "support/mutant.h"

using namespace outseal;
using namespace outseal::test;

TEST_CASE("an uncertain effect is sent again inside its window and not behind it") {
  for (const auto& [age, again] : {std::pair{23h + 50min, true}, std::pair{23h + 56min, false}}) {
    EffectFixture f;
    f.leave_uncertain({Policy::rerun});
    f.pass(age);
    const auto result = f.execute(f.provider.effect({Policy::rerun}));
    CHECK(result.outcome == (again ? Outcome::executed : Outcome::unknown));
    CHECK(f.provider.keys.size() == (again ? 2 : 1));
    CHECK(f.effect_state() == (again ? "confirmed" : "unknown"));
    CHECK(f.state() == (again ? "succeeded" : "unknown"));
  }
}

TEST_CASE("the window begins with the first request, however often it is sent") {
  EffectFixture f;
  f.leave_uncertain();
  f.pass(20h);
  f.leave_uncertain();
  CHECK(f.provider.keys.size() == 2);
  f.pass(4h);
  CHECK(f.execute(f.provider.effect({Policy::rerun})).outcome == Outcome::unknown);
  CHECK(f.provider.keys.size() == 2);
}

TEST_CASE("rerun needs a provider that replays what the effect needs") {
  for (const Replays replays : {Replays::nothing, Replays::success, Replays::any}) {
    for (const Replays needs : {Replays::success, Replays::any}) {
      EffectFixture f;
      f.provider.profile.replays = replays;
      if (replays == Replays::nothing) f.provider.profile.window = 0s;
      f.leave_uncertain();
      Effect effect = f.provider.effect();
      effect.rerun_needs = needs;
      const bool may = replays >= needs;
      CHECK(f.execute(effect).outcome == (may ? Outcome::executed : Outcome::unknown));
      CHECK(f.provider.keys.size() == (may ? 2 : 1));
    }
  }
}

TEST_CASE("an effect whose policy is to hand over is never sent twice") {
  EffectFixture f;
  f.leave_uncertain({Policy::hand_over});
  for (int i = 0; i < 3; ++i)
    CHECK(f.execute(f.provider.effect({Policy::hand_over})).outcome == Outcome::unknown);
  CHECK(f.provider.keys.size() == 1);
  CHECK(f.state() == "unknown");
  CHECK_FALSE(resume(*f.session, "payments").has_value());
}

TEST_CASE("each answer to a question leads where it must") {
  EffectFixture f;
  f.provider.profile.replays = Replays::nothing;
  f.provider.profile.window = 0s;
  const std::vector<Policy> policies{Policy::rerun, Policy::ask, Policy::hand_over};
  f.leave_uncertain(policies);
  AskResult& answer = f.provider.ask_answers;
  const auto run = [&] { return f.execute(f.provider.effect(policies)); };

  SUBCASE("applied") {
    answer = {.answer = Answers::applied, .reference = "ch_x", .amount = Amount{500, "EUR"}};
    CHECK(run().outcome == Outcome::executed);
    CHECK(f.text("SELECT external_ref FROM outseal_effect") == "ch_x");
    CHECK(f.text("SELECT decided_by FROM outseal_effect") == "ask");
    CHECK(f.provider.keys.size() == 1);
  }
  SUBCASE("applied with another amount") {
    answer = {.answer = Answers::applied, .amount = Amount{400, "EUR"}};
    CHECK(run().outcome == Outcome::unknown);
    CHECK(f.effect_state() == "disputed");
    CHECK(f.state() == "unknown");
    CHECK(balance(*f.session, 1) == 100);
  }
  SUBCASE("proven not to be applied: it is sent again, with the same key") {
    answer = {.answer = Answers::not_applied_proven};
    CHECK(run().outcome == Outcome::executed);
    REQUIRE(f.provider.keys.size() == 2);
    CHECK(f.provider.keys[0] == f.provider.keys[1]);
  }
  SUBCASE("not found is no proof before its time") {
    answer = {.answer = Answers::not_found_yet};
    const auto early = run();
    CHECK(early.outcome == Outcome::in_progress);
    CHECK(early.retry_after > 8min);
    CHECK(early.retry_after <= 10min);
    CHECK(f.provider.keys.size() == 1);
    CHECK(f.effect_state() == "intended");
    CHECK(run().outcome == Outcome::in_progress);  // And nobody comes back before.
    CHECK(f.provider.asked == 1);
    f.pass(10min);
    CHECK(run().outcome == Outcome::executed);
    CHECK(f.provider.keys.size() == 2);
  }
  SUBCASE("cannot tell: the next policy") {
    answer = {.answer = Answers::cannot_tell};
    CHECK(run().outcome == Outcome::unknown);
    CHECK(f.text("SELECT evidence FROM outseal_effect").find("cannot tell") != std::string::npos);
    CHECK(f.provider.keys.size() == 1);
  }
}

TEST_CASE("each answer to a cancellation leads where it must") {
  EffectFixture f;
  const std::vector<Policy> policies{Policy::cancel_by_key};
  f.provider.profile.max_in_flight = 2min;
  const auto run = [&] {
    return outseal::execute(*f.session, charge("k1"), f.provider.effect(policies),
                            [](Transaction&, const EffectOutcome& outcome) {
                              return Reply{.body = std::string{name_of(outcome.state)}};
                            });
  };
  f.leave_uncertain(policies);
  // A request on its way would not be known to the provider yet.
  const auto early = run();
  CHECK(early.outcome == Outcome::in_progress);
  CHECK(early.retry_after > 30s);
  CHECK(early.retry_after <= 1min);
  CHECK(f.provider.cancelled == 0);
  f.pass(2min);

  SUBCASE("cancelled: the handler sees it") {
    f.provider.cancel_answers = {.answer = CancelResult::Answer::cancelled};
    const auto result = run();
    CHECK(result.outcome == Outcome::executed);
    CHECK(result.reply->body == "not_applied");
    CHECK(f.text("SELECT decided_by FROM outseal_effect") == "cancel_by_key");
  }
  SUBCASE("applied") {
    f.provider.cancel_answers = {.answer = CancelResult::Answer::applied};
    CHECK(run().reply->body == "confirmed");
  }
  SUBCASE("cannot tell") { CHECK(run().outcome == Outcome::unknown); }
  SUBCASE("a provider that cannot") {
    f.provider.profile.cancels_by_key = false;
    CHECK(run().outcome == Outcome::unknown);
    CHECK(f.provider.cancelled == 0);
  }
  CHECK(f.provider.keys.size() == 1);
}

TEST_CASE("nothing is decided while a request may be on its way to a provider without keys") {
  EffectFixture f;
  f.provider.profile.replays = Replays::nothing;
  f.provider.profile.window = 0s;
  f.provider.profile.max_in_flight = 2min;
  f.provider.ask_answers = {.answer = Answers::not_applied_proven};
  // As a crash in the call leaves it: the request may leave until the lease ends.
  Effect effect = f.provider.effect({Policy::ask});
  {
    Attempt attempt = f.attempt();
    Effect dies = effect;
    const auto other = f.store->session();
    dies.call = [&](EffectCall&) -> CallResult {
      f.provider.keys.emplace_back();
      f.pass(EffectFixture::kLater);
      Attempt second{*other, charge("k1")};  // Its own outcome is never recorded.
      CHECK_FALSE(second.begin().has_value());
      CHECK_FALSE(second.effect(effect).settled());
      CHECK(second.leave().retry_after > 1min);
      return {.verdict = Verdicts::applied};
    };
    CHECK(attempt.effect(dies).settled());
    CHECK(code_of([&] { f.finish(attempt); }) == ErrorCode::lease_lost);
  }
  CHECK(f.provider.asked == 0);
  f.pass(30s);
  CHECK(f.execute(effect).outcome == Outcome::in_progress);
  f.pass(2min);
  CHECK(f.execute(effect).outcome == Outcome::executed);
  CHECK(f.provider.asked == 1);
}

TEST_CASE("a refusal is no proof while an earlier request may arrive that would not be refused") {
  EffectFixture f;
  f.provider.profile.replays = Replays::success;  // What it refuses it forgets.
  f.provider.profile.max_in_flight = 2min;
  f.leave_uncertain();
  f.provider.answers = Verdicts::refused;
  const auto early = f.execute(f.provider.effect());
  CHECK(early.outcome == Outcome::in_progress);
  CHECK(early.retry_after > 30s);
  CHECK(f.provider.keys.size() == 1);
  f.pass(2min);
  CHECK(f.execute(f.provider.effect()).outcome == Outcome::executed);
  CHECK(f.effect_state() == "failed");
}

TEST_CASE("a proof that nothing was applied does not begin the key's window anew") {
  EffectFixture f;
  const std::vector<Policy> policies{Policy::ask, Policy::rerun};
  f.leave_uncertain(policies);
  f.pass(20h);
  f.provider.ask_answers = {.answer = Answers::not_applied_proven};
  f.leave_uncertain(policies);
  CHECK(f.provider.keys.size() == 2);
  f.pass(4h);
  f.provider.ask_answers = {.answer = Answers::cannot_tell};
  CHECK(f.execute(f.provider.effect(policies)).outcome == Outcome::unknown);
  CHECK(f.provider.keys.size() == 2);
}

TEST_CASE("answers of a call settle the effect, or leave it as it was") {
  EffectFixture f;
  const auto run = [&] {
    return outseal::execute(
        *f.session, charge("k1"), f.provider.effect(),
        [](Transaction&, const EffectOutcome& outcome) {
          return Reply{.verdict = outcome.is_applied() ? Verdict::success : Verdict::final_failure,
                       .status = outcome.is_applied() ? 200 : 402};
        },
        f.options);
  };
  SUBCASE("refused") {
    f.provider.answers = Verdicts::refused;
    const auto result = run();
    CHECK(result.outcome == Outcome::executed);
    CHECK(result.reply->status == 402);
    CHECK(f.effect_state() == "failed");
    CHECK(f.state() == "failed");
    CHECK(run().outcome == Outcome::replayed);
    CHECK(f.provider.keys.size() == 1);
  }
  SUBCASE("not sent: its window has not begun") {
    f.provider.answers = Verdicts::not_sent;
    CHECK(run().outcome == Outcome::in_progress);
    CHECK(f.text("SELECT max(first_sent_at) FROM outseal_effect") == "(null)");
    CHECK(f.text("SELECT max(last_sent_at) FROM outseal_effect") == "(null)");
    f.pass(48h);
    f.provider.answers = Verdicts::applied;
    CHECK(run().outcome == Outcome::executed);
    CHECK(f.provider.keys.size() == 2);
  }
  SUBCASE("not sent, but an earlier request may have been") {
    f.leave_uncertain();
    f.provider.answers = Verdicts::not_sent;
    CHECK(run().outcome == Outcome::in_progress);
    CHECK(f.text("SELECT max(first_sent_at) FROM outseal_effect") != "(null)");
    f.pass(48h);
    CHECK(run().outcome == Outcome::unknown);
    CHECK(f.provider.keys.size() == 2);
  }
  SUBCASE("applied with another amount") {
    Effect effect = f.provider.effect();
    effect.call = [](EffectCall&) {
      return CallResult{.verdict = Verdicts::applied, .amount = Amount{500, "USD"}};
    };
    CHECK(f.execute(effect).outcome == Outcome::unknown);
    CHECK(f.effect_state() == "disputed");
    CHECK(balance(*f.session, 1) == 100);
  }
}

TEST_CASE("what cannot be kept of an answer does not make it one that nobody has heard") {
  for (const std::string& reference :
       {std::string(1'025, 'r'), std::string{"\xff"}, std::string{"a\0b", 3}}) {
    EffectFixture f;
    Effect effect = f.provider.effect({Policy::hand_over});
    effect.call = [&](EffectCall&) {
      return CallResult{.verdict = Verdicts::applied,
                        .reference = reference,
                        .response = std::string((1U << 20U) + 1, 'x')};
    };
    CHECK(f.execute(effect).outcome == Outcome::executed);
    CHECK(f.effect_state() == "confirmed");
    CHECK(f.text("SELECT evidence FROM outseal_effect") ==
          "a reference of " + std::to_string(reference.size()) +
              " bytes could not be kept; a response of 1048577 bytes could not be kept");
  }
}

TEST_CASE("nothing proves the absence of a request that may be on its way") {
  EffectFixture f;
  f.provider.profile.max_in_flight = 2min;
  f.leave_uncertain({Policy::ask});
  f.provider.ask_answers.answer = Answers::not_applied_proven;
  CHECK(f.execute(f.provider.effect({Policy::ask})).outcome == Outcome::in_progress);
  CHECK(f.provider.keys.size() == 1);
  f.pass(2min);
  CHECK(f.execute(f.provider.effect({Policy::ask})).outcome == Outcome::executed);
  CHECK(f.provider.keys.size() == 2);
}

TEST_CASE("an answer to a question that is none proves nothing") {
  EffectFixture f;
  f.provider.profile.replays = Replays::nothing;
  f.provider.profile.window = 0s;
  f.leave_uncertain({Policy::ask, Policy::hand_over});
  f.provider.ask_answers.answer = static_cast<Answers>(4);
  CHECK(f.execute(f.provider.effect({Policy::ask, Policy::hand_over})).outcome == Outcome::unknown);
  CHECK(f.provider.keys.size() == 1);
}

TEST_CASE("what was sent in the future is not sent again: the clock was set back") {
  const auto calls = [](std::chrono::milliseconds ahead) {
    EffectFixture f;
    f.leave_uncertain({Policy::rerun, Policy::hand_over});
    f.pass(-ahead - f.kLater);
    change(*f.session, "UPDATE outseal_idempotency SET lease_until = {long_ago}");
    std::ignore = f.execute(f.provider.effect({Policy::rerun, Policy::hand_over}));
    return f.provider.keys.size();
  };
  CHECK(calls(1h) == 1);
  CHECK(calls(1min) == 2);  // Within the margin.
}

TEST_CASE("no call starts with less time than it needs") {
  EffectFixture f;
  f.options.lease = 1s;
  f.options.margin = 499ms;
  f.options.call_min = 500ms;
  bool enough = true;
  Effect effect = f.provider.effect();
  effect.call = [&](EffectCall& call) {
    enough = enough && call.left() > 400ms;
    return CallResult{.verdict = Verdicts::applied};
  };
  // Each has 501 ms, of which a commit takes its part: it is called in time, or not at all.
  for (int i = 0; i < 20; ++i) {
    const auto result = f.execute(effect, {}, ("k" + std::to_string(i)).c_str());
    CHECK((result.outcome == Outcome::executed || result.outcome == Outcome::in_progress));
  }
  CHECK(enough);
}

TEST_CASE("an operator's decision is an outcome like others") {
  for (const char* decision : {"applied", "not_applied", "abandoned"}) {
    CAPTURE(decision);
    EffectFixture f;
    f.leave_uncertain({Policy::hand_over});
    CHECK(f.execute(f.provider.effect({Policy::hand_over})).outcome == Outcome::unknown);
    change(*f.session, "UPDATE outseal_effect SET state = '" + std::string{decision} +
                           "', decided_by = 'ann', external_ref = 'ch_7'");
    Attempt attempt = f.attempt();
    const auto outcome = attempt.effect(f.provider.effect({Policy::hand_over}));
    CHECK(outcome.settled());
    CHECK(name_of(outcome.state) == decision);
    CHECK(outcome.reference == "ch_7");
    CHECK(f.finish(attempt).outcome == Outcome::executed);
    CHECK(f.provider.keys.size() == 1);
    CHECK(f.state() == "succeeded");
  }
}

TEST_CASE("a dispute about an effect stops its operation") {
  EffectFixture f;
  {
    Attempt attempt = f.attempt();
    CHECK(attempt.effect(f.provider.effect()).settled());
    attempt.leave();
  }
  change(*f.session, "UPDATE outseal_effect SET state = 'disputed'");
  CHECK(f.execute(f.provider.effect()).outcome == Outcome::unknown);
  CHECK_FALSE(resume(*f.session, "payments").has_value());
  CHECK(f.provider.keys.size() == 1);
}

#ifdef OUTSEAL_FAULTS
TEST_CASE("without a window, a proof or a wait a request is sent twice") {
  CHECK_FALSE(passes_with_mutant("window_ignored", "an uncertain effect is sent again*"));
  CHECK_FALSE(passes_with_mutant("replays_ignored", "rerun needs a provider*"));
  CHECK_FALSE(passes_with_mutant("not_found_is_proof", "each answer to a question*"));
  CHECK_FALSE(passes_with_mutant("no_amount_check", "each answer to a question*"));
  CHECK_FALSE(passes_with_mutant("in_flight_ignored", "nothing is decided while*"));
  CHECK_FALSE(passes_with_mutant("in_flight_ignored", "each answer to a cancellation*"));
  CHECK_FALSE(passes_with_mutant("not_sent_forgets", "answers of a call settle*"));
  CHECK_FALSE(passes_with_mutant("proof_in_flight", "nothing proves the absence*"));
  CHECK_FALSE(passes_with_mutant("sent_in_future", "what was sent in the future*"));
}
#endif
