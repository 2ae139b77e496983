// The sink suite on a stream of its own. What only NATS can get wrong: sink_nats_cases_test.cc,
// sink_nats_answers_test.cc and nats_cluster_test.cc.
#include "conformance/nats_fixture.h"

namespace outseal::test {

std::unique_ptr<SinkUnderTest> make_sink_under_test() { return std::make_unique<NatsUnderTest>(); }

}  // namespace outseal::test
