// The sink `postgresql://...` and `sqlite:PATH`: the inbox tables of another database. A service
// there takes the events by outseal::take(), in the transactions of their effects.
//
// Invariants:
//   (1) The stream's row in inbox_tail is the tail: it is moved by compare-and-set, in the one
//       transaction that inserts the events between the old position and the new one.
//   (2) That transaction is durable before deliver() says `delivered`. If its commit is in doubt or
//       the connection is lost, only the tail tells, after open().
//   (3) Positions and event ids are unique in a stream by constraints as well. An id that stands at
//       an earlier position already came back after retention: that event is rejected. Any other
//       violation means that somebody else writes: the relay halts.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "model/sink.h"
#include "outseal/error.h"
#include "sinks/common/json_check.h"
#include "sinks/inbox/options.h"
#include "sql/inbox_sink.h"

namespace outseal::sinks {

/// Threads: as Sink says.
class InboxSink final : public Sink {
 public:
  /// @throws Error{invalid_config} if the stream's name is too long for the inbox.
  InboxSink(Url url, std::string stream, const InboxSinkOptions& options = {});

  SinkFeatures features() const override;
  std::size_t payload_bytes_max() const override { return options_.event_bytes_max; }
  std::optional<std::string> encode(const EventRow& row, Position position,
                                    std::string& out) override;
  OpenResult open() override;
  DeliveryResult deliver(const Batch& batch, std::size_t from) override;
  void close() noexcept override;
  std::unique_ptr<SinkReader> read() override;

 private:
  std::unique_ptr<sql::Connection> connect() const;
  OpenResult look_at_server();
  DeliveryResult deliver_up_to_known(const Batch& batch, std::size_t from, const Error& fault);
  bool store(const Batch& batch, std::size_t from, const Tail& before);
  bool store_at_once(const Batch& batch, std::size_t from, const sql::TailMove& move);
  bool store_one_by_one(const Batch& batch, std::size_t from, const sql::TailMove& move);

  const Url url_;
  const std::string stream_;
  const InboxSinkOptions options_;
  JsonCheck json_{JsonCheck::kLevelsMax};  ///< encode()'s alone.
  std::unique_ptr<sql::Connection> connection_;
};

}  // namespace outseal::sinks
