// Webhooks to a receiver that remembers the ids of events.
#include "torture/http_receiver.h"

namespace outseal::test {

bool skipped_without_sink_server() { return false; }

std::unique_ptr<SinkServer> make_sink_server() { return make_http_receiver(ReceiverMemory::ids); }

}  // namespace outseal::test
