// What may go wrong here, and what may not:
//   - A process stops at any step for as long as it likes, or dies. A request, though, leaves
//     before the deadline that its caller was given, as a client with a timeout would have it. (To
//     a provider that keeps all answers a rerun may leave later, inside of the window.)
//   - The database's clock is off by up to 10 s, and steps. A provider's window, its way and its
//     look-up keep what the profile says of them.
#include "sim/effect_schedule.h"

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <utility>

#include "sim/effect_model.h"
#include "sim/effect_shop.h"

namespace outseal::sim {
namespace {

using namespace std::chrono_literals;
using attempt::EffectCore;
namespace op = attempt;
using State = OperationView::State;

constexpr op::Timing kTiming{.lease = 60s, .margin = 5s, .call_min = 1s};
constexpr std::size_t kProcesses = 3;
constexpr std::uint64_t kStepsMax = 4'000;

/// One attempt at the operation.
struct Process {
  EffectCore core;
  Milliseconds off;  ///< Of its clock.
  op::Command command = op::Load{};
  Milliseconds given_at{};                  ///< The command, by its clock.
  std::optional<op::Input> input = {};      ///< The answer, that it has not seen yet.
  std::optional<std::size_t> request = {};  ///< That it waits for.
  std::size_t next_effect = 0;
};

class World {
 public:
  World(std::uint64_t seed, bool trace, EffectCoverage& coverage)
      : random_{seed}, trace_{trace}, coverage_{coverage}, shop_{random_} {
    set_clock();
    for (const Effect& each : shop_.effects) note(describe(each));
  }

  EffectScheduleResult run() {
    while (result_.steps < kStepsMax && result_.violations.empty() && !is_over()) {
      ++result_.steps;
      step();
    }
    settle_down();
    check_end();
    return std::move(result_);
  }

 private:
  // --- Moves -------------------------------------------------------------------------------------

  void step() {
    arrive();
    const std::uint64_t move = random_.below(100);
    if (move < 12) {
      advance_time();
    } else if (move < 14) {
      set_clock();
    } else if (move < 20 && processes_.size() < kProcesses) {
      start();
    } else if (move < 22) {
      let_operator_decide();
    } else if (!processes_.empty()) {
      Process& process = *processes_.at(random_.below(processes_.size()));
      if (move < 25)
        crash(process);
      else
        proceed(process);
    }
  }

  void advance_time() {
    constexpr std::array<Milliseconds, 7> kSteps{100ms, 2s, 20s, 70s, 70s, 4min, 15min};
    const auto step = static_cast<std::uint64_t>(kSteps.at(random_.below(kSteps.size())).count());
    now_ += Milliseconds{random_.below(step + 1)};
    if (random_.below(200) == 0) now_ += 50min;
  }

