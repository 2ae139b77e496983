// What two states must share to behave alike from here on: everything except durations, texts that
// are only reported, and the numbers that lives and fences happen to have.
#include <variant>

#include "sim/digest.h"
#include "sim/moves.h"

namespace outseal::sim {

/// If this fails, Core has gained or lost a member: add it to canonical() below if it influences
/// which commands come next, to the list of those left out if not, and then correct the size.
static_assert(sizeof(relay::Core) == 760, "Core has changed; so must its canonical form");

}  // namespace outseal::sim

namespace outseal::relay {

template <>
void Core::canonical(sim::Digest& digest) const {
  const auto is_due = [this](Milliseconds since) { return now_ - since >= options_.lease / 3; };
  // Left out: durations (poll_, failures_, trouble_since_, delivered_, jitter_) and what is only
  // reported (is_paused_, sink_warning_, state_.epoch, the marks, the texts of work_.halt_due).
  digest.add(phase_, stopping_, drained_, database_busy_, sink_busy_, sink_open_, sink_has_worked_);
  digest.add(not_before_.has_value(), is_early(), is_due(leased_at_),
             database_busy_ && is_due(lease_asked_));
  digest.add(options_.may_lose_acknowledged && now_ - looked_at_ >= options_.look_again);
  digest.add(state_.cursor, state_.bound, state_.acked, bound_tail_, work_.sink_tail);
  digest.add(work_.halt_due.has_value(), work_.halt_asked, work_.journal_due, work_.in_flight,
             work_.rebuilding);
  digest.add(work_.ack, work_.settle_due.has_value(), work_.page, work_.binding, work_.log_is_read);
  if (work_.settle_due) digest.add(work_.settle_due->batch, work_.settle_due->done);
}

}  // namespace outseal::relay

namespace outseal::sim {
namespace {

template <typename... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <typename... F>
Overloaded(F...) -> Overloaded<F...>;

/// A fence that the database has left behind never fits again.
void add(Digest& digest, const Fence& fence, const Fence& current) {
  digest.add(fence.epoch == current.epoch, fence.version == current.version);
}

void add(Digest& digest, const DatabaseRequest& request, const Fence& current) {
  add(digest, request.fence, current);
  digest.add(request.command.index());
  std::visit(Overloaded{[&](const relay::ReadPage& read) { digest.add(read.from, read.prior); },
                        [&](const relay::ReadJournal& read) { digest.add(read.position); },
                        [&](const relay::Bind& bind) { digest.add(bind.batch, bind.ack); },
                        [&](const relay::Acknowledge& write) { digest.add(write.ack); },
                        [&](const relay::Settle& settle) { digest.add(settle.batch, settle.done); },
                        [](const auto&) {}},
             request.command);
}

void add(Digest& digest, const relay::Input& input) {
  digest.add(input.index());
  std::visit(Overloaded{[&](const relay::LeaseGranted& granted) {
                          digest.add(granted.state.cursor, granted.state.bound,
                                     granted.state.acked);
                        },
                        [&](const relay::PageRead& read) { digest.add(read.batch); },
                        [&](const relay::JournalRead& read) { digest.add(read.batch); },
                        [&](const relay::Settled& settled) { digest.add(settled.cursor); },
                        [&](const relay::SinkOpened& opened) {
                          digest.add(opened.result.status, opened.result.tail);
                        },
                        [&](const relay::Delivered& delivered) {
                          digest.add(delivered.result.status, delivered.result.done);
                        },
                        [](const auto&) {}},
             input);
}

}  // namespace

void SimRelay::canonical(Digest& digest, const Fence& current) const {
  digest.add(runs(), database_call.has_value(), sink_call.has_value());
  if (!runs()) return;
  core_->canonical(digest);
  add(digest, fence_, current);
  if (database_call) {
    add(digest, database_call->request, current);
    digest.add(database_call->reply.has_value());
    if (database_call->reply) {
      add(digest, database_call->reply->input);
      add(digest, database_call->reply->fence, current);
    }
  }
  if (sink_call) {
    digest.add(sink_call->delivery.has_value(), sink_call->reply.has_value());
    if (sink_call->delivery) digest.add(sink_call->delivery->batch, sink_call->delivery->next);
    if (sink_call->reply) add(digest, *sink_call->reply);
  }
}

void SimDatabase::canonical(Digest& digest) const {
  canonical(row_, digest);
  digest.add(without_intent_.has_value());
  if (without_intent_) canonical(*without_intent_, digest);
  for (const SimEvent& event : row_.events) {
    const Content& content = contents.of(event.id);
    digest.add(content.refused_early, content.rejected_late);
  }
}

void SimDatabase::canonical(const Row& row, Digest& digest) {
  digest.add(row.after, row.bound, row.acked, row.paused, row.events.size(), row.journal.size());
  for (const SimEvent& event : row.events)
    digest.add(event.parked, event.behind, event.given_up, event.position);
  for (const JournalRow& journal : row.journal) {
    digest.add(journal.kind, journal.first, journal.from, journal.to, journal.ids.size());
    for (const EventId& id : journal.ids) digest.add(id);
  }
}

Digest State::durable() const {
  Digest digest;
  world.database.canonical(digest);
  digest.add(world.sink.stored().size());
  for (const auto& stored : world.sink.stored()) digest.add(stored.position, stored.id);
  return digest;
}

/// The relays are alike, so it does not matter which of them is which.
Digest State::canonical() const {
  Digest digest = durable();
  const Fence current = world.database.fence();
  digest.add(world.database.is_leased(world.now), world.database.holder().empty());
  for (const SimRelay& relay : world.relays) {
    Digest own;
    relay.canonical(own, current);
    if (relay.runs())
      own.add(world.database.holder() == relay.owner(), world.sink.locked_by() == relay.sender());
    for (const DatabaseRequest& late : world.late_writes) {
      if (!relay.runs() || late.owner != relay.owner()) continue;
      Digest write;
      add(write, late, current);
      own.add_to_set(write);
    }
    digest.add_to_set(own);
  }
  for (const DatabaseRequest& late : world.late_writes) {
    if (lives(world, late.owner)) continue;
    Digest write;
    add(write, late, current);
    write.add(world.database.holder() == late.owner);
    digest.add_to_set(write);
  }
  for (const SimDelivery& ghost : world.ghosts) {
    Digest part;
    part.add(ghost.batch, ghost.next);
    digest.add_to_set(part);
  }
  return digest;
}

}  // namespace outseal::sim
