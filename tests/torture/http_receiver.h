// The reference receiver of webhooks (examples/webhook_receiver.cc) as a sink's server. Its table
// of effects is what counts.
#pragma once

#include <memory>

#include "torture/sink_stage.h"

namespace outseal::test {

/// How the receiver knows an event again.
enum class ReceiverMemory {
  ids,        ///< One row an event; many requests at once.
  positions,  ///< One row in all; one request at a time.
};

std::unique_ptr<SinkServer> make_http_receiver(ReceiverMemory memory);

}  // namespace outseal::test
