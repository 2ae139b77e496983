// What the cases of operations with effects share: a provider in memory, and a database whose times
// can be moved.
#pragma once

#include <doctest/doctest.h>
#include <soci/soci.h>

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "conformance/store_helpers.h"
#include "conformance/store_suite.h"
#include "outseal/outseal.h"

namespace outseal::test {

using namespace std::chrono_literals;
using Verdicts = CallResult::Verdict;
using Answers = AskResult::Answer;

/// A provider of payments, with what it was asked to do.
struct Provider {
  ProviderProfile profile = {.name = "test-pay",
                             .replays = Replays::any,
                             .window = 24h,
                             .margin = 5min,
                             .absence_after = 10min,
                             .max_in_flight = 0s,
                             .cancels_by_key = true};
  CallResult::Verdict answers = Verdicts::applied;
  AskResult ask_answers = {.answer = Answers::cannot_tell};
  CancelResult cancel_answers = {};
  std::vector<std::string> keys = {};  ///< Of each call.
  int asked = 0;
  int cancelled = 0;

  Effect effect(std::vector<Policy> policies = {Policy::rerun},
                const std::string& name = "charge") {
    return {.name = name,
            .request = "{\"amount\":5}",
            .provider = profile,
            .policies = std::move(policies),
            .amount = Amount{500, "EUR"},
            .call =
                [this](EffectCall& call) {
                  keys.push_back(call.provider_key());
                  return CallResult{.verdict = answers,
                                    .reference = "ch_" + std::to_string(keys.size()),
                                    .response = "answer"};
                },
            .ask = [this](EffectCall&) { return ++asked, ask_answers; },
            .cancel = [this](EffectCall&) { return ++cancelled, cancel_answers; }};
  }
};

/// A database and a service's session on it.
struct EffectFixture {
  std::unique_ptr<StoreUnderTest> store = make_store();
  std::unique_ptr<soci::session> session = store->session();
  Provider provider = {};
  AttemptOptions options = {};

  /// An attempt that has begun.
  Attempt attempt(const std::string& key = "k1") {
    Attempt made{*session, charge(key), options};
    const auto known = made.begin();
    REQUIRE_MESSAGE(!known, std::string{name_of(known ? known->outcome : Outcome::executed)});
    return made;
  }
  ExecuteResult execute(const Effect& effect, const Reply& reply = {}, const char* key = "k1") {
    return outseal::execute(
        *session, charge(key), effect,
        [&](Transaction& tx, const EffectOutcome&) { return charging(*session, reply)(tx); },
        options);
  }
  ExecuteResult finish(Attempt& attempt, const Reply& reply = {}) {
    return attempt.finish(charging(*session, reply));
  }
  /// Leaves an effect behind whose request got no answer, as a crash would.
  void leave_uncertain(std::vector<Policy> policies = {Policy::rerun}) {
    const auto before = std::exchange(provider.answers, Verdicts::uncertain);
    CHECK(execute(provider.effect(std::move(policies))).outcome == Outcome::in_progress);
    provider.answers = before;
    pass(kLater);
  }

  static constexpr std::chrono::milliseconds kLater = 61s;
  /// Lets time pass, for everything that is not final.
  void pass(std::chrono::milliseconds time) {
    const std::string less = session->get_backend_name() == "sqlite3"
                                 ? " - " + std::to_string(time.count())
                                 : " - " + std::to_string(time.count()) + " * interval '1 ms'";
    const auto move = [&](const std::string& column) { return column + " = " + column + less; };
    change(*session, "UPDATE outseal_idempotency SET " + move("lease_until") + ", " +
                         move("created_at") + " WHERE state IN ('in_progress', 'unknown')");
    change(*session, "UPDATE outseal_effect SET " + move("first_sent_at") + ", " +
                         move("last_sent_at") + ", " + move("rerun_until") + ", " +
                         move("intended_at"));
  }

  std::string text(const std::string& sql) {
    std::string value;
    soci::indicator is_null = soci::i_ok;
    *session << in_dialect(*session, sql), soci::into(value, is_null);
    return is_null == soci::i_null ? "(null)" : value;
  }
  std::string state() { return text("SELECT state FROM outseal_idempotency"); }
  std::string effect_state(const std::string& name = "charge") {
    return text("SELECT state FROM outseal_effect WHERE name = '" + name + "'");
  }
};

}  // namespace outseal::test
