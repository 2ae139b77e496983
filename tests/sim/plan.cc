#include "sim/plan.h"

namespace outseal::sim {

Plan Plan::draw(Random& random) {
  Plan plan;
  plan.relays = random.percent(80) ? 2 : 3;
  const std::uint64_t kind = random.below(100);
  plan.sink = kind < 60   ? SinkKind::conditional
              : kind < 85 ? SinkKind::exclusive
                          : SinkKind::receiver;
  plan.page_events = random.between(1, 4);
  plan.lease = Milliseconds{random.between(20, 60)};
  plan.look_again = plan.lease * 3;
  plan.events = random.between(2, 14);
  plan.keys = random.between(1, 3);
  plan.steps = random.between(40, 320);
  plan.refused_early = random.percent(40) ? random.between(5, 25) : 0;
  plan.rejected_late = random.percent(40) ? random.between(5, 25) : 0;
  plan.database_fault = random.percent(60) ? random.between(1, 20) : 0;
  plan.sink_fault = random.percent(60) ? random.between(1, 20) : 0;
  plan.disaster = random.between(1, 12);
  plan.rebuild = random.percent(60);
  const std::uint64_t trouble = plan.sink == SinkKind::receiver ? 100 : random.below(100);
  plan.loses = trouble < 15;
  plan.lies = trouble >= 10 && trouble < 20;
  plan.forgetful = plan.loses && random.percent(50);
  plan.pipelined = plan.sink == SinkKind::conditional && random.percent(70);
  plan.mends = plan.lies || random.percent(50);  // Of what it will never take, a sink cannot lie.
  plan.restarts = random.percent(50);
  if (trouble >= 20 && trouble < 26) plan.fork = Fork::foreign;
  if (trouble >= 26 && trouble < 34) {
    plan.fork = Fork::restore;
    // A refused event's position goes to another one; the tail alone cannot tell such pasts apart.
    plan.rejected_late = 0;
  }
  return plan;
}

std::string Plan::text() const {
  static constexpr const char* kSinks[] = {"conditional", "exclusive", "receiver"};
  static constexpr const char* kForks[] = {"", " foreign writer", " restored database"};
  return std::to_string(relays) + " relays, " + kSinks[static_cast<int>(sink)] + " sink" +
         (pipelined ? ", pipelined," : "") + (loses ? " that forgets" : "") +
         (lies ? " that lies" : "") + kForks[static_cast<int>(fork)] + ", pages of " +
         std::to_string(page_events) + ", lease " + std::to_string(lease.count()) + " ms";
}

}  // namespace outseal::sim
