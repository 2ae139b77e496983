// How operations with effects end: finishes, failures, compensations, exceptions and bad input.
#include <functional>

#include "conformance/effect_helpers.h"
#include "support/mutant.h"

using namespace outseal;
using namespace outseal::test;

namespace {

const Reply kDeclined{.verdict = Verdict::final_failure, .status = 402};

Effect compensated(EffectFixture& f, const std::string& name) {
  Effect effect = f.provider.effect({Policy::rerun}, name);
  effect.compensation = [name](const EffectOutcome& outcome) {
    return Event{.topic = "undo",
                 .type = "undo." + name,
                 .payload = std::string{"\xff\0", 2} + outcome.reference,
                 .content_type = "application/octet-stream",
                 .headers = {{"why", "declined"}}};
  };
  return effect;
}

std::string events(EffectFixture& f) {
  std::string all;
  const soci::rowset<std::string> types =
      (f.session->prepare << in_dialect(*f.session,
                                        "SELECT type FROM outseal_outbox ORDER BY seq"));
  for (const std::string& type : types) all += type + ";";
  return all;
}

}  // namespace

TEST_CASE("a final failure undoes the handler and appends what undoes the effects, last first") {
  EffectFixture f;
  Attempt attempt = f.attempt();
  CHECK(attempt.effect(compensated(f, "hold")).settled());
  CHECK(attempt.effect(f.provider.effect({Policy::rerun}, "mail")).settled());
  f.provider.answers = Verdicts::refused;
  CHECK(attempt.effect(compensated(f, "fee")).settled());
  f.provider.answers = Verdicts::applied;
  CHECK(attempt.effect(compensated(f, "charge")).settled());
  CHECK(f.finish(attempt, kDeclined).outcome == Outcome::executed);
  CHECK(events(f) == "undo.charge;undo.hold;");
  CHECK(balance(*f.session, 1) == 100);
  CHECK(f.state() == "failed");
  CHECK(f.execute(f.provider.effect()).reply->status == 402);
}

TEST_CASE("compensations outlive the process that knew them, with payloads of any bytes") {
  EffectFixture f;
  {
    Attempt attempt = f.attempt();
    CHECK(attempt.effect(compensated(f, "charge")).settled());
    attempt.leave();
  }
  auto attempt = resume(*f.session, "payments");
  REQUIRE(attempt.has_value());
  CHECK(attempt->finish([](Transaction&) { return kDeclined; }).outcome == Outcome::executed);
  CHECK(events(f) == "undo.charge;");
  const auto connection = sql::open(f.store->url());
  const auto row = connection->prepare(
      in_dialect(connection->dialect(), "SELECT {payload_bytes}, headers FROM outseal_outbox"));
  REQUIRE(row->step());
  CHECK(row->blob(0) == std::string{"\xff\0", 2} + "ch_1");
  CHECK(row->text(1).find("declined") != std::string::npos);
}

TEST_CASE("what an operator says was applied is undone as well") {
  EffectFixture f;
  f.leave_uncertain({Policy::hand_over});
  CHECK(f.execute(f.provider.effect({Policy::hand_over})).outcome == Outcome::unknown);
  change(*f.session, "UPDATE outseal_effect SET state = 'applied'");
  Attempt attempt = f.attempt();
  CHECK(attempt.effect(compensated(f, "charge")).is_applied());
  CHECK(f.finish(attempt, kDeclined).outcome == Outcome::executed);
  CHECK(events(f) == "undo.charge;");
}

TEST_CASE("a success appends no compensation") {
  EffectFixture f;
  CHECK(f.execute(compensated(f, "charge")).outcome == Outcome::executed);
  CHECK(events(f) == "paid;");
}

