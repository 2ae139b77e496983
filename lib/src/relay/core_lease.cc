// The lease: led by us, by another relay, or by nobody while an operator has paused the
// subscription; and how a relay that does not lead, or has lost the database, starts anew.
#include <algorithm>
#include <utility>

#include "relay/core.h"

namespace outseal::relay {
namespace {

constexpr Milliseconds kStandbyPollMin{50};
constexpr Milliseconds kStandbyPollMax{1'000};

}  // namespace

void Core::take(const LeaseGranted& granted) {
  database_busy_ = false;
  work_ = {};
  state_ = granted.state;
  bound_tail_ = state_.acked;
  leased_at_ = lease_asked_;
  trouble_since_.reset();
  is_paused_ = false;
  phase_ = Phase::opening;
  report(observe::Led{state_.epoch, state_.acked.position, state_.bound});
}

void Core::take(const LeaseDenied& denied) {
  database_busy_ = false;
  is_paused_ = false;
  phase_ = Phase::standby;
  if (!trouble_since_) {
    trouble_since_ = now_;
    report(observe::StoodBy{denied.holder});
  } else if (options_.drain && now_ - *trouble_since_ > options_.standby_max) {
    halt(ErrorCode::lease_lost, "another relay leads this subscription: " + denied.holder,
         "stop it first, or let it drain the outbox itself; who leads: outseal-relay status");
    return;
  }
  not_before_ = now_ + std::clamp(denied.remaining, kStandbyPollMin, kStandbyPollMax);
}

/// Nobody leads until an operator resumes the subscription, so there is no end of patience: a drain
/// ends at once, everybody else looks again now and then.
void Core::take(const LeasePaused&) {
  database_busy_ = false;
  phase_ = Phase::standby;
  trouble_since_.reset();
  if (!std::exchange(is_paused_, true)) report(observe::Paused{});
  if (options_.drain) stopping_ = true;
  not_before_ = now_ + kStandbyPollMax;
}

void Core::take(const LeaseRenewed&) {
  database_busy_ = false;
  leased_at_ = lease_asked_;
  if (work_.halt_asked) halt(work_.halt_due->code, work_.halt_due->what, work_.halt_due->hint);
}

void Core::take(const LeaseReleased&) {
  database_busy_ = false;
  stand_by(Milliseconds{0});
}

void Core::take(const Fenced&) {
  database_busy_ = false;
  report(observe::Fenced{});
  stand_by(kStandbyPollMin);
}

void Core::take(const DatabaseFailed& failed) {
  database_busy_ = false;
  if (!trouble_since_) trouble_since_ = now_;
  if (options_.drain && now_ - *trouble_since_ > options_.standby_max)
    return halt(ErrorCode::unreachable, failed.what, failed.hint);
  const Milliseconds pause = backoff();
  report(observe::DatabaseFailed{failed.what, failed.hint, pause});
  stand_by(pause);
}

}  // namespace outseal::relay
