// The sink suite on a stream of a real server. What only NATS can get wrong:
// sink_nats_cases_test.cc, sink_nats_answers_test.cc and nats_cluster_test.cc.
#include <string>

#include "conformance/nats_fixture.h"
#include "conformance/sink_suite.h"
#include "sinks/nats/message.h"
#include "support/nats_server.h"

namespace outseal::test {
namespace {

class NatsUnderTest final : public SinkUnderTest {
 public:
  std::unique_ptr<Sink> make() const override {
    return make_nats(shared_nats_server().url() + "/" + stream_);
  }
  std::string stored() const override {
    std::string bytes;
    const auto reader = make()->read();
    for (SinkRecord record; reader->next(record);) bytes += record.encoded;
    return bytes;
  }
  std::size_t oversize_bytes() const override { return sinks::kNatsMessageBytesMax + 1; }

 private:
  const std::string stream_ = fresh_stream();
};

}  // namespace

std::unique_ptr<SinkUnderTest> make_sink_under_test() { return std::make_unique<NatsUnderTest>(); }

}  // namespace outseal::test