TEST_CASE("a retryable failure keeps the outcomes and gives the operation back") {
  EffectFixture f;
  const Reply later{.verdict = Verdict::retryable_failure, .status = 503};
  const auto first = f.execute(f.provider.effect(), later);
  CHECK(first.outcome == Outcome::released);
  CHECK(first.reply->status == 503);
  CHECK(f.effect_state() == "confirmed");
  CHECK(f.state() == "in_progress");
  CHECK(balance(*f.session, 1) == 100);
  CHECK(f.text("SELECT lease_owner FROM outseal_idempotency") == "(null)");
  CHECK(f.execute(f.provider.effect()).outcome == Outcome::in_progress);
  f.pass(1s);
  CHECK(f.execute(f.provider.effect()).outcome == Outcome::executed);
  CHECK(f.provider.keys.size() == 1);
}

TEST_CASE("an exception of the handler passes through; what is known is recorded") {
  EffectFixture f;
  const auto throwing = [&] {
    return outseal::execute(*f.session, charge("k1"), f.provider.effect(),
                            [&](Transaction& tx, const EffectOutcome&) -> Reply {
                              append(tx, paid());
                              throw std::logic_error{"no"};
                            });
  };
  CHECK_THROWS_AS(std::ignore = throwing(), std::logic_error);
  CHECK(f.effect_state() == "confirmed");
  CHECK(count(*f.session, "outseal_outbox") == 0);
  CHECK(f.execute(f.provider.effect()).outcome == Outcome::executed);  // At once.
  CHECK(f.provider.keys.size() == 1);
}

TEST_CASE("an exception of a callback passes through and counts as uncertain") {
  EffectFixture f;
  Effect effect = f.provider.effect({Policy::ask, Policy::hand_over});
  const auto call = effect.call;
  effect.call = [](EffectCall&) -> CallResult { throw std::logic_error{"no"}; };
  CHECK_THROWS_AS(std::ignore = f.execute(effect), std::logic_error);
  CHECK(f.effect_state() == "intended");
  effect.ask = [](EffectCall&) -> AskResult { throw std::logic_error{"no"}; };
  CHECK_THROWS_AS(std::ignore = f.execute(effect), std::logic_error);
  CHECK(f.effect_state() == "intended");
  effect.call = call;
  effect.ask = [](EffectCall&) { return AskResult{.answer = Answers::not_applied_proven}; };
  CHECK(f.execute(effect).outcome == Outcome::executed);
  CHECK(f.provider.keys.size() == 1);
}

TEST_CASE("an exception of the compensation leaves the outcome recorded, and it is asked again") {
  EffectFixture f;
  Effect effect = compensated(f, "charge");
  const auto compensation = effect.compensation;
  effect.compensation = [](const EffectOutcome&) -> Event { throw std::logic_error{"no"}; };
  CHECK_THROWS_AS(std::ignore = f.execute(effect), std::logic_error);
  CHECK(f.effect_state() == "confirmed");
  effect.compensation = compensation;
  CHECK(f.execute(effect, kDeclined).outcome == Outcome::executed);
  CHECK(events(f) == "undo.charge;");
  CHECK(f.provider.keys.size() == 1);
}

TEST_CASE("a handler cannot end the transaction of a finish") {
  EffectFixture f;
  Attempt attempt = f.attempt();
  CHECK(attempt.effect(f.provider.effect()).settled());
  CHECK(attempt
            .finish([&](Transaction& tx) {
              CHECK(code_of([&] { tx.commit(); }) == ErrorCode::invalid_argument);
              CHECK(code_of([&] { tx.rollback(); }) == ErrorCode::invalid_argument);
              return charging(*f.session, {})(tx);
            })
            .outcome == Outcome::executed);
  CHECK(balance(*f.session, 1) == 95);
}

