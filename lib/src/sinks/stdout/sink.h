// The `stdout:` sink: events as newline-delimited JSON (common/cloudevents.h) on standard output.
//
// At least once: nobody can ask a pipe what it took, so after a crash the last batch comes again.
// Receivers recognise it by id and position.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "model/sink.h"
#include "sinks/common/cloudevents.h"

namespace outseal::sinks {

/// Threads: as Sink says.
class StdoutSink final : public Sink {
 public:
  explicit StdoutSink(std::string_view event_source);

  SinkFeatures features() const override { return {}; }
  std::optional<std::string> encode(const EventRow& row, Position position,
                                    std::string& out) override;
  /// Also makes the process ignore SIGPIPE, so that a reader that went away is an outcome.
  OpenResult open() override;
  /// Blocks as long as the reader does not read. Any error is `failed`: a line may be half written,
  /// and there is no way to find out.
  DeliveryResult deliver(const Batch& batch, std::size_t from) override;
  void close() noexcept override {}
  std::unique_ptr<SinkReader> read() override;

 private:
  CloudEventsEncoder encoder_;
};

}  // namespace outseal::sinks
