// What a person decides about effects that nobody knows the end of, and what becomes of it.
#include <atomic>
#include <thread>

#include "base/hash.h"
#include "conformance/effect_helpers.h"
#include "operation/record.h"
#include "store/effect_decision.h"
#include "support/mutant.h"

using namespace outseal;
using namespace outseal::test;

namespace {

const OperationKey kKey{.scope = "payments", .principal = "shop", .key = "k1"};

/// An operation whose only effect was handed over, and what a person has before him.
struct Desk : EffectFixture {
  std::unique_ptr<sql::Connection> connection = sql::open(store->url());
  store::Act act = {.actor = "ann", .reason = "asked the provider"};

  void hand_over() {
    leave_uncertain({Policy::hand_over});
    REQUIRE(execute(provider.effect({Policy::hand_over})).outcome == Outcome::unknown);
  }
  std::vector<store::OpenEffect> list(const std::vector<std::string>& states) const {
    std::vector<store::OpenEffect> all;
    store::list_open_effects(*connection, states,
                             [&](const store::OpenEffect& effect) { all.push_back(effect); });
    return all;
  }
  /// The decision that fits what is there now.
  store::EffectDecision decision(EffectState state) {
    return {.operation = operation::key_hash(charge("k1")),
            .effect = "charge",
            .version = std::stol(text("SELECT CAST(version AS varchar(9)) FROM outseal_effect")),
            .state = state};
  }
  store::OpenEffect decide(const store::EffectDecision& decision) const {
    return store::decide_effect(*connection, decision, act);
  }
  /// An error that names `words`, and nothing that has changed.
  ErrorCode refused(const store::EffectDecision& decision, const std::string& words) {
    const std::string before = records();
    try {
      decide(decision);
    } catch (const Error& error) {
      const std::string said = std::string{error.what()} + " " + error.hint();
      CHECK_MESSAGE(said.find(words) != std::string::npos, said);
      CHECK_FALSE(error.hint().empty());
      CHECK(records() == before);
      return error.code();
    }
    FAIL("nothing was refused");
    return ErrorCode::internal;
  }
  std::string records() {
    return text(
        "SELECT i.state || ' ' || i.fence || ' ' || e.state || ' ' || e.version || ' ' ||"
        " coalesce(e.decided_by, '-') || ' ' || coalesce(e.external_ref, '-')"
        " FROM outseal_idempotency i JOIN outseal_effect e ON e.operation = i.key_hash");
  }
  long audited(const std::string& where) {
    CHECK_FALSE(store::verify_audit(*connection).has_value());
    return count(*session, "outseal_audit WHERE " + where);
  }
};

}  // namespace

TEST_CASE("what waits for a person is listed with all that he needs") {
  Desk desk;
  CHECK(desk.list({"unknown", "disputed"}).empty());
  desk.leave_uncertain({Policy::hand_over});
  CHECK(desk.list({"unknown", "disputed"}).empty());
  CHECK(desk.list({"intended"}).size() == 1);
  CHECK(desk.execute(desk.provider.effect({Policy::hand_over})).outcome == Outcome::unknown);
  CHECK(desk.list({"intended"}).empty());
  const auto open = desk.list({"unknown", "disputed"});
  REQUIRE(open.size() == 1);
  CHECK(open[0].operation == operation::key_hash(charge("k1")));
  CHECK(open[0].scope == "payments");
  CHECK(open[0].operation_state == "unknown");
  CHECK(open[0].name == "charge");
  CHECK(open[0].state == "unknown");
  CHECK(open[0].provider == "test-pay");
  CHECK(open[0].provider_key == desk.provider.keys.at(0));
  CHECK(open[0].amount_minor == 500);
  CHECK(open[0].currency == "EUR");
  CHECK(open[0].attempts == 1);
  CHECK(open[0].version == desk.decision(EffectState::applied).version);
  CHECK(open[0].decided_by == "hand_over");
  CHECK(open[0].settled_at_ms.has_value());
}