TEST_CASE("finish refuses what is not settled, and a second finish") {
  EffectFixture f;
  Attempt attempt = f.attempt();
  CHECK(code_of([&] { attempt.finish({}); }) == ErrorCode::invalid_argument);
  f.provider.answers = Verdicts::uncertain;
  CHECK_FALSE(attempt.effect(f.provider.effect()).settled());
  CHECK(code_of([&] { f.finish(attempt); }) == ErrorCode::invalid_argument);
  CHECK(balance(*f.session, 1) == 100);
  f.provider.answers = Verdicts::applied;
  CHECK(attempt.effect(f.provider.effect()).settled());
  CHECK(f.finish(attempt).outcome == Outcome::executed);
  CHECK(code_of([&] { f.finish(attempt); }) == ErrorCode::invalid_argument);
  CHECK(code_of([&] { attempt.effect(f.provider.effect()); }) == ErrorCode::invalid_argument);
  CHECK(code_of([&] { attempt.leave(); }) == ErrorCode::invalid_argument);
  CHECK(code_of([&] { attempt.begin(); }) == ErrorCode::invalid_argument);
  CHECK(balance(*f.session, 1) == 95);
}

TEST_CASE("an effect's name stands for one request to one provider") {
  EffectFixture f;
  Attempt attempt = f.attempt();
  CHECK(attempt.effect(f.provider.effect()).settled());
  const auto refused = [&](const std::function<void(Effect&)>& differ) {
    Effect other = f.provider.effect();
    differ(other);
    return code_of([&] { attempt.effect(other); }) == ErrorCode::invalid_argument;
  };
  CHECK(refused([](Effect& e) { e.request = "{\"amount\":6}"; }));
  CHECK(refused([](Effect& e) { e.amount->minor = 600; }));
  CHECK(refused([](Effect& e) { e.amount.reset(); }));
  CHECK(refused([](Effect& e) { e.provider.name = "other-pay"; }));
  CHECK(refused([](Effect& e) { e.provider_key = "mine"; }));
  CHECK(f.provider.keys.size() == 1);
  CHECK(f.finish(attempt).outcome == Outcome::executed);  // Nothing of it has hurt.
}

