#include "sim/world.h"

#include <algorithm>
#include <utility>
#include <variant>

namespace outseal::sim {

using Status = DeliveryResult::Status;

World::World(const Plan& drawn, Random source, Mutant mutant, Coverage& coverage,
             SimRelay::Trace trace)
    : random{source},
      plan{drawn},
      database{{mutant, plan.page_events, plan.lease}, coverage},
      sink{plan.sink, mutant, coverage},
      coverage_{&coverage},
      trace_{trace} {
  for (std::size_t at = 0; at < plan.relays; ++at) {
    relays.emplace_back(std::string(1, static_cast<char>('A' + at)), trace);
  }
}

// --- One step ------------------------------------------------------------------------------------

bool World::step_database(SimRelay& relay, bool faults) {
  if (!relay.database_call) return false;
  DatabaseCall& call = *relay.database_call;
  if (!call.reply) {
    const bool fails = faults && random.percent(plan.database_fault);
    const std::uint64_t way = fails ? random.below(3) : 3;
    if (way >= 2) {
      call.reply = database.run(call.request, now);
      note_done(*call.reply);
    }
    if (way == 1 && is_write(call.request)) late_writes.push_back(call.request);
    if (way == 2) note_in_doubt(*call.reply);
    if (way < 3) call.reply = {relay::DatabaseFailed{"connection lost", ""}, call.request.fence};
    trace(relay.name() + "    " +
          (way < 2    ? "lost: "
           : way == 2 ? "done, in doubt: "
                      : "done: ") +
          describe(call.request.command));
    if (faults && random.percent(50)) return true;  // The answer takes its time.
  }
  if (relay.is_paused(now)) return false;
  relay.answer_database(sink, now);
  after_input(relay);
  return true;
}

bool World::step_sink(SimRelay& relay, bool faults) {
  if (!relay.sink_call) return false;
  SinkCall& call = *relay.sink_call;
  // What is on the wire of a stopped process still arrives; what its own code writes does not.
  if (relay.is_paused(now) && (plan.sink == SinkKind::exclusive || !call.delivery)) return false;
  if (!call.reply) {
    if (!call.delivery) {
      call.reply = relay::SinkOpened{sink.open(relay.sender())};
    } else if (faults && random.percent(plan.sink_fault)) {
      interrupt(relay);
    } else if (auto result = append(*call.delivery, false)) {
      if (sent_on(*call.delivery, *result)) ghosts.push_back(*call.delivery);
      call.reply = relay::Delivered{*std::move(result)};
    }
    if (!call.reply || (faults && random.percent(40))) return true;
  }
  if (relay.is_paused(now)) return false;
  if (const auto* opened = std::get_if<relay::SinkOpened>(&*call.reply)) {
    note_recovery(relay, opened->result);
  }
  relay.answer_sink(sink, now);
  after_input(relay);
  return true;
}

/// The relay hears that the outcome is unknown, or a lie; the rest of the delivery may go on.
void World::interrupt(SimRelay& relay) {
  SinkCall& call = *relay.sink_call;
  if (plan.lies && random.percent(40)) {
    coverage_->note(Seen::lied);
    damaged_ = true;
    call.reply =
        relay::Delivered{{.status = Status::delivered, .done = call.delivery->batch->size()}};
    trace(relay.name() + "    the sink lies");
    return;
  }
  coverage_->note(Seen::doubtful_delivery);
  if (plan.sink != SinkKind::exclusive && random.percent(60)) ghosts.push_back(*call.delivery);
  call.reply = relay::Delivered{{.status = Status::retry_later, .detail = "in doubt"}};
}

bool World::step_timer(SimRelay& relay) {
  if (!relay.runs() || relay.is_paused(now) || !relay.wake() || now < *relay.wake()) return false;
  relay.fire_timer(sink, now);
  after_input(relay);
  return true;
}

bool World::step_ghost() {
  if (ghosts.empty()) return false;
  const auto at = static_cast<std::ptrdiff_t>(random.below(ghosts.size()));
  SimDelivery& ghost = ghosts[static_cast<std::size_t>(at)];
  const auto result = append(ghost, true);
  if (result && !sent_on(ghost, *result)) ghosts.erase(ghosts.begin() + at);
  return true;
}

bool World::step_late_write() {
  if (late_writes.empty()) return false;
  const auto at = static_cast<std::ptrdiff_t>(random.below(late_writes.size()));
  const DatabaseRequest request = std::move(late_writes[static_cast<std::size_t>(at)]);
  late_writes.erase(late_writes.begin() + at);
  const DatabaseReply reply = database.run(request, now);
  const bool fenced = std::holds_alternative<relay::Fenced>(reply.input);
  coverage_->note(fenced ? Seen::late_write_fenced : Seen::late_write_done);
  trace("     late from " + request.owner + ": " + describe(request.command) + ": " +
        describe(reply.input));
  return true;
}

std::optional<DeliveryResult> World::append(SimDelivery& delivery, bool is_ghost) {
  const std::size_t before = sink.stored().size();
  auto result = sink.append_next(delivery, database.contents);
  const bool is_zombie = delivery.epoch != database.epoch();
  if (sink.stored().size() > before) {
    if (is_ghost) coverage_->note(Seen::ghost_stored);
    if (!is_ghost && is_zombie) coverage_->note(Seen::zombie_stored);
    if (sink.stored().back().position <= database.acked()) coverage_->note(Seen::rebuilt);
  } else if (result && result->status == Status::conflict) {
    coverage_->note(Seen::conflict);
    if (is_ghost) coverage_->note(Seen::ghost_refused);
    if (!is_ghost && is_zombie) coverage_->note(Seen::zombie_refused);
  }
  trace(std::string{"     "} + (is_ghost ? "ghost " : "") + "delivery of sender " +
        std::to_string(delivery.sender) +
        (result ? " ends: " + describe(relay::Delivered{*result}) : " goes on") + ", sink has " +
        std::to_string(sink.stored().size()));
  return result;
}

bool World::sent_on(SimDelivery& delivery, const DeliveryResult& result) const {
  const bool refused = result.status == Status::conflict || result.status == Status::rejected;
  if (!plan.pipelined || !refused || delivery.next + 1 >= delivery.batch->size()) return false;
  ++delivery.next;
  return true;
}

// --- What happens to the world -------------------------------------------------------------------

void World::commit_event() {
  if (committed == plan.events) return;
  ++committed;
  Content content;
  if (!random.percent(20))
    content.key = std::string(1, static_cast<char>('a' + random.below(plan.keys)));
  content.refused_early = random.percent(plan.refused_early);
  content.rejected_late = random.percent(plan.rejected_late);
  commit(content, !random.percent(10));
}

void World::commit(const Content& content, bool ours) {
  SimEvent event;
  event.key = content.key;
  event.id = database.contents.add(content);
  event.ours = ours;
  trace("     commit " + event.id.to_string().substr(32) + " key '" + event.key + "'" +
        (event.ours ? "" : " of another topic") + (content.refused_early ? " refused" : "") +
        (content.rejected_late ? " poison" : ""));
  database.commit(std::move(event));
}

void World::start(SimRelay& relay, bool drain, bool rebuild) {
  relay::CoreOptions options;
  options.drain = drain;
  options.rebuild = rebuild;
  options.may_lose_acknowledged = plan.forgetful;
  options.lease = plan.lease;
  options.look_again = plan.look_again;
  options.poll_min = Milliseconds{1};
  options.poll_max = Milliseconds{8};
  options.backoff_min = Milliseconds{4};
  options.backoff_max = Milliseconds{64};
  options.standby_max = std::chrono::hours{1};
  options.jitter_seed = random.next();
  relay.start(options, ++senders_, sink, now);
  after_input(relay);
}

/// The process dies. What it had sent may still arrive, unless its own code was doing the writing.
void World::crash(SimRelay& relay) {
  if (relay.runs()) crash(relay, draw_remains());
}

void World::crash(SimRelay& relay, const Remains& remains) {
  if (!relay.runs()) return;
  trace(relay.name() + "    CRASH");
  if (relay.database_call && !relay.database_call->reply &&
      std::holds_alternative<relay::Bind>(relay.database_call->request.command)) {
    coverage_->note(Seen::crashed_while_binding);
  }
  if (relay.sink_call && relay.sink_call->delivery) coverage_->note(Seen::crashed_while_delivering);
  relay.kill(sink);
  after_input(relay, remains);
}

Remains World::draw_remains() {
  return {.write = random.percent(50),
          .delivery = plan.sink != SinkKind::exclusive && random.percent(70),
          .lease = random.percent(50)};
}

void World::after_input(SimRelay& relay) {
  after_input(relay, relay.runs() ? Remains{} : draw_remains());
}

void World::after_input(SimRelay& relay, const Remains& remains) {
  if (!relay.broken().empty()) broken_ = relay.broken();
  if (relay.runs()) return;
  if (relay.end().halt) judge_halt(relay);
  if (remains.write && relay.database_call && !relay.database_call->reply &&
      is_write(relay.database_call->request)) {
    late_writes.push_back(relay.database_call->request);
  }
  if (remains.delivery && relay.sink_call && relay.sink_call->delivery && !relay.sink_call->reply) {
    ghosts.push_back(*relay.sink_call->delivery);
  }
  relay.database_call.reset();
  relay.sink_call.reset();
  if (!remains.lease) database.forget_owner(relay.owner());
}

void World::judge_halt(const SimRelay& relay) {
  const relay::Halt& halt = *relay.end().halt;
  const bool is_fork = halt.what.starts_with("fork");
  coverage_->note(is_fork ? Seen::halted_on_fork : Seen::halted_on_loss);
  const bool expected = halt.code == ErrorCode::refused &&
                        (is_fork ? forked_ || restored_ : damaged_ || restored_ || forked_);
  if (!expected) broken_ = "relay " + relay.name() + " halted without reason: " + halt.what;
}

void World::restart_sink() {
  sink.come_back();
  if (sink.forgets()) lose_tail(random.between(1, 6));
}

void World::lose_tail(std::size_t count) {
  if (sink.stored().empty()) return;
  sink.lose_tail(count);
  trace("     sink lost its tail, has " + std::to_string(sink.stored().size()));
}

void World::disaster() {
  SimRelay& relay = relays[random.below(relays.size())];
  switch (random.below(12)) {
    case 0:
    case 1:
      crash(relay);
      break;
    case 2:
    case 3:
      if (relay.runs() && !relay.is_paused(now)) {
        relay.pause_until(now + Milliseconds{random.between(10, 250)});
        trace(relay.name() + "    pause");
      }
      break;
    case 4:
      sink.go_away();
      coverage_->note(Seen::sink_restarted);
      trace("     sink goes away");
      break;
    case 5:
      now += Milliseconds{random.between(20, 200)};
      break;
    case 6:
      if (plan.loses && !sink.stored().empty()) {
        damaged_ = true;
        lose_tail(random.between(1, 6));
      }
      break;
    case 7:
      if (relay.runs() && !relay.is_paused(now) && random.percent(50)) {
        coverage_->note(Seen::stopped);
        relay.feed(relay::StopRequested{}, sink, now);
        after_input(relay);
      }
      break;
    case 8:
      if (plan.fork == Plan::Fork::foreign && !foreign_at_ && random.percent(30)) {
        foreign_at_ = sink.stored().size();
        forked_ = true;
        sink.append_foreign(database.contents.add({}));
        trace("     FOREIGN event");
      } else if (plan.fork == Plan::Fork::restore && random.percent(50)) {
        if (!std::exchange(backed_up_, true)) {
          database.back_up();
        } else if (!std::exchange(restored_, true)) {
          for (SimRelay& each : relays) crash(each);
          late_writes.clear();
          database.restore();
          coverage_->note(Seen::restored);
          trace("     database RESTORED");
        }
      }
      break;
    case 9:
      trace(std::string{"     operator "} + (database.is_paused() ? "resumes" : "pauses"));
      database.is_paused() ? database.resume() : database.pause();
      break;
    default:
      operate();
      break;
  }
}

/// The operator looks at a parked event, after repairing what refused it before it had a position.
/// What the sink rejects stays rejected: see heal() in schedule.cc. And where a pipeline sends what
/// follows a rejected event, nobody acts: see lib/README.md, "The protocol", on what is unbound.
void World::operate() {
  if (plan.pipelined && plan.rejected_late > 0) return;
  std::vector<std::size_t> parked;
  for (std::size_t index = 0; index < database.events().size(); ++index) {
    if (database.events()[index].is_open()) parked.push_back(index);
  }
  if (parked.empty()) return;
  const std::size_t chosen = parked[random.below(parked.size())];
  const std::uint64_t act = random.below(10);
  trace("     operator " +
        std::string{act == 0  ? "discards"
                    : act < 7 ? "redrives"
                              : "redrives all after"} +
        " seq " + std::to_string(chosen + 1));
  if (act != 0 && random.percent(50)) {
    database.contents.of(database.events()[chosen].id).refused_early = false;
  }
  if (act == 0) {
    database.discard(chosen);
  } else if (act < 7) {
    database.redrive(chosen);
  } else {
    database.redrive_all();
  }
}

// --- What is worth remembering -------------------------------------------------------------------

bool World::is_write(const DatabaseRequest& request) {
  return !std::holds_alternative<relay::ReadPage>(request.command) &&
         !std::holds_alternative<relay::ReadJournal>(request.command);
}

void World::note_done(const DatabaseReply& reply) {
  if (std::holds_alternative<relay::LeaseGranted>(reply.input) && !ghosts.empty()) {
    coverage_->note(Seen::takeover_with_ghost);
  }
}

void World::note_in_doubt(const DatabaseReply& reply) {
  if (std::holds_alternative<relay::Bound>(reply.input)) coverage_->note(Seen::doubtful_bind);
  if (std::holds_alternative<relay::Acknowledged>(reply.input)) {
    coverage_->note(Seen::doubtful_acknowledge);
  }
  if (std::holds_alternative<relay::Settled>(reply.input)) coverage_->note(Seen::doubtful_settle);
}

void World::note_recovery(const SimRelay& relay, const OpenResult& result) {
  if (!relay.granted() || !result.tail) return;
  const SubscriptionState& state = *relay.granted();
  if (state.bound == state.acked.position || result.tail->position < state.acked.position) return;
  coverage_->note(result.tail->position == state.acked.position ? Seen::recovered_none
                  : result.tail->position < state.bound         ? Seen::recovered_part
                                                                : Seen::recovered_whole);
}

std::string World::broken() const {
  if (!broken_.empty()) return broken_;
  if (!database.broken().empty()) return "database: " + database.broken();
  return sink.broken().empty() ? "" : "sink: " + sink.broken();
}

void World::trace(const std::string& line) {
  if (trace_ != nullptr) trace_->push_back(std::to_string(now.count()) + "\t" + line);
}

}  // namespace outseal::sim
