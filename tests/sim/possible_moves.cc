// What can happen next in a state, within the bounds.
#include <algorithm>
#include <utility>

#include "sim/moves.h"

namespace outseal::sim {

bool lives(const World& world, const std::string& owner) {
  return std::any_of(world.relays.begin(), world.relays.end(),
                     [&](const SimRelay& relay) { return relay.runs() && relay.owner() == owner; });
}

namespace {

using Kind = Move::Kind;
using Parked = SimEvent::Parked;

constexpr std::size_t kRemainsMax = 3;  ///< Ghosts, and late writes, at any time.

bool is_page(const DatabaseCall& call) {
  return std::holds_alternative<relay::ReadPage>(call.request.command);
}

class Finder {
 public:
  Finder(const State& state, const Bounds& bounds)
      : state_{state}, world_{state.world}, bounds_{bounds} {}

  std::vector<Move> find() {
    for (std::size_t at = 0; at < world_.relays.size(); ++at) {
      const SimRelay& relay = world_.relays[at];
      if (!relay.runs()) {
        put(Kind::start, at);
        continue;
      }
      if (relay.database_call) add_database(at, *relay.database_call);
      const bool deaf = relay.database_call && !bounds_.overlapping;
      if (relay.sink_call) add_sink(at, *relay.sink_call, deaf);
      if (!deaf) add_own(at, relay);
      if (state_.left.crashes > 0) add_crashes(at, relay);
    }
    add_world();
    add_operator();
    return std::move(moves_);
  }

 private:
  void put(Kind kind, std::size_t whose = 0, std::size_t detail = 0) {
    moves_.push_back({kind, static_cast<std::uint8_t>(whose), static_cast<std::uint8_t>(detail)});
  }
  bool has_room_for_ghost() const {
    return world_.ghosts.size() < kRemainsMax && bounds_.sink != SinkKind::exclusive;
  }
  bool has_room_for_write() const { return world_.late_writes.size() < kRemainsMax; }

  void add_database(std::size_t at, const DatabaseCall& call) {
    if (call.reply) return put(Kind::database_answers, at);
    for (std::size_t count = is_page(call) ? 1 : bounds_.page_events; count <= bounds_.page_events;
         ++count)
      put(Kind::database_does, at, count);
    if (state_.left.faults == 0) return;
    put(Kind::database_loses, at);
    if (!World::is_write(call.request)) return;
    put(Kind::database_does_in_doubt, at);
    if (has_room_for_write()) put(Kind::database_does_later, at);
  }

  void add_sink(std::size_t at, const SinkCall& call, bool deaf) {
    if (call.reply) {
      if (!deaf) put(Kind::sink_answers, at);
      return;
    }
    put(Kind::sink_does, at);
    if (state_.left.faults == 0) return;
    if (!call.delivery) return put(Kind::sink_does_not, at);
    put(Kind::sink_in_doubt, at);
    if (has_room_for_ghost()) put(Kind::sink_in_doubt_goes_on, at);
  }

  void add_own(std::size_t at, const SimRelay& relay) {
    if (relay.wake() && *relay.wake() - state_.clocks[at] < kLease / 6) put(Kind::timer, at);
    if (relay.wake() && bounds_.renews) put(Kind::lease_is_due, at);
    if (state_.left.stops > 0) put(Kind::stop, at);
  }

  void add_crashes(std::size_t at, const SimRelay& relay) {
    const bool write = relay.database_call && !relay.database_call->reply &&
                       World::is_write(relay.database_call->request) && has_room_for_write();
    const bool delivery = relay.sink_call && relay.sink_call->delivery && !relay.sink_call->reply &&
                          has_room_for_ghost();
    for (std::size_t bits = 0; bits < 4; ++bits)
      if ((write || (bits & 1U) == 0) && (delivery || (bits & 2U) == 0)) put(Kind::crash, at, bits);
  }

  void add_world() {
    const SimDatabase& database = world_.database;
    const bool holder_lives = lives(world_, database.holder());
    if (database.is_leased(world_.now) && (!holder_lives || state_.left.expiries > 0))
      put(Kind::lease_runs_out, 0, holder_lives ? 1 : 0);
    for (std::size_t at = 0; at < world_.ghosts.size(); ++at) put(Kind::ghost, at);
    for (std::size_t at = 0; at < world_.late_writes.size(); ++at) put(Kind::late_write, at);
    const bool may_lose = bounds_.forgetful || world_.sink.forgets();
    if (may_lose && state_.left.losses > 0 && !world_.sink.stored().empty()) put(Kind::loss);
    if (database.events().size() < bounds_.events.size()) put(Kind::commit);
  }

  void add_operator() {
    const SimDatabase& database = world_.database;
    if (database.is_paused()) put(Kind::resume);
    if (state_.left.acts == 0) return;
    if (!database.is_paused()) put(Kind::pause);
    std::size_t parked = 0;
    for (std::size_t at = 0; at < database.events().size(); ++at) {
      const SimEvent& event = database.events()[at];
      if (!event.is_open()) continue;
      put(Kind::discard, at);
      if (event.parked != Parked::parked) continue;
      ++parked;
      put(Kind::redrive, at);
      if (database.contents.of(event.id).refused_early) put(Kind::redrive_mended, at);
    }
    if (parked > 1) put(Kind::redrive_all);
  }

  const State& state_;
  const World& world_;
  const Bounds& bounds_;
  std::vector<Move> moves_;
};

}  // namespace

std::vector<Move> moves_of(const State& state, const Bounds& bounds) {
  return Finder{state, bounds}.find();
}

}  // namespace outseal::sim
