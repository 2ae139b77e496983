#include "sim/explorer.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "sim/moves.h"
#include "support/history.h"

namespace outseal::sim {
namespace {

using Values = std::unordered_set<Digest::Value, Digest::Hash>;

/// How a world comes to its end.
enum class Ending {
  as_it_is,  ///< Both relays go on, and what is refused stays so.
  anew,      ///< Both die, nothing is refused any more, and a new one drains.
};

/// Rounds in which a world must have come to its end: chosen by us, ten times what the longest
/// needs.
constexpr int kRoundsMax = 600;

class Explorer {
 public:
  explicit Explorer(const Bounds& bounds) : bounds_{bounds} {}

  Exploration run() {
    std::vector<Found> level;
    level.push_back({0, State{bounds_, coverage_, nullptr}});
    while (!level.empty() && result_.violation.empty() && steps_.size() < bounds_.states_max) {
      std::vector<Found> next;
      for (const Found& found : level) {
        if (!expand(found, next) || steps_.size() >= bounds_.states_max) break;
      }
      level = std::move(next);
      ++result_.depth;
    }
    result_.complete = level.empty();
    result_.states = steps_.size();
    return std::move(result_);
  }

 private:
  struct Found {
    std::uint32_t step;  ///< Index of the step that led to it.
    State state;
  };
  struct Step {
    std::uint32_t before = 0;
    Move move{};
  };

  /// @returns false if there is a violation.
  bool expand(const Found& found, std::vector<Found>& next) {
    for (const Move& move : moves_of(found.state, bounds_)) {
      State state = found.state;
      make(move, bounds_, state);
      ++result_.moves;
      const bool stored_anew = durable_.insert(state.durable().value()).second;
      result_.violation = check(state, stored_anew);
      const Digest digest = state.canonical();
      if (result_.violation.empty() && !is_new(digest, state.left)) continue;
      const auto step = static_cast<std::uint32_t>(steps_.size());
      steps_.push_back({found.step, move});
      if (result_.violation.empty() && !good_.contains(digest.value()))
        result_.violation = end(Ending::as_it_is, state);
      if (result_.violation.empty() && stored_anew) result_.violation = end(Ending::anew, state);
      if (!result_.violation.empty()) {
        explain(step);
        return false;
      }
      next.push_back({step, std::move(state)});
    }
    return true;
  }

  bool is_new(Digest digest, const Budgets& left) {
    digest.add(left.crashes, left.faults, left.expiries, left.acts, left.stops, left.losses);
    return visited_.insert(digest.value()).second;
  }

  /// What may never be, and what the sink may hold at any time.
  std::string check(const State& state, bool stored_anew) const {
    const World& world = state.world;
    if (const std::string broken = world.broken(); !broken.empty()) return broken;
    const bool drained = std::any_of(world.relays.begin(), world.relays.end(),
                                     [](const SimRelay& relay) { return relay.end().drained; });
    const bool nothing_new = bounds_.committed_later == 0 && bounds_.budgets.acts == 0;
    if (drained && nothing_new && !world.database.is_drained())
      return "a relay said drained while events were left";
    return stored_anew ? check_sink(world, test::Extent::prefix) : "";
  }

  static std::string check_sink(const World& world, test::Extent extent) {
    const auto violations =
        test::check_history(world.database.history(), world.sink.stored(), extent);
    return violations.empty() ? "" : violations.front();
  }

  /// Lets a world come to its end. @returns what is wrong then; empty if nothing is.
  std::string end(Ending ending, State state) {
    const Digest::Value before = state.canonical().value();
    prepare(ending, state);
    Values passed;
    for (int round = 0; round < kRoundsMax; ++round) {
      const Digest::Value value = state.canonical().value();
      const bool ended = has_ended(ending, state);
      if (ended || (ending == Ending::as_it_is && good_.contains(value))) {
        if (ending == Ending::as_it_is) {
          good_.merge(passed);
          good_.insert(before);
        }
        return ended ? judge(ending, state) : "";
      }
      if (!passed.insert(value).second) return "a world without faults goes round in circles";
      go_on(ending, state);
      if (std::string broken = state.world.broken(); !broken.empty()) return broken;
    }
    return "a world without faults does not come to its end";
  }

  void prepare(Ending ending, State& state) {
    World& world = state.world;
    world.trace(ending == Ending::anew ? "     ANEW" : "     WITHOUT FAULTS");
    world.database.resume();
    while (world.database.events().size() < bounds_.events.size())
      world.commit(bounds_.events[world.database.events().size()], true);
    if (ending == Ending::as_it_is) return;
    for (SimRelay& relay : world.relays) world.crash(relay, {.lease = false});
    world.ghosts.clear();
    world.late_writes.clear();
    for (const SimEvent& event : world.database.events()) {
      Content& content = world.database.contents.of(event.id);
      content.refused_early = content.rejected_late = false;
    }
    world.database.redrive_all();
    state.clocks[0] = world.now;
    world.start(world.relays[0], true, false);
  }

  bool has_ended(Ending ending, const State& state) const {
    const World& world = state.world;
    if (ending == Ending::anew) return !world.relays[0].runs();
    if (!world.ghosts.empty() || !world.late_writes.empty() || !world.database.is_drained())
      return false;
    // What the sink lost behind a relay's back, an idle leader finds out when it looks again.
    const bool lost = state.left.losses < bounds_.budgets.losses;
    return !lost || check_sink(world, test::Extent::drained).empty();
  }

  /// Every relay does one thing; what dead ones left behind comes first.
  void go_on(Ending ending, State& state) {
    if (step_of_the_dead(bounds_, state)) return;
    step_without_faults(0, bounds_, state);
    if (ending == Ending::as_it_is) step_without_faults(1, bounds_, state);
  }

  static std::string judge(Ending ending, const State& state) {
    const World& world = state.world;
    if (ending == Ending::anew) {
      if (!world.relays[0].end().drained) return "a relay with --drain ended before its time";
      if (!world.database.is_drained() || world.database.has_open())
        return "a relay said drained while events were left";
    }
    return check_sink(world, test::Extent::drained);
  }

  /// Makes the moves that lead to the violation once more, and notes them.
  void explain(std::uint32_t last) {
    std::vector<Move> path;
    for (std::uint32_t at = last; at != 0; at = steps_[at].before) path.push_back(steps_[at].move);
    State state{bounds_, coverage_, &result_.trace};
    std::for_each(path.rbegin(), path.rend(),
                  [&](const Move& move) { make(move, bounds_, state); });
    if (!check(state, true).empty()) return;
    good_.clear();
    const std::size_t lines = result_.trace.size();
    if (!end(Ending::as_it_is, state).empty()) return;
    result_.trace.resize(lines);
    end(Ending::anew, state);
  }

  const Bounds& bounds_;
  Coverage coverage_;
  Exploration result_;
  Values visited_;
  std::vector<Step> steps_ = std::vector<Step>(1);
  Values good_;     ///< From these states on all comes out right with the relays as they are,
  Values durable_;  ///< and from these with a new one.
};

}  // namespace

Exploration explore(const Bounds& bounds) { return Explorer{bounds}.run(); }

}  // namespace outseal::sim