TEST_CASE("more effects than fit on a page are listed once each") {
  Desk desk;
  desk.hand_over();
  change(*desk.session,
         "INSERT INTO outseal_effect (operation, name, request_hash, provider, provider_key,"
         " policies, state, intended_at) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1"
         " FROM n WHERE i < 2100) SELECT e.operation, 'more' || n.i, e.request_hash, 'p', 'k', '',"
         " 'disputed', e.intended_at FROM outseal_effect e, n");
  CHECK(desk.list({"unknown", "disputed"}).size() == 2'101);
  CHECK(desk.list({"disputed"}).size() == 2'100);
}

TEST_CASE("each decision lets the operation go on, and nothing is called for it again") {
  for (const EffectState state :
       {EffectState::applied, EffectState::not_applied, EffectState::abandoned}) {
    CAPTURE(name_of(state));
    Desk desk;
    desk.hand_over();
    store::EffectDecision decision = desk.decision(state);
    decision.operation.resize(16);  // As a finding names it.
    if (state == EffectState::applied) decision.reference = "ch_7";
    const store::OpenEffect decided = desk.decide(decision);
    CHECK(decided.state == name_of(state));
    CHECK(decided.version == decision.version + 1);
    CHECK(decided.decided_by == "ann");
    CHECK(decided.evidence == "no policy is left; asked the provider");
    CHECK(desk.list({"unknown", "disputed"}).empty());

    EffectOutcome seen;
    const auto result = outseal::execute(
        *desk.session, charge("k1"), desk.provider.effect({Policy::hand_over}),
        [&](Transaction& tx, const EffectOutcome& outcome) {
          seen = outcome;
          const bool applied = outcome.is_applied();
          return charging(*desk.session,
                          {.verdict = applied ? Verdict::success : Verdict::final_failure,
                           .status = applied ? 201 : 409})(tx);
        },
        desk.options);
    CHECK(result.outcome == Outcome::executed);
    CHECK(seen.state == state);
    CHECK(seen.amount == Amount{500, "EUR"});
    CHECK(desk.provider.keys.size() == 1);
    const bool applied = state == EffectState::applied;
    CHECK(seen.reference == (applied ? "ch_7" : ""));
    CHECK(desk.state() == (applied ? "succeeded" : "failed"));
    CHECK(balance(*desk.session, 1) == (applied ? 95 : 100));
    // Another key may be tried if it is proven that nothing came of this one, and only then.
    CHECK(status(*desk.session, kKey).safe_new_key == (state == EffectState::not_applied));

    CHECK(desk.audited("act = 'effect." + std::string{name_of(state)} +
                       "' AND actor = 'ann' AND subject = 'operation " +
                       to_hex(operation::key_hash(charge("k1"))) +
                       "' AND detail LIKE '%asked the provider%'") == 1);
    CHECK(desk.audited("id > 0") == 1);
  }
}

TEST_CASE("resume() and complete() find an operation once its last effect is decided") {
  Desk desk;
  desk.hand_over();
  CHECK_FALSE(resume(*desk.session, "payments").has_value());
  desk.decide(desk.decision(EffectState::applied));
  auto resumed = resume(*desk.session, "payments");
  REQUIRE(resumed.has_value());
  REQUIRE(resumed->effects().size() == 1);
  CHECK(resumed->effects()[0].state == EffectState::applied);
  CHECK(desk.finish(*resumed).outcome == Outcome::executed);
}

TEST_CASE("with another effect left to decide nobody takes the operation over") {
  Desk desk;
  desk.hand_over();
  change(*desk.session,
         "INSERT INTO outseal_effect (operation, name, request_hash, provider, provider_key,"
         " policies, state, intended_at) SELECT operation, 'refund', request_hash, provider, 'k',"
         " policies, 'disputed', intended_at FROM outseal_effect");
  auto decision = desk.decision(EffectState::applied);
  decision.version = desk.list({"unknown"}).at(0).version;
  desk.decide(decision);
  CHECK(desk.execute(desk.provider.effect({Policy::hand_over})).outcome == Outcome::unknown);
  decision.effect = "refund";
  decision.version = 1;
  decision.state = EffectState::not_applied;
  desk.decide(decision);
  CHECK(desk.execute(desk.provider.effect({Policy::hand_over})).outcome == Outcome::executed);
  CHECK(desk.audited("id > 0") == 2);
}

TEST_CASE("the amount that was applied is what the handler sees, the one asked for stays") {
  Desk desk;
  desk.hand_over();
  change(*desk.session, "UPDATE outseal_effect SET state = 'disputed'");
  auto decision = desk.decision(EffectState::applied);
  decision.reference = "ch_7";
  decision.amount = Amount{400, "EUR"};
  desk.decide(decision);
  const auto recorded = status(*desk.session, kKey);
  REQUIRE(recorded.effects.size() == 1);
  CHECK(recorded.effects[0].amount == Amount{400, "EUR"});
  Attempt attempt = desk.attempt();
  const auto outcome = attempt.effect(desk.provider.effect({Policy::hand_over}));
  CHECK(outcome.amount == Amount{400, "EUR"});
  CHECK(outcome.is_applied());
  CHECK(desk.finish(attempt).outcome == Outcome::executed);
}

TEST_CASE("a decision about what has changed is refused, and shows what it is now") {
  Desk desk;
  desk.hand_over();
  auto decision = desk.decision(EffectState::applied);
  ++decision.version;
  CHECK(desk.refused(decision, "it is unknown in version") == ErrorCode::refused);
  --decision.version;
  desk.decide(decision);
  CHECK(desk.refused(decision, "is applied already, decided by ann") == ErrorCode::refused);
  decision = desk.decision(EffectState::abandoned);
  CHECK(desk.refused(decision, "is applied already, decided by ann") == ErrorCode::refused);
  CHECK(desk.audited("id > 0") == 1);
}

TEST_CASE("of those who decide at once one decides, and the others are told") {
  Desk desk;
  desk.hand_over();
  const auto decision = desk.decision(EffectState::abandoned);
  std::atomic<int> decided{0};
  std::atomic<int> refused{0};
  std::vector<std::thread> persons;
  for (int i = 0; i < 8; ++i)
    persons.emplace_back([&] {
      const auto connection = sql::open(desk.store->url());
      try {
        store::decide_effect(*connection, decision, desk.act);
        ++decided;
      } catch (const Error& error) {
        if (error.code() == ErrorCode::refused) ++refused;
      }
    });
  for (std::thread& person : persons) person.join();
  CHECK(decided == 1);
  CHECK(refused == 7);
  CHECK(desk.audited("id > 0") == 1);
}

TEST_CASE("an effect that its attempt has left behind is decided, and the attempt is fenced") {
  Desk desk;
  desk.provider.answers = Verdicts::uncertain;
  Attempt left = desk.attempt();
  CHECK_FALSE(left.effect(desk.provider.effect({Policy::hand_over})).settled());
  // The commit of the next one notes what is known of the first: nothing more is to be written.
  desk.provider.answers = Verdicts::applied;
  CHECK(left.effect(desk.provider.effect({Policy::hand_over}, "fee")).settled());
  auto decision = desk.decision(EffectState::not_applied);
  decision.version = desk.list({"intended"}).at(0).version;
  CHECK(desk.refused(decision, "somebody is at work on the operation until") == ErrorCode::refused);
  desk.pass(EffectFixture::kLater);
  CHECK(desk.decide(decision).state == "not_applied");
  const auto next = desk.provider.effect({Policy::hand_over}, "refund");
  CHECK(code_of([&] { left.effect(next); }) == ErrorCode::lease_lost);
  CHECK(desk.provider.keys.size() == 2);
}

TEST_CASE("an operation goes on from a decision about an effect that was left") {
  Desk desk;
  desk.leave_uncertain({Policy::hand_over});
  desk.decide(desk.decision(EffectState::not_applied));
  CHECK(desk.execute(desk.provider.effect({Policy::hand_over})).outcome == Outcome::executed);
  CHECK(desk.provider.keys.size() == 1);
}

TEST_CASE("a dispute about an operation that has ended is decided, and it stays as it was") {
  Desk desk;
  CHECK(desk.execute(desk.provider.effect(), {.status = 201}).outcome == Outcome::executed);
  CHECK(desk.refused(desk.decision(EffectState::abandoned), "is confirmed already") ==
        ErrorCode::refused);
  change(*desk.session, "UPDATE outseal_effect SET state = 'disputed'");
  CHECK(desk.list({"disputed"}).at(0).operation_state == "succeeded");
  CHECK(desk.decide(desk.decision(EffectState::applied)).reference == "ch_1");
  CHECK(desk.state() == "succeeded");
  CHECK(desk.execute(desk.provider.effect()).outcome == Outcome::replayed);
}

TEST_CASE("what is no decision is refused, and changes nothing") {
  using enum EffectState;
  Desk desk;
  desk.hand_over();
  const auto with = [&](const std::function<void(store::EffectDecision&)>& change) {
    auto decision = desk.decision(applied);
    change(decision);
    return decision;
  };
  const auto check = [&](const store::EffectDecision& decision, const std::string& words) {
    CHECK(desk.refused(decision, words) == ErrorCode::invalid_argument);
  };
  check(with([](auto& d) { d.operation = std::string(32, 'x'); }), "no operation with an effect");
  check(with([](auto& d) { d.operation.resize(15); }), "at least 32 hexadecimal digits");
  check(with([](auto& d) { d.effect = "refund"; }), "it has: charge");
  check(with([](auto& d) { d.state = confirmed; }), "nobody decides that an effect is confirmed");
  check(with([](auto& d) { d.state = not_applied, d.reference = "x"; }), "has no reference");
  check(with([](auto& d) { d.state = abandoned, d.amount = Amount{5, "EUR"}; }), "no amount");
  check(with([](auto& d) { d.amount = Amount{-1, "EUR"}; }), "an amount is not negative");
  check(with([](auto& d) { d.amount = Amount{5, "eur"}; }), "three capital letters");
  check(with([](auto& d) { d.reference = "\xff"; }), "no UTF-8");
  desk.act.reason = "";
  check(desk.decision(applied), "a reason is missing");
  desk.act.reason = std::string(4'097, 'x');
  check(desk.decision(applied), "more than 4096 bytes");
  CHECK(desk.audited("id > 0") == 0);
}

TEST_CASE("of two operations whose hashes begin alike none is decided about") {
  Desk desk;
  desk.hand_over();
  auto decision = desk.decision(EffectState::applied);
  const std::string other = decision.operation.substr(0, 16) + std::string(16, 'x');
  const bool lite = desk.session->get_backend_name() == "sqlite3";
  const std::string hash = (lite ? "x'" + to_hex(other) : "'\\x" + to_hex(other)) + "'";
  change(*desk.session,
         "INSERT INTO outseal_effect (operation, name, request_hash, provider, provider_key,"
         " policies, state, intended_at) SELECT " +
             hash +
             ", name, request_hash, provider, 'k', policies, state, intended_at"
             " FROM outseal_effect");
  decision.version = 2;
  decision.operation.resize(16);
  CHECK(code_of([&] { desk.decide(decision); }) == ErrorCode::invalid_argument);
  CHECK(count(*desk.session, "outseal_effect WHERE state = 'unknown'") == 2);
}
