// The sink suite on a stream that others may write too.
#include "conformance/nats_fixture.h"

namespace outseal::test {

std::unique_ptr<SinkUnderTest> make_sink_under_test() {
  return std::make_unique<NatsUnderTest>("?shared=true");
}

}  // namespace outseal::test
