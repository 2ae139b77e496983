// What the tests of the NATS sink share.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/url.h"
#include "conformance/sink_suite.h"
#include "sinks/nats/message.h"
#include "sinks/nats/sink.h"
#include "sinks/registry.h"
#include "support/nats_client.h"
#include "support/nats_server.h"

namespace outseal::test {

inline const sinks::SinkContext kNatsContext = sinks::context_of("/outseal/test", "main");

inline std::unique_ptr<Sink> make_nats(const std::string& url) {
  return sinks::make_sink(Url::parse("sink", url), kNatsContext);
}

/// A name that no stream of this process has.
inline std::string fresh_name() {
  static int count = 0;
  return "S" + std::to_string(++count);
}

/// A stream of its own on the shared server, fit for the sink.
inline std::string fresh_stream(const std::string& settings = "{}") {
  std::string name = fresh_name();
  NatsClient{shared_nats_server().url()}.create_stream(name, settings);
  return name;
}

/// The sink suite on a stream of a real server.
class NatsUnderTest final : public SinkUnderTest {
 public:
  explicit NatsUnderTest(std::string parameters = {}) : parameters_{std::move(parameters)} {}

  std::unique_ptr<Sink> make() const override {
    return make_nats(shared_nats_server().url() + "/" + stream_ + parameters_);
  }
  std::string stored() const override {
    std::string bytes;
    const auto reader = make()->read();
    for (SinkRecord record; reader->next(record);) bytes += record.encoded;
    return bytes;
  }
  std::size_t oversize_bytes() const override { return sinks::kNatsMessageBytesMax + 1; }

 private:
  const std::string parameters_;
  const std::string stream_ = fresh_stream();
};

/// The positions in a stream in their order; 0 for a message that is not one of ours.
inline std::vector<std::uint64_t> positions_in(Sink& sink) {
  std::vector<std::uint64_t> positions;
  const auto reader = sink.read();
  for (SinkRecord record; reader->next(record);) positions.push_back(record.position.value());
  return positions;
}

/// 1, 2, ... `count`.
inline std::vector<std::uint64_t> positions_to(std::uint64_t count) {
  std::vector<std::uint64_t> positions;
  for (std::uint64_t i = 1; i <= count; ++i) positions.push_back(i);
  return positions;
}

}  // namespace outseal::test
