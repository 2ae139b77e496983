// Webhooks to a receiver that remembers one position.
#include "torture/http_receiver.h"

namespace outseal::test {

bool skipped_without_sink_server() { return false; }

std::unique_ptr<SinkServer> make_sink_server() {
  return make_http_receiver(ReceiverMemory::positions);
}

}  // namespace outseal::test
