#include "sim/schedule.h"

#include <algorithm>

#include "sim/world.h"
#include "support/history.h"

namespace outseal::sim {
namespace {

/// Steps in which a healed world must have published everything: a few dozen an event, and chosen
/// by us so that even the slowest of ten million schedules stays far below.
constexpr std::uint64_t kHealedStepsMax = 20'000;
/// Steps in which relays that nobody restarts still do what they have in mind: chosen by us,
/// several rounds of everything that one can have under way.
constexpr std::uint64_t kLastSteps = 100;

/// Anything may happen.
void chaos(World& world) {
  Random& random = world.random;
  const std::uint64_t end = world.plan.steps;
  for (; world.steps < end && world.broken().empty(); ++world.steps) {
    world.now += Milliseconds{random.below(3)};
    if (world.sink.is_away() && random.percent(10)) world.restart_sink();
    SimRelay& relay = world.relays[random.below(world.relays.size())];
    if (!relay.runs() && random.percent(15)) {
      world.start(relay, random.percent(20), world.plan.rebuild);
    }
    const std::uint64_t roll = random.below(100);
    if (roll < world.plan.disaster) {
      world.disaster();
    } else if (roll < 25) {
      world.commit_event();
    } else if (roll < 60) {
      world.step_database(relay, true);
    } else if (roll < 85) {
      world.step_sink(relay, true);
    } else if (roll < 95) {
      world.step_timer(relay);
    } else if (roll < 98) {
      world.step_ghost();
    } else {
      world.step_late_write();
    }
  }
}

/// Something of the healed world; if nothing is due, time passes until a relay wakes.
void healed_step(World& world) {
  ++world.steps;
  Random& random = world.random;
  if (random.percent(5) && (world.step_ghost() || world.step_late_write())) return;
  bool any = false;
  const std::size_t first = random.below(world.relays.size());
  for (std::size_t at = 0; at < world.relays.size(); ++at) {
    SimRelay& relay = world.relays[(first + at) % world.relays.size()];
    any = world.step_sink(relay, false) || any;
    any = world.step_database(relay, false) || any;
    any = world.step_timer(relay) || any;
  }
  if (any) return;
  std::optional<Milliseconds> next;
  for (const SimRelay& relay : world.relays) {
    if (relay.runs() && relay.wake()) next = next ? std::min(*next, *relay.wake()) : relay.wake();
  }
  world.now = std::max(world.now + Milliseconds{1}, next.value_or(world.now));
}

/// Everything works again; what is refused stays so in half of the schedules. Events that the sink
/// rejected are accepted only after all relays have been started anew: a position that was taken
/// from a rejected event belongs to another one, and a relay that slept through this could still
/// send the first.
void heal(World& world) {
  world.trace("     HEALED");
  Random& random = world.random;
  if (world.sink.is_away()) world.restart_sink();
  world.database.resume();
  while (world.committed < world.plan.events) world.commit_event();
  for (SimRelay& relay : world.relays) relay.pause_until(Milliseconds{0});
  if ((world.plan.mends && world.plan.rejected_late > 0) || random.percent(30)) {
    for (SimRelay& relay : world.relays) world.crash(relay);
    while (world.step_ghost()) continue;
  }
  if (!world.plan.mends) return;
  for (const SimEvent& event : world.database.events()) {
    Content& content = world.database.contents.of(event.id);
    content.refused_early = false;
    if (world.plan.rejected_late > 0) content.rejected_late = false;
  }
}

bool publish_rest(World& world) {
  const std::uint64_t end = world.steps + kHealedStepsMax;
  while (world.steps < end && world.broken().empty()) {
    if (world.plan.mends && world.steps % 16 == 0) world.database.redrive_all();
    const bool redriven = !world.plan.mends || !world.database.has_open();
    if (redriven && world.database.is_drained()) return true;
    bool any_runs = false;
    for (SimRelay& relay : world.relays) {
      const bool halted = relay.end().halt && (world.is_forked() || world.is_restored());
      if (!relay.runs() && !halted) world.start(relay, false, true);
      any_runs = any_runs || relay.runs();
    }
    if (!any_runs) return true;  // All have halted on a fork.
    healed_step(world);
  }
  return false;
}

/// All relays but one stop; that one starts anew with --drain and must see to the end.
/// @returns how it ended; nothing if it did not.
std::optional<RelayEnd> drain(World& world) {
  world.trace("     DRAIN");
  for (SimRelay& relay : world.relays) world.crash(relay);
  while (world.step_late_write() || world.step_ghost()) continue;
  SimRelay& last = world.relays.front();
  world.start(last, true, true);
  const std::uint64_t end = world.steps + kHealedStepsMax;
  while (last.runs() && world.steps < end) healed_step(world);
  if (last.runs()) return std::nullopt;
  return last.end();
}

/// Nobody restarts anything: whatever is still under way comes to its end.
bool go_on(World& world) {
  world.trace("     GO ON");
  while (world.step_late_write() || world.step_ghost()) continue;
  for (std::uint64_t step = 0; step < kLastSteps; ++step) healed_step(world);
  return publish_rest(world);
}

/// A foreign event ends the story: before it a prefix of the history, after it nothing.
std::vector<std::string> judge_fork(const World& world, const RelayEnd& end) {
  if (!end.halt) return {"a relay went on although somebody else wrote the sink"};
  const auto& stored = world.sink.stored();
  const std::size_t own = *world.foreign_at();
  if (stored.size() > own + 1) return {"the sink took events after somebody else's"};
  return test::check_history(world.database.history(), {stored.data(), own}, test::Extent::prefix);
}

std::vector<std::string> judge(World& world, bool published) {
  if (const std::string broken = world.broken(); !broken.empty()) return {broken};
  if (!published) return {"a healed world does not publish the rest"};
  const bool must_restart = world.is_damaged() || world.is_forked() || world.is_restored();
  if (!world.plan.restarts && !must_restart) {
    if (!go_on(world)) return {"a healed world does not come to its end"};
    if (const std::string broken = world.broken(); !broken.empty()) return {broken};
    return test::check_history(world.database.history(), world.sink.stored(),
                               test::Extent::drained);
  }
  const std::optional<RelayEnd> end = drain(world);
  if (const std::string broken = world.broken(); !broken.empty()) return {broken};
  if (!end) return {"a relay with --drain does not end"};
  if (world.is_forked()) return judge_fork(world, *end);
  if (end->halt && world.is_restored()) return {};
  if (!end->drained) return {"a relay with --drain ended before all was published"};
  if (!world.database.is_drained()) return {"a relay said drained while events were left"};
  return test::check_history(world.database.history(), world.sink.stored(), test::Extent::drained);
}

}  // namespace

ScheduleResult run_schedule(const ScheduleOptions& options, Coverage& coverage) {
  ScheduleResult result;
  Random random{options.seed};
  const Plan plan = Plan::draw(random);
  World world{plan, random, options.mutant, coverage, options.trace ? &result.trace : nullptr};
  world.trace("     " + world.plan.text());
  chaos(world);
  bool published = false;
  if (world.broken().empty()) {
    heal(world);
    published = publish_rest(world);
  }
  result.violations = judge(world, published);
  result.steps = world.steps;
  return result;
}

}  // namespace outseal::sim
