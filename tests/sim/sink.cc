#include "sim/sink.h"

#include <algorithm>

namespace outseal::sim {

using Status = DeliveryResult::Status;

bool SimDelivery::mentions(const EventId& id) const {
  return std::any_of(batch->entries.begin(), batch->entries.end(),
                     [&](const BatchEntry& entry) { return entry.id == id; });
}

OpenResult SimSink::open(Sender sender) {
  if (away_) return {.status = OpenResult::Status::retry_later, .detail = "away"};
  if (kind_ == SinkKind::exclusive) {
    if (locked_by_ != 0 && locked_by_ != sender) {
      coverage_->note(Seen::lock_held);
      return {.status = OpenResult::Status::retry_later, .detail = "locked"};
    }
    locked_by_ = sender;
  }
  if (kind_ == SinkKind::receiver) return {};
  return {.tail = tail()};
}

void SimSink::close(Sender sender) {
  if (locked_by_ == sender) locked_by_ = 0;
}

std::optional<DeliveryResult> SimSink::append_next(SimDelivery& delivery,
                                                   const Contents& contents) {
  if (away_) return DeliveryResult{.status = Status::retry_later, .detail = "away"};
  const Batch& batch = *delivery.batch;
  if (delivery.next == batch.size()) {
    return DeliveryResult{.status = Status::delivered, .done = batch.size()};
  }
  if (kind_ == SinkKind::receiver) return receive(delivery, contents);
  const Tail prior = batch.tail_after(delivery.next);
  const bool after_prior =
      mutant_ == Mutant::position_only ? tail().position == prior.position : tail() == prior;
  const bool may_write = kind_ != SinkKind::exclusive || locked_by_ == delivery.sender;
  if (!(after_prior && may_write) && mutant_ != Mutant::no_sink_condition) {
    return DeliveryResult{.status = Status::conflict, .detail = "another tail"};
  }
  if (contents.of(batch.entries[delivery.next].id).rejected_late) {
    return DeliveryResult{.status = Status::rejected, .done = delivery.next, .detail = "poison"};
  }
  store(delivery, contents);
  ++delivery.next;
  return std::nullopt;
}

/// The receiver takes the next position, recognises earlier ones, and refuses later ones.
std::optional<DeliveryResult> SimSink::receive(SimDelivery& delivery, const Contents& contents) {
  const Batch& batch = *delivery.batch;
  const std::uint64_t position = batch.first.value() + delivery.next;
  const EventId id = batch.entries[delivery.next].id;
  if (position > stored_.size() + 1 && mutant_ != Mutant::no_sink_condition) {
    return DeliveryResult{.status = Status::retry_later, .detail = "a gap"};
  }
  if (contents.of(batch.entries[delivery.next].id).rejected_late) {
    return DeliveryResult{.status = Status::rejected, .done = delivery.next, .detail = "poison"};
  }
  if (position <= stored_.size() && mutant_ != Mutant::no_sink_condition) {
    coverage_->note(Seen::receiver_skipped);
    if (stored_[position - 1].id != id) broken_ = "two events sent at one position";
  } else {
    store(delivery, contents);
  }
  ++delivery.next;
  return std::nullopt;
}

void SimSink::store(const SimDelivery& delivery, const Contents& contents) {
  const BatchEntry& entry = delivery.batch->entries[delivery.next];
  const Content& content = contents.of(entry.id);
  stored_.push_back({advance(delivery.batch->first, delivery.next), entry.id, content.key});
}

void SimSink::lose_tail(std::size_t count) {
  if (stored_.empty()) return;
  coverage_->note(Seen::lost_tail);
  stored_.resize(stored_.size() - std::min(stored_.size(), count));
}

void SimSink::append_foreign(EventId id) {
  coverage_->note(Seen::foreign_event);
  stored_.push_back({advance(tail().position), id, "foreign"});
}

Tail SimSink::tail() const {
  if (stored_.empty()) return {};
  return {stored_.back().position, stored_.back().id};
}

}  // namespace outseal::sim
