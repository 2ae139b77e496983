// What the tests of the NATS sink share.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/url.h"
#include "conformance/sink_suite.h"
#include "sinks/nats/sink.h"
#include "support/nats_client.h"
#include "support/nats_server.h"

namespace outseal::test {

inline const sinks::SinkContext kNatsContext = sinks::context_of("/outseal/test", "main");

inline std::unique_ptr<Sink> make_nats(const std::string& url) {
  return sinks::make_nats_sink(Url::parse("sink", url), kNatsContext);
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
