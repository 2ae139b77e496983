// Sends the messages of a batch, many at a time, and accounts for each acknowledgement.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/batch.h"
#include "sinks/nats/connection.h"
#include "sinks/nats/stream.h"

namespace outseal::sinks {

/// Sends over one connection. Every message has a reply subject that none ever had, here or in
/// another publisher. So an answer that comes late or twice, as when another server of a cluster
/// begins to lead, is never taken for that of another message.
///
/// Threads: Not thread-safe; one thread at a time.
class NatsPublisher {
 public:
  NatsPublisher(const NatsConnection& connection, const NatsSinkOptions& options);
  ~NatsPublisher();

  /// Where to publish to. If this fails, no acknowledgement would ever come.
  natsStatus subscribe();

  struct Outcome {
    enum class Status {
      stored,    ///< All of it.
      conflict,  ///< The stream does not end where we thought.
      in_doubt,  ///< Anything else: look at the stream before anything more is sent.
    };
    Status status = Status::stored;
    std::size_t done = 0;             ///< Entries known to be stored, from the batch's start.
    std::uint64_t last_sequence = 0;  ///< Of entries[done - 1].
    std::string detail = {};
  };

  /// Publishes entries[from..end). Unless the stream is shared, each message is stored only
  ///  - if the stream's last sequence is that of the message before it, the first one's
  ///    `facts.last_sequence`; so when one is lost, those behind it are refused, and
  ///  - behind the first one, if the last message is the event before it: if one was refused, but
  ///    its sequence was given to another message or to none, those behind it are refused too.
  ///
  /// The second condition is left out if the stream has replicas. Each of them checks what it is
  /// asked for when it stores a message, maybe long after the leader; and one that was down for
  /// longer than the duplicate window has forgotten the last id. It would refuse for good what was
  /// acknowledged, and lose it for all once it leads. About sequences all agree. So there, what
  /// follows an event that was not acknowledged may be stored without it: open_stream() looks.
  /// Source: nats-server 2.9, processJetStreamMsg() and rebuildDedupe() in server/stream.go.
  Outcome publish(const Batch& batch, std::size_t from, std::size_t end,
                  const NatsStreamFacts& facts);

  /// The most bytes that the server will count for a message.
  std::size_t wire_bytes_max(const NatsMessageView& message) const;

 private:
  struct Reply;
  struct Flight;

  natsStatus send(const Batch& batch, std::size_t index, const Flight& flight);
  void read_reply(natsMsg* message, Flight& flight);
  void wait_for_reply(Flight& flight);

  const NatsConnection& connection_;
  const NatsSinkOptions& options_;
  std::string inbox_;
  NatsSubscriptionPtr replies_;
  std::uint64_t sent_ = 0;  ///< Messages so far.
  std::unique_ptr<Reply> reply_;
  std::string scratch_;
};

}  // namespace outseal::sinks
