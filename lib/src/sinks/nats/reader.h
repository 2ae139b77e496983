// Reads a stream from its first message to its last.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "model/sink.h"
#include "sinks/nats/connection.h"

namespace outseal::sinks {

/// Reads what the stream holds when it is opened, over a connection and an ordered consumer of its
/// own: the server sends ahead, so that a message costs no round trip.
///
/// Threads: Not thread-safe; one thread at a time.
class NatsReader final : public SinkReader {
 public:
  /// @throws Error{sink_unreachable} if the stream cannot be read.
  NatsReader(const NatsSinkOptions& options, std::string_view our_name);

  bool next(SinkRecord& record) override;

 private:
  const NatsSinkOptions options_;
  const std::string our_name_;
  NatsConnection connection_;
  NatsSubscriptionPtr messages_;
  std::uint64_t last_sequence_ = 0;  ///< Read up to here; 0: there is nothing (more).
  std::string encoded_;
};

}  // namespace outseal::sinks