  void set_clock() { database_.set_clock(Milliseconds{random_.below(20'001)} - 10s); }

  void arrive() {
    for (const auto& provider : shop_.providers) provider->arrive(now_, random_);
  }

  void start() {
    processes_.push_back(std::make_unique<Process>(Process{
        .core = EffectCore{kTiming, "key"}, .off = Milliseconds{random_.below(1U << 30U)}}));
    Process& process = *processes_.back();
    process.command = process.core.begin(operation_, now_ + process.off);
    note("starts an attempt");
  }

  void crash(const Process& process) {
    ++coverage_.crashes;
    note("crashes");
    remove(process);
  }

  void remove(const Process& process) {
    std::erase_if(processes_, [&](const auto& each) { return each.get() == &process; });
  }

  void let_operator_decide() {
    for (std::size_t i = 0; i < shop_.effects.size(); ++i) {
      const EffectRow* const row = row_of(i);
      // By the provider's own ledger, once nothing is on its way any more.
      if (row == nullptr || row->outcome.state != EffectState::unknown ||
          !shop_.providers[i]->is_quiet() || !processes_.empty())
        continue;
      const bool applied = shop_.providers[i]->effects(key_of(i)) > 0;
      database_.decide(row->outcome.name,
                       applied ? EffectState::applied : EffectState::not_applied);
      ++coverage_.decided;
    }
  }

  // --- An attempt --------------------------------------------------------------------------------

  /// Lets it either carry its command out, or see the answer.
  void proceed(Process& process) {
    if (process.request) return wait_for_answer(process);
    if (process.input) return see(process, *std::exchange(process.input, std::nullopt));
    std::visit([&](const auto& each) { carry_out(process, each); }, op::Command{process.command});
  }

  void see(Process& process, const op::Input& input) {
    process.given_at = now_ + process.off;
    process.command = process.core.on(input, process.given_at);
  }

  void carry_out(Process& process, const op::Load& /*load*/) {
    process.input = op::Loaded{database_.load(now_)};
  }
  void carry_out(Process& process, const op::TakeOver& take) {
    auto view = database_.take_over(take.fence, kTiming.lease, now_);
    if (view) ++coverage_.takeovers;
    note(view ? "takes over" : "is too late to take over");
    process.input = op::TakenOver{std::move(view)};
  }
  void carry_out(Process& process, const op::Commit& commit) {
    const bool ours = database_.advance(commit.advance, now_);
    if (ours && commit.advance.hand_over) ++coverage_.handed_over;
    note(ours ? "commits" : "meets another fence");
    process.input = op::Committed{ours};
  }
  void carry_out(Process& process, const op::Call& call) {
    const std::size_t at = at_hand(process);
    const bool late = is_late(process, at);
    if (late || random_.percent(5)) {
      note(late ? "has no time to call" : "cannot connect");
      process.input = op::Called{{.verdict = CallResult::Verdict::not_sent}};
      return;
    }
    if (call.attempt > 1) ++coverage_.reruns;
    note("calls, attempt " + std::to_string(call.attempt) + " at " + shop_.effects[at].name);
    check_window(at);
    first_sent_.try_emplace(at, now_);
    process.request = shop_.providers[at]->send(key_of(at), now_, random_);
  }
  void carry_out(Process& process, const op::Ask& /*ask*/) {
    ++coverage_.asked;
    const std::size_t at = at_hand(process);
    AskResult result = shop_.providers[at]->ask(key_of(at), now_, random_);
    note(result.answer == AskResult::Answer::applied ? "asks: applied" : "asks");
    process.input = op::Asked{std::move(result)};
  }
  void carry_out(Process& process, const op::Cancel& /*cancel*/) {
    const std::size_t at = at_hand(process);
    if (now_ + process.off > process.core.deadline()) {
      process.input = op::Cancelled{{.answer = CancelResult::Answer::cannot_tell}};
      return;
    }
    CancelResult result = shop_.providers[at]->cancel(key_of(at), random_);
    if (result.answer == CancelResult::Answer::cancelled) ++coverage_.cancelled;
    note("cancels");
    process.input = op::Cancelled{std::move(result)};
  }
  void carry_out(Process& process, const op::Finish& finish) {
    Reply reply{.verdict = Verdict::success};
    for (const EffectOutcome& each : process.core.outcomes())
      if (!each.is_applied()) reply.verdict = Verdict::final_failure;
    if (random_.percent(3)) reply.verdict = Verdict::retryable_failure;
    if (reply.verdict == Verdict::retryable_failure) {
      process.input = op::Finished{reply};
      return;
    }
    const bool ours = database_.finish(finish.fence, finish.settled, reply, now_);
    note(ours ? "finishes" : "is too late to finish");
    if (ours) take_finish(process, reply);
    process.input = op::Finished{ours ? std::optional{reply} : std::nullopt};
  }

  void carry_out(Process& process, const op::Continue& /*go*/) { go_on(process); }
  void carry_out(Process& process, const op::Return& back) {
    const EffectOutcome& outcome = back.outcome;
    if (outcome.state == EffectState::confirmed)
      process.core.set_compensation(outcome.name, "undo");
    if (outcome.settled()) {
      ++process.next_effect;
      go_on(process);
    } else {
      process.command = process.core.leave(now_ + process.off);
    }
  }
  void carry_out(Process& process, const op::Answer& answer) {
    note("is answered: " + std::string{name_of(answer.result.outcome)});
    if (answer.result.outcome == Outcome::replayed) {
      ++coverage_.replayed;
      if (!reply_ || answer.result.reply->verdict != reply_->verdict)
        violate("a replay is not what was stored");
    }
    if (answer.result.outcome == Outcome::expired) ++coverage_.expired;
    remove(process);
  }
  void carry_out(Process& process, const op::Lost& /*lost*/) {
    ++coverage_.lost;
    remove(process);
  }

  void go_on(Process& process) {
    const Milliseconds now = now_ + process.off;
    if (process.next_effect < shop_.effects.size() && !has_failed(process))
      process.command = process.core.effect(shop_.effects[process.next_effect], now);
    else
      process.command = process.core.finish(now);
  }

  static bool has_failed(const Process& process) {
    const auto outcomes = process.core.outcomes();
    return std::any_of(outcomes.begin(), outcomes.end(), [](const EffectOutcome& each) {
      return each.settled() && !each.is_applied();
    });
  }

  void wait_for_answer(Process& process) {
    const auto answer = shop_.providers[at_hand(process)]->answer(*process.request, now_);
    if (!answer && now_ + process.off < process.core.deadline()) return;
    note(!answer                                           ? "gives up waiting"
         : answer->verdict == CallResult::Verdict::applied ? "is answered: applied"
                                                           : "is answered: refused");
    process.request.reset();
    process.input = op::Called{answer.value_or(CallResult{})};
  }

  // --- What must hold ----------------------------------------------------------------------------

  bool is_late(const Process& process, std::size_t at) {
    if (now_ + process.off <= process.core.deadline()) return false;
    if (process.core.deadline() <= process.given_at) return false;  // Nobody could have kept to it.
    const ProviderProfile& profile = shop_.effects[at].provider;
    const auto first = first_sent_.find(at);
    if (profile.replays != Replays::any || first == first_sent_.end() ||
        now_ > first->second + profile.window / 2)
      return true;
    ++coverage_.late_requests;
    return false;
  }

  void check_window(std::size_t at) {
    const auto first = first_sent_.find(at);
    const ProviderProfile& profile = shop_.effects[at].provider;
    if (first == first_sent_.end()) return;
    const Effect& effect = shop_.effects[at];
    const bool has_other_ways = std::find(effect.policies.begin(), effect.policies.end(),
                                          Policy::ask) != effect.policies.end();
    if (!has_other_ways && profile.replays != Replays::nothing &&
        now_ >= first->second + profile.window)
      violate("a request was sent again outside of the window");
  }

  void take_finish(const Process& process, const Reply& reply) {
    reply_ = reply;
    if (database_.finishes() > 1) violate("the operation has finished twice");
    std::size_t applied = 0;
    for (const EffectRow& row : database_.effects())
      if (row.outcome.is_applied() && !row.compensation.empty()) ++applied;
    if (process.core.compensations().size() != applied)
      violate("compensations are not those of the applied effects");
    if (reply.verdict == Verdict::success) {
      ++coverage_.succeeded;
    } else {
      ++coverage_.failed;
      if (applied > 0) ++coverage_.compensated;
    }
  }

  /// Nobody disturbs any more: retries come until it is final, or waits for an operator.
  void settle_down() {
    for (int round = 0; round < 400 && result_.violations.empty() && !is_settled(); ++round) {
      if (processes_.empty()) {
        now_ += 3min;
        start();
      }
      for (int i = 0; i < 60 && !processes_.empty(); ++i) {
        arrive();
        proceed(*processes_.front());
        now_ += 1s;
      }
    }
    now_ += 1h;
    arrive();
    if (is_settled() && database_.finishes() > 0 && random_.percent(30)) {
      database_.drop_reply();
      start();
      for (int i = 0; i < 60 && !processes_.empty(); ++i) proceed(*processes_.front());
      if (database_.finishes() != 1) violate("an expired key was executed again");
    }
  }

  bool is_over() const { return database_.finishes() > 0 && processes_.empty(); }
  bool is_settled() const {
    return database_.finishes() > 0 || database_.state() == State::unknown;
  }

  void check_end() {
    if (!result_.violations.empty()) return;
    if (!is_settled()) violate("the operation never ends");
    for (std::size_t i = 0; i < shop_.effects.size(); ++i) check_effect(i);
  }

  void check_effect(std::size_t i) {
    const Provider& provider = *shop_.providers[i];
    const std::string key = key_of(i);
    const int effects = provider.effects(key);
    const EffectRow* const row = row_of(i);
    const std::string name = shop_.effects[i].name;
    // A request that was refused must not be executed anew where that was not wanted.
    const Effect& effect = shop_.effects[i];
    const bool only_reruns =
        effect.policies[0] == Policy::rerun && effect.policies[1] == Policy::hand_over;
    if (only_reruns && effect.rerun_needs == Replays::any && provider.executions(key) > 1)
      violate(name + " was executed anew");
    if (effects > 1) violate(name + " has happened " + std::to_string(effects) + " times");
    if (row == nullptr) {
      if (provider.requests(key) > 0) violate(name + " was sent, and nothing is recorded");
      return;
    }
    const EffectOutcome& outcome = row->outcome;
    const std::string text = name + " is " + std::string{name_of(outcome.state)};
    if (outcome.is_applied() && effects != 1) violate(text + ", and did not happen");
    if (outcome.settled() && !outcome.is_applied() && effects != 0)
      violate(text + ", and did happen");
    if (shop_.effects[i].policies.front() == Policy::hand_over && provider.requests(key) > 1)
      violate(name + " was sent again, and was to be handed over");
  }

  // --- Small things ------------------------------------------------------------------------------

  std::size_t at_hand(const Process& process) const {
    return process.core.row().outcome.name == "effect0" ? 0 : 1;
  }
  std::string key_of(std::size_t at) const {
    return op::provider_key_of("key", shop_.effects[at].name);
  }
  const EffectRow* row_of(std::size_t at) const {
    for (const EffectRow& row : database_.effects())
      if (row.outcome.name == shop_.effects[at].name) return &row;
    return nullptr;
  }
  void violate(std::string text) {
    note("VIOLATION: " + text);
    result_.violations.push_back(std::move(text));
  }
  void note(const std::string& text) {
    if (trace_) result_.trace.push_back(std::to_string(now_.count()) + " ms  " + text);
  }

  Random random_;
  bool trace_;
  EffectCoverage& coverage_;
  const Operation operation_{.scope = "s", .key = "k", .fingerprint = std::string(32, 'f')};
  Shop shop_;
  OperationDatabase database_{operation_};
  Milliseconds now_{1h};
  std::vector<std::unique_ptr<Process>> processes_;
  std::map<std::size_t, Milliseconds> first_sent_;
  std::optional<Reply> reply_;
  EffectScheduleResult result_;
};

}  // namespace

EffectScheduleResult run_effect_schedule(std::uint64_t seed, bool trace, EffectCoverage& coverage) {
  return World{seed, trace, coverage}.run();
}

}  // namespace outseal::sim
