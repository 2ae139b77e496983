// How the moves of the explorer come about.
#include "sim/moves.h"

#include <algorithm>
#include <utility>

namespace outseal::sim {

namespace {

using Kind = Move::Kind;

constexpr const char* kNames[] = {"starts",
                                  "database does it",
                                  "database never hears of it",
                                  "database will hear of it later",
                                  "database does it, the answer is lost",
                                  "database answers",
                                  "sink takes a step",
                                  "sink is away",
                                  "delivery breaks off",
                                  "delivery breaks off, its rest is on its way",
                                  "sink answers",
                                  "timer",
                                  "lease is to be renewed",
                                  "is asked to stop",
                                  "CRASH",
                                  "lease runs out",
                                  "step of a ghost",
                                  "late write",
                                  "operator pauses",
                                  "operator resumes",
                                  "operator redrives event",
                                  "operator mends what refuses event",
                                  "operator redrives all",
                                  "operator discards event",
                                  "sink loses its last event",
                                  "a producer commits"};

void do_database(State& state, DatabaseCall& call, std::size_t page_events) {
  World& world = state.world;
  world.database.set_page_events(page_events);
  call.reply = world.database.run(call.request, world.now);
}

void lose_answer(State& state, DatabaseCall& call) {
  --state.left.faults;
  call.reply = {relay::DatabaseFailed{"connection lost", ""}, call.request.fence};
}

void break_off(State& state, SinkCall& call, bool goes_on) {
  --state.left.faults;
  if (goes_on) state.world.ghosts.push_back(*call.delivery);
  call.reply =
      relay::Delivered{{.status = DeliveryResult::Status::retry_later, .detail = "broken off"}};
}

void do_sink(World& world, SimRelay& relay) {
  SinkCall& call = *relay.sink_call;
  if (!call.delivery) {
    call.reply = relay::SinkOpened{world.sink.open(relay.sender())};
  } else if (auto result = world.append(*call.delivery, false)) {
    if (world.sent_on(*call.delivery, *result)) world.ghosts.push_back(*call.delivery);
    call.reply = relay::Delivered{*std::move(result)};
  }
}

void step_ghost(World& world, std::size_t at) {
  SimDelivery& ghost = world.ghosts[at];
  const auto result = world.append(ghost, true);
  if (result && !world.sent_on(ghost, *result))
    world.ghosts.erase(world.ghosts.begin() + static_cast<std::ptrdiff_t>(at));
}

void do_late_write(World& world, std::size_t at) {
  const DatabaseRequest request = std::move(world.late_writes[at]);
  world.late_writes.erase(world.late_writes.begin() + static_cast<std::ptrdiff_t>(at));
  world.database.run(request, world.now);
}

/// A step of a relay, or of something that it waits for.
void make_of_relay(const Move& move, const Bounds& bounds, State& state) {
  World& world = state.world;
  SimRelay& relay = world.relays[move.whose];
  Milliseconds& clock = state.clocks[move.whose];
  switch (move.kind) {
    case Kind::start:
      clock = world.now;
      return world.start(relay, bounds.drains, false);
    case Kind::database_does:
      return do_database(state, *relay.database_call, move.detail);
    case Kind::database_does_in_doubt:
      do_database(state, *relay.database_call, bounds.page_events);
      return lose_answer(state, *relay.database_call);
    case Kind::database_does_later:
      world.late_writes.push_back(relay.database_call->request);
      return lose_answer(state, *relay.database_call);
    case Kind::database_loses:
      return lose_answer(state, *relay.database_call);
    case Kind::sink_does:
      return do_sink(world, relay);
    case Kind::sink_does_not:
      --state.left.faults;
      relay.sink_call->reply =
          relay::SinkOpened{{.status = OpenResult::Status::retry_later, .detail = "away"}};
      return;
    case Kind::sink_in_doubt:
    case Kind::sink_in_doubt_goes_on:
      return break_off(state, *relay.sink_call, move.kind == Kind::sink_in_doubt_goes_on);
    case Kind::crash:
      --state.left.crashes;
      return world.crash(relay,
                         {.write = (move.detail & 1U) != 0, .delivery = (move.detail & 2U) != 0});
    case Kind::database_answers:
      relay.answer_database(world.sink, clock);
      break;
    case Kind::sink_answers:
      relay.answer_sink(world.sink, clock);
      break;
    case Kind::timer:
      clock = std::max(clock, *relay.wake());
      relay.fire_timer(world.sink, clock);
      break;
    case Kind::lease_is_due:
      clock += kLease / 3;
      relay.fire_timer(world.sink, clock);
      break;
    default:
      --state.left.stops;
      relay.feed(relay::StopRequested{}, world.sink, clock);
      break;
  }
  world.after_input(relay, {});
}

void make_of_world(const Move& move, const Bounds& bounds, State& state) {
  World& world = state.world;
  SimDatabase& database = world.database;
  switch (move.kind) {
    case Kind::lease_runs_out:
      world.now += kLease;
      state.left.expiries -= move.detail;
      break;
    case Kind::ghost:
      step_ghost(world, move.whose);
      break;
    case Kind::late_write:
      do_late_write(world, move.whose);
      break;
    case Kind::loss:
      --state.left.losses;
      world.lose_tail(1);
      break;
    case Kind::commit:
      world.commit(bounds.events[database.events().size()], true);
      break;
    default:
      database.resume();
      break;
  }
}

void operate(const Move& move, State& state) {
  SimDatabase& database = state.world.database;
  --state.left.acts;
  switch (move.kind) {
    case Kind::pause:
      return database.pause();
    case Kind::redrive_all:
      return database.redrive_all();
    case Kind::discard:
      return database.discard(move.whose);
    case Kind::redrive_mended:
      database.contents.of(database.events()[move.whose].id).refused_early = false;
      break;
    default:
      break;
  }
  database.redrive(move.whose);
}

std::string describe(const Move& move) {
  std::string line = "     ";
  if (move.kind <= Kind::crash) line = std::string(1, static_cast<char>('A' + move.whose)) + "    ";
  line += kNames[static_cast<std::size_t>(move.kind)];
  if (move.kind >= Kind::redrive && move.kind != Kind::redrive_all && move.kind <= Kind::discard)
    line += ' ' + std::to_string(move.whose + 1);
  return line;
}

}  // namespace

State::State(const Bounds& bounds, Coverage& coverage, SimRelay::Trace trace)
    : world{Plan{.relays = 2,
                 .sink = bounds.sink,
                 .forgetful = bounds.forgetful,
                 .pipelined = bounds.pipelined,
                 .page_events = bounds.page_events,
                 .lease = kLease,
                 .look_again = kLease / 3},
            Random{1}, bounds.mutant, coverage, trace},
      left{bounds.budgets} {
  for (std::size_t at = 0; at + bounds.committed_later < bounds.events.size(); ++at)
    world.commit(bounds.events[at], true);
}

void make(const Move& move, const Bounds& bounds, State& state) {
  state.world.trace(describe(move));
  if (move.kind <= Kind::crash)
    make_of_relay(move, bounds, state);
  else if (move.kind <= Kind::late_write || move.kind == Kind::resume || move.kind >= Kind::loss)
    make_of_world(move, bounds, state);
  else
    operate(move, state);
}

bool step_of_the_dead(const Bounds& bounds, State& state) {
  const World& world = state.world;
  Move move{Kind::lease_runs_out};
  if (!world.late_writes.empty())
    move.kind = Kind::late_write;
  else if (!world.ghosts.empty())
    move.kind = Kind::ghost;
  else if (!world.database.is_leased(world.now) || lives(world, world.database.holder()))
    return false;
  make(move, bounds, state);
  return true;
}

void step_without_faults(std::size_t index, const Bounds& bounds, State& state) {
  const SimRelay& relay = state.world.relays[index];
  Move move{Kind::start, static_cast<std::uint8_t>(index),
            static_cast<std::uint8_t>(bounds.page_events)};
  if (relay.runs()) {
    if (relay.database_call)
      move.kind = relay.database_call->reply ? Kind::database_answers : Kind::database_does;
    else if (relay.sink_call)
      move.kind = relay.sink_call->reply ? Kind::sink_answers : Kind::sink_does;
    else
      move.kind = Kind::lease_is_due;  // Only so a relay that waits learns that it no longer leads.
  }
  make(move, bounds, state);
}

}  // namespace outseal::sim
