// A connection to a NATS server, and the pieces of the client library that end by themselves.
#pragma once

#include <nats/nats.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "model/sink.h"
#include "sinks/nats/message.h"
#include "sinks/nats/options.h"

namespace outseal::sinks {

template <auto destroy>
struct NatsDestroy {
  template <typename T>
  void operator()(T* thing) const {
    destroy(thing);
  }
};
using NatsMessagePtr = std::unique_ptr<natsMsg, NatsDestroy<natsMsg_Destroy>>;
using NatsSubscriptionPtr =
    std::unique_ptr<natsSubscription, NatsDestroy<natsSubscription_Destroy>>;
using NatsStreamInfoPtr = std::unique_ptr<jsStreamInfo, NatsDestroy<jsStreamInfo_Destroy>>;

/// One connection. It never reconnects and never sends again: what was under way when it breaks is
/// in doubt, and the one who opens the next connection looks at the stream.
///
/// Threads: as Sink says, for open(), deliver() and close().
class NatsConnection {
 public:
  /// Connects to one of the servers.
  /// @returns how it went: `opened`, or why not.
  OpenResult connect(const NatsSinkOptions& options);

  natsConnection* get() const { return connection_.get(); }
  jsCtx* streams() const { return streams_.get(); }
  std::size_t message_bytes_max() const;
  /// The server has said that this user may not send to or receive from some subject. It says so
  /// instead of an answer.
  bool is_denied() const;

 private:
  std::unique_ptr<natsConnection, NatsDestroy<natsConnection_Destroy>> connection_;
  std::unique_ptr<jsCtx, NatsDestroy<jsCtx_Destroy>> streams_;
};

/// What `status` means, for a human.
std::string describe(natsStatus status);

/// All headers of a message, as views into it.
std::vector<NatsHeader> headers_of(natsMsg* message);
std::string_view payload_of(natsMsg* message);

}  // namespace outseal::sinks
