// The `http:` and `https:` sink: each event is one POST to a webhook receiver, at least once.
//
// HTTP has no conditional append, so the guarantee is completed by the receiver: in the transaction
// of what it does it keeps either the ids of the events that it has taken (`webhook-id`), or one
// row a stream (`outseal-stream`, `outseal-position`, `outseal-previous-id`), as
// examples/webhook_receiver.cc does.
//
//   (1) Of each key at most one event is under way, and it is the first that is not delivered.
//   (2) Once an event is refused nothing behind it is started, once one is to be sent again
//       nothing at all; what is under way then ends.
//   (3) An event that was delivered is not sent again by the same process, also if one before it
//       was not. After a crash at most one batch is.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "model/sink.h"
#include "sinks/http/exchange.h"
#include "sinks/http/message.h"
#include "sinks/http/options.h"
#include "sinks/kind.h"

namespace outseal::sinks {

/// Threads: as Sink says. The process must ignore SIGPIPE: OpenSSL writes to sockets that may be
/// closed.
class HttpSink final : public Sink {
 public:
  /// @throws Error{invalid_config} if the context's event source is empty or not UTF-8.
  HttpSink(HttpSinkOptions options, const SinkContext& context);

  SinkFeatures features() const override;
  std::size_t payload_bytes_max() const override { return options_.event_bytes_max; }
  std::optional<std::string> encode(const EventRow& row, Position position,
                                    std::string& out) override;
  /// Asks nothing of the receiver: the first event shows whether it is there. Warns of parameters
  /// that may lack our prefix.
  OpenResult open() override;
  /// Starts nothing more once HttpSinkOptions::timeout has passed.
  DeliveryResult deliver(const Batch& batch, std::size_t from) override;
  void close() noexcept override;
  std::unique_ptr<SinkReader> read() override;

 private:
  class Round;

  void remember(const EventId& id);
  std::chrono::milliseconds grace_left(const EventId& id, long status);

  const HttpSinkOptions options_;
  HttpMessageEncoder encoder_;
  std::optional<HttpExchange> exchange_;
  /// Delivered, but not yet reported as such together with all events before them.
  std::unordered_set<EventId> delivered_;
  /// Events whose last answer may have been a gateway's, and when the first such answer came.
  std::unordered_map<EventId, std::chrono::steady_clock::time_point> unfound_since_;
};

}  // namespace outseal::sinks
