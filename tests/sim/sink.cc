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

std::optional<DeliveryResult> SimSink::append_next(SimDelivery& delivery) {
  if (away_) return DeliveryResult{.status = Status::retry_later, .detail = "away"};
  const Batch& batch = *delivery.batch;
  if (delivery.next == batch.size()) {
    return DeliveryResult{.status = Status::delivered, .done = batch.size()};
  }
  if (kind_ == SinkKind::receiver) return receive(delivery);
  const bool expected = tail() == batch.tail_after(delivery.next) &&
                        (kind_ != SinkKind::exclusive || locked_by_ == delivery.sender);
  if (!expected && mutant_ != Mutant::no_sink_condition) {
    return DeliveryResult{.status = Status::conflict, .detail = "another tail"};
  }
  if (contents_->of(batch.entries[delivery.next].id).rejected_late) {
    return DeliveryResult{.status = Status::rejected, .done = delivery.next, .detail = "poison"};
  }
  store(delivery);
  ++delivery.next;
  return std::nullopt;
}

/// The receiver takes the next position, recognises earlier ones, and refuses later ones.
std::optional<DeliveryResult> SimSink::receive(SimDelivery& delivery) {
  const Batch& batch = *delivery.batch;
  const std::uint64_t position = batch.first.value() + delivery.next;
  const EventId id = batch.entries[delivery.next].id;
  if (position > stored_.size() + 1 && mutant_ != Mutant::no_sink_condition) {
    return DeliveryResult{.status = Status::retry_later, .detail = "a gap"};
  }
  if (contents_->of(batch.entries[delivery.next].id).rejected_late) {
    return DeliveryResult{.status = Status::rejected, .done = delivery.next, .detail = "poison"};
  }
  if (position <= stored_.size() && mutant_ != Mutant::no_sink_condition) {
    coverage_->note(Seen::receiver_skipped);
    if (stored_[position - 1].id != id) broken_ = "two events sent at one position";
  } else {
    store(delivery);
  }
  ++delivery.next;
  return std::nullopt;
}

void SimSink::store(SimDelivery& delivery) {
  const BatchEntry& entry = delivery.batch->entries[delivery.next];
  const Content& content = contents_->of(entry.id);
  stored_.push_back({advance(delivery.batch->first, delivery.next), entry.id, content.key});
}

void SimSink::come_back(Random& random) {
  away_ = false;
  if (mutant_ == Mutant::no_durable_ack) lose_tail(random);
}

void SimSink::lose_tail(Random& random) {
  if (stored_.empty()) return;
  coverage_->note(Seen::lost_tail);
  stored_.resize(stored_.size() - random.between(1, std::min<std::size_t>(stored_.size(), 6)));
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
