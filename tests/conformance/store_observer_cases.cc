// What a service sees of its calls.
#include <array>
#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "conformance/store_helpers.h"
#include "conformance/store_suite.h"
#include "outseal/http_front.h"
#include "outseal/status.h"

using namespace outseal;
using namespace outseal::test;
using namespace std::chrono_literals;

namespace {

/// What an observer was told, in words, without durations.
class Words {
 public:
  Observer observer() {
    return [this](const Observation& seen) {
      std::visit([this](const auto& each) { note(each); }, seen);
    };
  }
  /// What it was told since the last call.
  std::vector<std::string> take() { return std::exchange(words_, {}); }

 private:
  void note(const ExecuteCall& call) {
    add(call, "execute " + std::string{call.scope} + " " +
                  (call.outcome ? std::string{name_of(*call.outcome)} : "none") +
                  (call.verdict == Verdict::final_failure ? " failure" : "") + " " +
                  (call.attempts > 1 ? "tried again" : std::to_string(call.attempts)));
  }
  void note(const AttemptCall& call) {
    static constexpr std::array kSteps{"begin", "effect", "finish", "leave"};
    std::string word = kSteps.at(static_cast<std::size_t>(call.step));
    if (!call.effect.empty()) word += " " + std::string{call.effect};
    if (call.state) word += " " + std::string{name_of(*call.state)};
    if (call.outcome) word += " " + std::string{name_of(*call.outcome)};
    add(call, word);
  }
  void note(const ProviderCall& call) {
    static constexpr std::array kSteps{"call", "ask", "cancel"};
    add(call, std::string{call.provider} + " " + kSteps.at(static_cast<std::size_t>(call.step)) +
                  " " + std::to_string(call.attempt) + " " + std::string{call.answer});
  }
  void note(const AppendCall& call) { add(call, "append " + std::to_string(call.events)); }
  void note(const ReceiveCall& call) {
    add(call, "receive " + std::string{call.stream} + " " +
                  (call.arrival ? std::string{name_of(*call.arrival)} : "none"));
  }
  void note(const TakeCall& call) {
    add(call, "take " + std::string{call.stream} + " " + std::to_string(call.events));
  }
  void note(const CommitCall& call) { add(call, "commit"); }
  void note(const ConsumeTrouble& trouble) {
    words_.push_back("trouble " + std::string{trouble.stream});
  }
  void note(const StatusCall& call) {
    add(call, "status " + (call.state ? std::string{name_of(*call.state)} : "none"));
  }
  void note(const RetryCall& call) { words_.push_back("retry " + std::to_string(call.attempt)); }
  void note(const HttpCall& call) {
    add(call, "http " + (call.decision ? std::string{name_of(*call.decision)} : "none"));
  }
  void note(const UnthrownError& found) {
    words_.push_back("unthrown " + std::string{name_of(found.error->code())});
  }
  void add(const ObservedCall& call, std::string word) {
    CHECK(call.duration > 0ns);
    CHECK((call.error == nullptr || call.threw));
    if (call.threw)
      word += call.error != nullptr ? " " + std::string{name_of(call.error->code())} : " threw";
    words_.push_back(std::move(word));
  }

  std::vector<std::string> words_;
};

using Said = std::vector<std::string>;

}  // namespace

TEST_CASE("an observer is told what became of a transaction's calls") {
  const auto store = make_store();
  const auto session = store->session();
  Words words;
  const TransactionOptions observed{.observer = words.observer()};
  const EventId id = new_event_id();
  {
    Transaction tx{*session, observed};
    append(tx, paid());
    append(tx, std::vector<Event>(3, paid()));
    CHECK(receive(tx, "s", id));
    CHECK_FALSE(receive(tx, "s", id));
    const StreamEvent first{.position = Position{1}, .id = id};
    std::ignore = receive_in_order(tx, "s", first);
    std::ignore = receive_in_order(
        tx, "s", {.position = Position{3}, .id = new_event_id(), .previous_id = id});
    CHECK(words.take() == Said{"append 1", "append 3", "receive s fresh", "receive s duplicate",
                               "receive s fresh", "receive s gap"});
    CHECK(take(tx, "s").empty());
    Event bad = paid();
    bad.topic = "";
    CHECK(code_of([&] { append(tx, bad); }) == ErrorCode::invalid_argument);
    CHECK(code_of([&] { return receive(tx, "", id); }) == ErrorCode::invalid_argument);
    CHECK(code_of([&] { return take(tx, "s", {.events_max = 0}); }) == ErrorCode::invalid_config);
    CHECK(words.take() == Said{"take s 0", "append 1 invalid_argument",
                               "receive  none invalid_argument", "take s 0 invalid_config"});
    tx.commit();
    CHECK(code_of([&] { tx.commit(); }) == ErrorCode::internal);
    CHECK(words.take() == Said{"commit", "commit internal"});
  }
  { const Transaction undone{*session, observed}; }
  CHECK(words.take().empty());
}

TEST_CASE("an observer is told of a joined handle's calls, but of no commit that is not ours") {
  const auto store = make_store();
  const auto session = store->session();
  Words words;
  session->begin();
  {
    Transaction tx = Transaction::join(*session, {.observer = words.observer()});
    append(tx, paid());
    tx.commit();
  }
  session->commit();
  CHECK(words.take() == Said{"append 1"});
}