TEST_CASE("effects and attempts refuse bad input before anything is written or called") {
  EffectFixture f;
  Attempt attempt = f.attempt();
  const auto code = [&](const std::function<void(Effect&)>& spoil) {
    Effect effect = f.provider.effect();
    spoil(effect);
    return code_of([&] { attempt.effect(effect); });
  };
  using enum ErrorCode;
  CHECK(code([](Effect& e) { e.name = ""; }) == invalid_argument);
  CHECK(code([](Effect& e) { e.name = std::string(256, 'x'); }) == invalid_argument);
  CHECK(code([](Effect& e) { e.name = "\xff"; }) == invalid_argument);
  CHECK(code([](Effect& e) { e.call = {}; }) == invalid_argument);
  CHECK(code([](Effect& e) { e.policies = {}; }) == invalid_argument);
  CHECK(code([](Effect& e) { e.policies = {Policy::ask}, e.ask = {}; }) == invalid_argument);
  CHECK(code([](Effect& e) { e.policies = {Policy::cancel_by_key}, e.cancel = {}; }) ==
        invalid_argument);
  CHECK(code([](Effect& e) { e.policies = {Policy::ask, Policy::ask}; }) == invalid_argument);
  CHECK(code([](Effect& e) { e.policies = {static_cast<Policy>(9)}; }) == invalid_argument);
  CHECK(code([](Effect& e) { e.rerun_needs = Replays::nothing; }) == invalid_argument);
  CHECK(code([](Effect& e) { e.amount = Amount{1, ""}; }) == invalid_argument);
  CHECK(code([](Effect& e) { e.amount = Amount{1, "eur"}; }) == invalid_argument);
  CHECK(code([](Effect& e) { e.amount = Amount{1, "EURO"}; }) == invalid_argument);
  CHECK(code([](Effect& e) { e.amount = Amount{-1, "EUR"}; }) == invalid_argument);
  CHECK(code([](Effect& e) { e.attributes = "[]"; }) == invalid_argument);
  CHECK(code([](Effect& e) { e.attributes = "{"; }) == invalid_argument);
  CHECK(code([](Effect& e) { e.attributes = "{\"a\":\"" + std::string(16'384, 'x') + "\"}"; }) ==
        invalid_argument);
  CHECK(code([](Effect& e) { e.provider_key = std::string(256, 'k'); }) == invalid_argument);
  CHECK(code([](Effect& e) { e.provider.name = ""; }) == invalid_config);
  CHECK(code([](Effect& e) { e.provider.window = -1s; }) == invalid_config);
  CHECK(code([](Effect& e) { e.provider.replays = Replays::nothing; }) == invalid_config);
  CHECK(f.provider.keys.empty());
  CHECK(count(*f.session, "outseal_effect") == 0);
  CHECK(count(*f.session, "outseal_idempotency") == 0);

  const auto option = [&](const AttemptOptions& options) {
    return code_of([&] { Attempt{*f.session, charge("k"), options}; });
  };
  CHECK(option({.lease = 999ms}) == invalid_config);
  CHECK(option({.lease = 25h}) == invalid_config);
  CHECK(option({.lease = 10s, .margin = 5s}) == invalid_config);
  CHECK(option({.lease = 10s, .margin = 1s, .call_min = 6s}) == invalid_config);
  CHECK(code_of([&] {
          Attempt{*f.session, {.scope = "", .key = "k", .fingerprint = ""}};
        }) == invalid_argument);
  CHECK(code_of([&] { resume(*f.session, ""); }) == invalid_argument);
  CHECK(code_of([&] { resume(*f.session, "payments", {}, -1ms); }) == invalid_argument);
  Attempt unbegun{*f.session, charge("k")};
  CHECK(code_of([&] { unbegun.effect(f.provider.effect()); }) == invalid_argument);
}

TEST_CASE("a callback may not call its attempt") {
  EffectFixture f;
  Attempt attempt = f.attempt();
  Effect effect = f.provider.effect();
  effect.call = [&](EffectCall&) {
    CHECK(code_of([&] { attempt.effect(f.provider.effect()); }) == ErrorCode::invalid_argument);
    CHECK(code_of([&] { attempt.leave(); }) == ErrorCode::invalid_argument);
    return CallResult{.verdict = Verdicts::applied};
  };
  CHECK(attempt.effect(effect).settled());
  CHECK(f.finish(attempt).outcome == Outcome::executed);
}

TEST_CASE("a finished operation keeps its reply, then its key, and then counts as unused") {
  EffectFixture f;
  const auto first = f.execute(f.provider.effect(), {.status = 201});
  CHECK(first.handle.size() == 64);
  change(*f.session, "UPDATE outseal_idempotency SET purge_at = {long_ago}");
  auto again = f.execute(f.provider.effect());
  CHECK(again.outcome == Outcome::expired);
  CHECK_FALSE(again.reply.has_value());
  CHECK(again.ended == Verdict::success);
  CHECK(again.status == 201);
  CHECK(again.handle == first.handle);
  CHECK(purge_operations(*f.session).responses == 1);
  CHECK(f.execute(f.provider.effect()).outcome == Outcome::expired);
  CHECK(f.provider.keys.size() == 1);

  change(*f.session,
         "UPDATE outseal_idempotency SET purge_at = {long_ago}, expires_at = {long_ago}");
  again = f.execute(f.provider.effect());
  CHECK(again.outcome == Outcome::executed);
  CHECK(again.handle != first.handle);
  CHECK(f.provider.keys.size() == 2);
  CHECK(count(*f.session, "outseal_effect") == 1);

  // A dispute about it comes later: it is known for as long as that lasts.
  change(*f.session,
         "UPDATE outseal_idempotency SET purge_at = {long_ago}, expires_at = {long_ago}");
  change(*f.session, "UPDATE outseal_effect SET state = 'disputed'");
  CHECK(f.execute(f.provider.effect()).outcome == Outcome::expired);
  CHECK(f.provider.keys.size() == 2);
}

TEST_CASE("a session in a transaction is refused, and nothing is called") {
  EffectFixture f;
  Transaction tx{*f.session};
  Attempt attempt{*f.session, charge("k1")};
  CHECK(code_of([&] { attempt.begin(); }) == ErrorCode::invalid_argument);
  CHECK(f.provider.keys.empty());
}
