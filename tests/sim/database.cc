#include "sim/database.h"

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

namespace outseal::sim {

using Parked = SimEvent::Parked;

EventId Contents::add(Content content) {
  contents_.push_back(std::move(content));
  std::array<std::uint8_t, 16> bytes{};
  bytes[14] = static_cast<std::uint8_t>(contents_.size() >> 8U);
  bytes[15] = static_cast<std::uint8_t>(contents_.size());
  return EventId{bytes};
}

std::size_t Contents::index_of(const EventId& id) {
  return static_cast<std::size_t>(id.bytes()[14] << 8U | id.bytes()[15]) - 1;
}

void SimDatabase::commit(SimEvent event) {
  if (without_intent_) without_intent_->events.push_back(event);
  row_.events.push_back(std::move(event));
}

DatabaseReply SimDatabase::run(const DatabaseRequest& request, Milliseconds now) {
  DatabaseReply reply{relay::DatabaseFailed{"not a database command", ""}, request.fence};
  const relay::Command& command = request.command;
  if (std::get_if<relay::AcquireLease>(&command) != nullptr) {
    reply.input = acquire(request.owner, now);
    reply.fence = {row_.epoch, row_.version};
  } else if (std::get_if<relay::RenewLease>(&command) != nullptr) {
    if (passes({request.fence.epoch, row_.version})) {
      row_.leased_until = now + lease_;
      reply.input = relay::LeaseRenewed{};
    } else {
      coverage_->note(Seen::fenced_renew);
      reply.input = relay::Fenced{};
    }
  } else if (std::get_if<relay::ReleaseLease>(&command) != nullptr) {
    if (row_.owner == request.owner) row_.owner.clear();
    reply.input = relay::LeaseReleased{};
  } else if (const auto* read = std::get_if<relay::ReadPage>(&command)) {
    reply.input = read_page(*read);
  } else if (const auto* journal = std::get_if<relay::ReadJournal>(&command)) {
    reply.input = read_journal(journal->position);
  } else if (const auto* intent = std::get_if<relay::Bind>(&command)) {
    reply.input = bind(*intent, request.fence, now);
  } else if (const auto* ack = std::get_if<relay::Acknowledge>(&command)) {
    reply.input = acknowledge(ack->ack, request.fence, now);
  } else if (const auto* refusal = std::get_if<relay::Settle>(&command)) {
    reply.input = settle(*refusal, request.fence, now);
  }
  const bool written = std::holds_alternative<relay::Bound>(reply.input) ||
                       std::holds_alternative<relay::Acknowledged>(reply.input) ||
                       std::holds_alternative<relay::Settled>(reply.input);
  if (written) ++reply.fence.version;
  return reply;
}

void SimDatabase::pause() {
  if (std::exchange(row_.paused, true)) return;
  coverage_->note(row_.bound == row_.acked.position ? Seen::paused : Seen::paused_in_flight);
  ++row_.epoch;
  ++row_.version;
  row_.owner.clear();
}

relay::Input SimDatabase::acquire(const std::string& owner, Milliseconds now) {
  if (row_.paused) return relay::LeasePaused{};
  if (!row_.owner.empty() && row_.owner != owner && now < row_.leased_until) {
    return relay::LeaseDenied{row_.owner, row_.leased_until - now};
  }
  if (!row_.owner.empty() && row_.owner != owner) coverage_->note(Seen::takeover);
  if (without_intent_) {
    const std::uint64_t epoch = row_.epoch;
    row_ = *std::exchange(without_intent_, std::nullopt);
    row_.epoch = epoch;
  }
  row_.owner = owner;
  ++row_.epoch;
  write(now);
  SubscriptionState state;
  state.cursor.after_seq = row_.after;
  state.bound = row_.bound;
  state.acked = row_.acked;
  state.epoch = Epoch{row_.epoch};
  return relay::LeaseGranted{std::move(state)};
}

relay::Input SimDatabase::read_page(const relay::ReadPage& read) const {
  auto page = std::make_shared<Batch>();
  page->first = advance(read.prior.position);
  page->prior = read.prior;
  page->from = page->to = read.from;
  read_redrive(*page);
  if (page->entries.empty() && page->parked.empty()) read_log(*page);
  return relay::PageRead{std::move(page)};
}

/// Queued events, but none that the log's cursor has not passed: the unbound rest of a refused
/// batch goes first. And none that stands behind a parked one of its key.
void SimDatabase::read_redrive(Batch& page) const {
  page.kind = BatchKind::redrive;
  Keys blocked;
  const std::size_t end =
      mutant_ == Mutant::eager_redrive ? row_.events.size() : index_of(page.from.after_seq) + 1;
  for (std::size_t index = 0; index < end && page.size() < page_events_; ++index) {
    if (row_.events[index].parked != Parked::queued) continue;
    if (mutant_ != Mutant::blind_redrive && is_blocked(index, false)) continue;
    take(index, page, blocked);
  }
}

void SimDatabase::read_log(Batch& page) const {
  page.kind = BatchKind::log;
  Keys blocked;
  for (std::size_t index = index_of(page.from.after_seq) + 1;
       index < row_.events.size() && page.size() < page_events_; ++index) {
    const SimEvent& event = row_.events[index];
    page.to.after_seq = seq_of(index);
    if (!event.ours || event.parked != Parked::no) continue;
    if (mutant_ != Mutant::no_key_block && is_blocked(index, true)) blocked.insert(event.key);
    take(index, page, blocked);
  }
}

/// Gives the event a position, or sets it aside.
void SimDatabase::take(std::size_t index, Batch& page, Keys& blocked) const {
  const SimEvent& event = row_.events[index];
  if (!event.key.empty() && blocked.contains(event.key)) {
    page.parked.push_back({seq_of(index), true, "behind"});
  } else if (contents.of(event.id).refused_early) {
    page.parked.push_back({seq_of(index), false, "refused"});
    if (mutant_ != Mutant::no_key_block) blocked.insert(event.key);
  } else {
    page.entries.push_back({seq_of(index), event.id});
  }
}

relay::Input SimDatabase::read_journal(Position position) const {
  const auto row = std::find_if(row_.journal.begin(), row_.journal.end(), [&](const auto& journal) {
    return journal.first <= position &&
           position.value() < journal.first.value() + journal.ids.size();
  });
  if (row == row_.journal.end()) return relay::JournalUnreadable{"no such journal row"};
  auto batch = std::make_shared<Batch>();
  batch->kind = row->kind;
  batch->first = row->first;
  batch->from.after_seq = row->from;
  batch->to.after_seq = row->to;
  if (row != row_.journal.begin()) {
    batch->prior = {Position{row->first.value() - 1}, std::prev(row)->ids.back()};
  }
  const Position end = advance(row->first, row->ids.size());
  for (std::size_t index = 0; index < row_.events.size(); ++index) {
    const SimEvent& event = row_.events[index];
    const Seq seq = seq_of(index);
    const bool in_log = row->kind == BatchKind::log && row->from < seq && seq <= row->to &&
                        event.ours && event.parked == Parked::no;
    const bool in_redrive = row->kind == BatchKind::redrive && event.parked == Parked::redriven &&
                            row->first <= event.position && event.position < end;
    if (in_log || in_redrive) batch->entries.push_back({seq, event.id});
  }
  const bool same =
      std::equal(batch->entries.begin(), batch->entries.end(), row->ids.begin(), row->ids.end(),
                 [](const auto& a, const auto& b) { return a.id == b; });
  if (!same) return relay::JournalUnreadable{"the journal's hash differs"};
  return relay::JournalRead{std::move(batch)};
}

relay::Input SimDatabase::bind(const relay::Bind& bind, const Fence& fence, Milliseconds now) {
  if (!passes(fence)) {
    coverage_->note(Seen::fenced_bind);
    return relay::Fenced{};
  }
  const Batch& batch = *bind.batch;
  if (is_stale(batch) && mutant_ != Mutant::no_stale_check) {
    coverage_->note(Seen::stale_page);
    return relay::PageStale{};
  }
  if (bind.ack) apply(*bind.ack);
  if (mutant_ == Mutant::no_intent && !without_intent_) without_intent_ = row_;
  if (row_.acked.position != row_.bound && !batch.entries.empty()) fail("two pending batches");
  if (!batch.entries.empty()) {
    if (batch.first != advance(row_.bound) || batch.prior != row_.acked) fail("bound at a gap");
    JournalRow row{batch.kind, batch.first, batch.from.after_seq, batch.to.after_seq, {}};
    for (std::size_t at = 0; at < batch.size(); ++at) {
      SimEvent& event = row_.events[index_of(batch.entries[at].seq)];
      row.ids.push_back(event.id);
      if (batch.kind != BatchKind::redrive) continue;
      coverage_->note(Seen::redriven);
      event.parked = Parked::redriven;
      event.position = advance(batch.first, at);
    }
    row_.journal.push_back(std::move(row));
    row_.bound = batch.last();
  } else {
    coverage_->note(Seen::empty_bind);
  }
  for (const ParkedEntry& entry : batch.parked) park(entry);
  row_.after = batch.to.after_seq;
  write(now);
  return relay::Bound{};
}

relay::Input SimDatabase::acknowledge(const Ack& ack, const Fence& fence, Milliseconds now) {
  if (!passes(fence)) {
    coverage_->note(Seen::fenced_acknowledge);
    return relay::Fenced{};
  }
  apply(ack);
  write(now);
  return relay::Acknowledged{};
}

relay::Input SimDatabase::settle(const relay::Settle& settle, const Fence& fence,
                                 Milliseconds now) {
  if (!passes(fence)) {
    coverage_->note(Seen::fenced_settle);
    return relay::Fenced{};
  }
  const Batch& batch = *settle.batch;
  coverage_->note(Seen::settled);
  if (settle.done > 0 && settle.done + 1 < batch.size()) coverage_->note(Seen::settled_middle);
  if (row_.journal.empty() || row_.journal.back().first != batch.first) {
    fail("settled a batch that is not pending");
    return relay::Fenced{};
  }
  row_.acked = batch.tail_after(settle.done);
  row_.bound = row_.acked.position;
  const Seq refused = batch.entries[settle.done].seq;
  row_.events[index_of(refused)].parked = Parked::parked;
  row_.events[index_of(refused)].behind = false;
  if (batch.kind == BatchKind::log) {
    row_.after = refused;
  } else {
    coverage_->note(Seen::settled_redrive);
    for (std::size_t at = settle.done + 1; at < batch.size(); ++at) {
      const std::size_t index = index_of(batch.entries[at].seq);
      row_.events[index].parked = is_blocked(index, false) ? Parked::parked : Parked::queued;
    }
  }
  JournalRow& row = row_.journal.back();
  row.ids.resize(settle.done);
  if (batch.kind == BatchKind::log) row.to = refused;
  if (row.ids.empty()) row_.journal.pop_back();
  without_intent_.reset();
  write(now);
  return relay::Settled{Cursor{row_.after}};
}

/// An operator has decided about an event that the page takes from the queue.
bool SimDatabase::is_stale(const Batch& batch) const {
  if (batch.kind == BatchKind::log) return false;
  const auto is_gone = [this](Seq seq) {
    return row_.events[index_of(seq)].parked != Parked::queued;
  };
  return std::any_of(batch.entries.begin(), batch.entries.end(),
                     [&](const BatchEntry& entry) { return is_gone(entry.seq); }) ||
         std::any_of(batch.parked.begin(), batch.parked.end(),
                     [&](const ParkedEntry& entry) { return is_gone(entry.seq); });
}

bool SimDatabase::passes(const Fence& fence) const {
  if (mutant_ == Mutant::no_epoch_check) return true;
  return fence.epoch == row_.epoch && fence.version == row_.version;
}

void SimDatabase::write(Milliseconds now) {
  ++row_.version;
  row_.leased_until = now + lease_;
}

void SimDatabase::apply(const Ack& ack) {
  if (mutant_ != Mutant::no_epoch_check) {
    if (ack.tail.position != row_.bound) fail("acknowledged another position than the pending one");
    if (row_.journal.empty() || row_.journal.back().first != ack.first) {
      fail("acknowledged a batch that is not pending");
    }
  }
  row_.acked = ack.tail;
  row_.bound = std::max(row_.bound, ack.tail.position);
  without_intent_.reset();
}

void SimDatabase::park(const ParkedEntry& entry) {
  const std::size_t index = index_of(entry.seq);
  SimEvent& event = row_.events[index];
  event.behind = entry.behind;
  coverage_->note(entry.behind ? Seen::parked_behind : Seen::parked_unbound);
  if (event.parked == Parked::queued) {
    coverage_->note(Seen::parked_again);
    event.parked = Parked::parked;
  } else {
    // Behind nothing but queued events it is queued with them, else the redrive would pass it by.
    event.parked = entry.behind && !is_blocked(index, false) ? Parked::queued : Parked::parked;
  }
}

bool SimDatabase::is_blocked(std::size_t index, bool by_queued) const {
  const std::string& key = row_.events[index].key;
  if (key.empty()) return false;
  return std::any_of(row_.events.begin(), row_.events.begin() + static_cast<std::ptrdiff_t>(index),
                     [&](const SimEvent& event) {
                       return event.key == key && (event.parked == Parked::parked ||
                                                   (by_queued && event.parked == Parked::queued));
                     });
}

void SimDatabase::redrive(std::size_t index) {
  if (row_.events[index].parked != Parked::parked || is_blocked(index, false)) return;
  row_.events[index].parked = Parked::queued;
  queue_behind(index);
}

void SimDatabase::redrive_all() {
  for (SimEvent& event : row_.events) {
    if (event.parked == Parked::parked) event.parked = Parked::queued;
  }
}

void SimDatabase::discard(std::size_t index) {
  if (!row_.events[index].is_open()) return;
  const bool frees = !is_blocked(index, false);
  row_.events[index].parked = Parked::discarded;
  row_.events[index].given_up = true;
  if (frees) queue_behind(index);
  coverage_->note(Seen::discarded);
}

/// Frees what only stood behind event `index`, up to the next one that was refused itself.
void SimDatabase::queue_behind(std::size_t index) {
  const std::string& key = row_.events[index].key;
  for (std::size_t later = index + 1; !key.empty() && later < row_.events.size(); ++later) {
    SimEvent& event = row_.events[later];
    if (event.key != key || event.parked != Parked::parked) continue;
    if (!event.behind) return;
    event.parked = Parked::queued;
  }
}

void SimDatabase::restore() {
  if (!backup_) return;
  row_ = *backup_;
  row_.owner.clear();
}

void SimDatabase::forget_owner(const std::string& owner) {
  if (row_.owner == owner) row_.owner.clear();
}

bool SimDatabase::is_drained() const {
  return row_.acked.position == row_.bound && index_of(row_.after) + 1 == row_.events.size() &&
         std::none_of(row_.events.begin(), row_.events.end(), [this](const SimEvent& event) {
           const auto index = static_cast<std::size_t>(&event - row_.events.data());
           return event.parked == Parked::queued && !is_blocked(index, false);
         });
}

bool SimDatabase::has_open() const {
  return std::any_of(row_.events.begin(), row_.events.end(),
                     [](const SimEvent& event) { return event.is_open(); });
}

std::vector<test::CommittedEvent> SimDatabase::history() const {
  std::vector<test::CommittedEvent> history;
  for (const SimEvent& event : row_.events) {
    if (!event.ours) continue;
    const bool aside = event.is_open() || event.given_up;
    history.push_back({event.id, event.key, aside ? test::Fate::set_aside : test::Fate::due});
  }
  return history;
}

void SimDatabase::fail(std::string what) {
  if (broken_.empty()) broken_ = std::move(what);
}

}  // namespace outseal::sim