TEST_CASE("an observer is told each decision about an operation") {
  const auto store = make_store();
  const auto session = store->session();
  Words words;
  const ExecuteOptions observed{.wait = 0ms, .observer = words.observer()};
  const auto run = [&](const Operation& operation, Reply reply = {}) {
    std::ignore = execute(*session, operation, charging(*session, std::move(reply)), observed);
    return words.take();
  };
  CHECK(run(charge("k")) == Said{"append 1", "commit", "execute payments executed 1"});
  CHECK(run(charge("k")) == Said{"execute payments replayed 1"});
  CHECK(run(charge("k", "amount=6")) == Said{"execute payments mismatch 1"});
  const Reply failure{.verdict = Verdict::final_failure, .status = 402};
  CHECK(run(charge("f"), failure) ==
        Said{"append 1", "commit", "execute payments executed failure 1"});
  CHECK(run(charge("f")) == Said{"execute payments replayed failure 1"});
  CHECK(run(charge("r"), {.verdict = Verdict::retryable_failure}) ==
        Said{"append 1", "execute payments released 1"});
  change(*session,
         "UPDATE outseal_idempotency SET state = 'in_progress', expires_at = NULL,"
         " purge_at = NULL, fence = 1");
  CHECK(run(charge("k")) == Said{"execute payments in_progress 1"});

  CHECK_THROWS_AS(std::ignore = execute(
                      *session, charge("t"),
                      [](Transaction&) -> Reply { throw std::logic_error{"x"}; }, observed),
                  std::logic_error);
  CHECK(words.take() == Said{"execute payments none 1 threw"});
  CHECK(code_of([&] { return run(charge("")); }) == ErrorCode::invalid_argument);
  CHECK(words.take() == Said{"execute payments none 0 invalid_argument"});
  CHECK(code_of([&] { return run(charge("s"), {.status = 1'000}); }) ==
        ErrorCode::invalid_argument);
  CHECK(words.take() == Said{"append 1", "execute payments none 1 invalid_argument"});
}

TEST_CASE("an observer is told that an execution had to wait for another one") {
  const auto store = make_store();
  const auto holder = store->session();
  const auto other = store->session();
  Words words;
  std::optional<std::thread> waiter;
  std::ignore = execute(*holder, charge("k"), [&](Transaction&) -> Reply {
    waiter.emplace([&] {
      std::ignore = execute(*other, charge("k"), charging(*other, {}),
                            {.wait = 60s, .observer = words.observer()});
    });
    std::this_thread::sleep_for(200ms);
    return {};
  });
  waiter->join();
  CHECK(words.take() == Said{"execute payments replayed tried again"});
}

TEST_CASE("an observer that throws changes nothing") {
  const auto store = make_store();
  const auto session = store->session();
  int calls = 0;
  const Observer throwing = [&](const Observation&) {
    ++calls;
    throw std::runtime_error{"observer"};
  };
  CHECK(execute(*session, charge("k"), charging(*session, {}), {.observer = throwing}).outcome ==
        Outcome::executed);
  CHECK(code_of([&] {
          return execute(*session, charge(""), charging(*session, {}), {.observer = throwing});
        }) == ErrorCode::invalid_argument);
  {
    Transaction tx{*session, {.observer = throwing}};
    append(tx, paid());
    tx.commit();
  }
  CHECK(calls == 6);
  CHECK(count(*session, "outseal_outbox") == 2);
  CHECK(balance(*session, 1) == 95);
}

TEST_CASE("an observer is told of each look at a status") {
  const auto store = make_store();
  const auto session = store->session();
  Words words;
  const StatusOptions observed{.observer = words.observer()};
  const OperationKey key{.scope = "payments", .principal = "shop", .key = "k1"};
  CHECK(status(*session, key, observed).state == OperationState::absent);
  std::ignore = execute(*session, charge("k1"), charging(*session, {}));
  CHECK(status(*session, key, observed).state == OperationState::succeeded);
  CHECK(words.take() == Said{"status absent", "status succeeded"});
  change(*session, "DROP TABLE outseal_idempotency");
  CHECK(code_of([&] { return status(*session, key, observed); }) == ErrorCode::schema_missing);
  CHECK(words.take() == Said{"status none schema_missing"});
}

TEST_CASE("an observer is told each step of an operation with an effect, and each answer") {
  const auto store = make_store();
  const auto session = store->session();
  Words words;
  AttemptOptions options;
  options.execute.observer = words.observer();
  std::vector answers{CallResult::Verdict::uncertain, CallResult::Verdict::applied};
  const Effect effect{
      .name = "charge",
      .request = "amount=5",
      .provider = {.name = "bank", .replays = Replays::any, .window = 24h},
      .policies = {Policy::rerun},
      .call = [&](EffectCall& call) {
        return CallResult{.verdict = answers.at(static_cast<std::size_t>(call.attempt() - 1))};
      }};
  const auto of_interest = [&] {
    Said said = words.take();
    std::erase(said, "commit");
    return said;
  };
  Attempt attempt{*session, charge("k1"), options};
  CHECK_FALSE(attempt.begin().has_value());
  CHECK(attempt.effect(effect).state == EffectState::intended);
  CHECK(attempt.effect(effect).is_applied());
  CHECK(attempt.finish([](Transaction&) { return Reply{}; }).outcome == Outcome::executed);
  CHECK(of_interest() == Said{"begin", "bank call 1 uncertain", "effect charge intended",
                              "bank call 2 applied", "effect charge confirmed", "finish executed"});
  Attempt again{*session, charge("k1"), options};
  CHECK(again.begin()->outcome == Outcome::replayed);
  CHECK(of_interest() == Said{"begin replayed"});
}
