#include "sinks/nats/sink.h"

#include <algorithm>
#include <utility>

#include "sinks/nats/reader.h"

namespace outseal::sinks {
namespace {

/// After a crash a shared stream gets all of the pending batch again.
constexpr std::size_t kSharedBatchMax = 256;

}  // namespace

NatsSink::NatsSink(NatsSinkOptions options, const SinkContext& context)
    : options_{std::move(options)},
      subject_{options_.subject},
      our_name_{percent_encoded(context.stream)},
      encoder_{subject_, context.event_source, context.stream,
               options_.shared ? NatsSharing::shared : NatsSharing::alone} {}

NatsSink::~NatsSink() { close(); }

SinkFeatures NatsSink::features() const {
  if (options_.shared)
    return {.second_copy = SecondCopy::id_within_window,
            .readable = true,
            .batch_events_max = kSharedBatchMax};
  // Servers sync their files only every other minute: the end of a power failure may cost messages.
  return {.second_copy = SecondCopy::refuses, .readable = true, .may_lose_acknowledged = true};
}

std::optional<std::string> NatsSink::encode(const EventRow& row, Position position,
                                            std::string& out) {
  return encoder_.encode(row, position, out);
}

void NatsSink::resume_from(const Tail& acked, std::string_view mark) {
  mark_ = NatsMark::parse(options_.stream, acked, mark);
}

OpenResult NatsSink::open() {
  close();
  auto session = std::make_unique<Session>(options_);
  OpenResult result = session->connection.connect(options_);
  if (result.status != OpenResult::Status::opened) return result;
  result = open_stream(session->connection, options_, subject_, our_name_, mark_, session->facts);
  if (result.status != OpenResult::Status::opened) return result;
  if (const natsStatus status = session->publisher.subscribe(); status != NATS_OK)
    return {
        .status = OpenResult::Status::retry_later,
        .detail = "cannot receive answers of stream " + options_.stream + ": " + describe(status)};
  session_ = std::move(session);
  tail_ = result.tail.value_or(Tail{});
  return result;
}

/// The first entry that the server would refuse for its size, or the end of the batch.
std::size_t NatsSink::first_too_large(const Batch& batch, std::size_t from) const {
  std::size_t limit = session_->connection.message_bytes_max();
  if (session_->facts.message_bytes_max > 0)
    limit = std::min(limit, session_->facts.message_bytes_max);
  for (std::size_t i = from; i < batch.size(); ++i)
    if (session_->publisher.wire_bytes_max(NatsMessageView{batch.encoded(i)}) > limit) return i;
  return batch.size();
}

DeliveryResult NatsSink::deliver(const Batch& batch, std::size_t from) {
  using Status = DeliveryResult::Status;
  if (!session_) return {.status = Status::retry_later, .done = from, .detail = "not connected"};
  if (!options_.shared && tail_ != batch.tail_after(from))
    return {.status = Status::conflict,
            .done = from,
            .detail = "stream " + options_.stream + " does not end where the batch begins"};

  NatsStreamFacts& facts = session_->facts;
  const std::size_t end = first_too_large(batch, from);
  const auto outcome = session_->publisher.publish(batch, from, end, facts);
  DeliveryResult result{.status = Status::delivered,
                        .done = outcome.done,
                        .mark = NatsMark::text(options_.stream, outcome.last_sequence),
                        .detail = outcome.detail};
  if (outcome.status != NatsPublisher::Outcome::Status::stored) {
    result.status = outcome.status == NatsPublisher::Outcome::Status::conflict
                        ? Status::conflict
                        : Status::retry_later;
    close();
    return result;
  }
  facts.last_sequence = outcome.last_sequence;
  tail_ = batch.tail_after(outcome.done);
  if (end == batch.size()) return result;
  result.status = Status::rejected;
  result.detail = "its message is larger than the server or stream " + options_.stream + " takes";
  result.hint = "raise max_payload of the server and max_msg_size of the stream";
  return result;
}

void NatsSink::close() noexcept { session_.reset(); }

std::unique_ptr<SinkReader> NatsSink::read() {
  return std::make_unique<NatsReader>(options_, our_name_);
}

}  // namespace outseal::sinks
