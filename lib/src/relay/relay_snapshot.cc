#include "relay/relay_snapshot.h"

#include <utility>
#include <variant>

#include "base/text.h"

namespace outseal::relay {
namespace {

using State = RelaySnapshot::State;

/// What each observation changes.
struct Apply {
  RelaySnapshot& snapshot;
  RelaySnapshot::Time now;

  void enter(State state) const {
    snapshot.retry_at.reset();
    if (std::exchange(snapshot.state, state) != state) snapshot.since = now;
  }
  void fail(State state, const std::string& detail, const std::string& hint,
            std::optional<std::chrono::milliseconds> pause) const {
    enter(state);
    if (pause) snapshot.retry_at = now + *pause;
    snapshot.last_error = with_hint(detail, hint);
    snapshot.last_error_at = now;
  }

  void operator()(const observe::Started&) const { enter(State::starting); }
  void operator()(const observe::LeaseRefused& refused) const {
    enter(refused.is_paused ? State::paused : State::standby);
  }
  void operator()(const observe::Led& led) const {
    enter(State::opening);
    snapshot.acked = led.acked;
    snapshot.bound = led.bound;
  }
  void operator()(const observe::SinkOpened&) const {
    // Otherwise the lease was lost meanwhile.
    if (snapshot.state == State::opening || snapshot.state == State::waiting_for_sink)
      enter(State::leading);
  }
  void operator()(const observe::Fenced&) const { enter(State::standby); }
  void operator()(const observe::SinkWaiting& waiting) const {
    fail(State::waiting_for_sink, waiting.detail, waiting.hint, waiting.pause);
  }
  void operator()(const observe::DatabaseFailed& failed) const {
    fail(State::waiting_for_database, failed.detail, failed.hint, failed.pause);
  }
  void operator()(const observe::Halted& halted) const {
    fail(State::halted, halted.detail, halted.hint, halted.pause);
  }
  void operator()(const observe::Finished&) const { enter(State::finished); }

  void operator()(const observe::Bound& bound) const { snapshot.bound = bound.last; }
  void operator()(const observe::Acknowledged& acked) const {
    snapshot.acked = acked.last;
    snapshot.published += acked.events;
  }
  void operator()(const observe::Settled& settled) const {
    snapshot.acked = snapshot.bound = settled.last;
    snapshot.published += settled.events;
  }
  void operator()(const auto& /*nothing of it is shown*/) const {}
};

}  // namespace

void apply(const observe::Observation& what, RelaySnapshot::Time now, RelaySnapshot& snapshot) {
  std::visit(Apply{snapshot, now}, what);
}

}  // namespace outseal::relay
