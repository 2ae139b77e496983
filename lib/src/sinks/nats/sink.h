// The `nats:` sink: a NATS JetStream stream.
//
// A stream of its own (the default): exactly once, in order. Every message carries the sequence
// that the stream must end with (Nats-Expected-Last-Sequence) and, behind the first of a delivery,
// the id of the event that must stand there (Nats-Expected-Last-Msg-Id). The server checks both in
// the moment that it stores the message. So of the messages under way always a prefix is stored,
// and nothing of another sender gets between, whatever was delayed, sent twice or abandoned.
//
// A stream with replicas goes without the id, because servers of version 2.9 do not agree about it
// (see NatsPublisher). Then a sequence that is used up without storing the event (by somebody
// else's message, or by one that the server took back) does not keep out the events behind it. But
// that event was not acknowledged at its sequence, so (3) ends the session, and open() reads what
// was under way and refuses a stream in which an event is missing.
//
// Invariants:
//   (1) last_sequence_ and tail_ belong together: the message at that sequence is that event.
//   (2) Nothing is sent over a connection on which the outcome of anything is in doubt: it is
//       closed, and the next open() reads the stream.
//   (3) An acknowledgement counts only with the sequence that was expected of its message.
//
// A shared stream (shared=true): at least once. Each message carries its event's id and its
// subscription as Nats-Msg-Id; the server drops a second copy within its duplicate window, and
// nobody does later.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "model/sink.h"
#include "sinks/kind.h"
#include "sinks/nats/connection.h"
#include "sinks/nats/message.h"
#include "sinks/nats/options.h"
#include "sinks/nats/publisher.h"
#include "sinks/nats/stream.h"

namespace outseal::sinks {

/// Threads: as Sink says.
class NatsSink final : public Sink {
 public:
  /// @throws Error{invalid_argument} if the subject is none.
  NatsSink(NatsSinkOptions options, const SinkContext& context);
  ~NatsSink() override;

  SinkFeatures features() const override;
  std::size_t payload_bytes_max() const override { return kNatsMessageBytesMax; }
  std::optional<std::string> encode(const EventRow& row, Position position,
                                    std::string& out) override;
  void resume_from(const Tail& acked, std::string_view mark) override;
  OpenResult open() override;
  DeliveryResult deliver(const Batch& batch, std::size_t from) override;
  void close() noexcept override;
  std::unique_ptr<SinkReader> read() override;

 private:
  /// What exists while the sink is open.
  struct Session {
    explicit Session(const NatsSinkOptions& options) : publisher{connection, options} {}

    NatsConnection connection;
    NatsPublisher publisher;
    NatsStreamFacts facts;
  };

  std::size_t first_too_large(const Batch& batch, std::size_t from) const;

  const NatsSinkOptions options_;
  const NatsSubject subject_;
  const std::string our_name_;  ///< As it stands in the header outseal-stream.
  NatsEncoder encoder_;         ///< Of encode() alone.
  NatsMark mark_;
  std::unique_ptr<Session> session_;
  Tail tail_;
};

}  // namespace outseal::sinks
