#include "conformance/sink_suite.h"

#include <array>
#include <cstdint>

#include "base/hash.h"

namespace outseal::test {

EventId event_id_at(Position position) {
  std::array<std::uint8_t, 16> bytes{1, 2, 3, 4, 5, 6, 0x70, 8, 0x80};
  for (std::size_t i = 0; i < 8; ++i)
    bytes[15 - i] = static_cast<std::uint8_t>(position.value() >> (8 * i));
  bytes[8] |= 0x80U;
  return EventId{bytes};
}

Batch make_batch(Sink& sink, const Tail& prior, std::size_t count, std::size_t payload_bytes) {
  Batch batch;
  batch.first = advance(prior.position);
  batch.prior = prior;
  for (std::size_t i = 0; i < count; ++i) {
    const Position position = advance(batch.first, i);
    const std::string payload = "{\"n\":" + std::to_string(position.value()) + ",\"pad\":\"" +
                                std::string(payload_bytes, 'x') + "\"}";
    EventRow row;
    row.seq = Seq{static_cast<std::int64_t>(position.value())};
    row.id = event_id_at(position);
    row.topic = "orders";
    row.key = position.value() % 2 == 0 ? "even" : "odd ";
    row.type = "order.paid";
    row.headers = "{}";
    row.payload = payload;
    row.content_type = "application/json";
    row.created_at_ms = 1'700'000'000'000;
    if (sink.encode(row, position, batch.bytes)) break;
    batch.entries.push_back({row.seq, row.id, batch.bytes.size()});
  }
  batch.hash = sha256(batch.bytes);
  return batch;
}

}  // namespace outseal::test
