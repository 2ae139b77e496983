// The `file:` sink: events as newline-delimited JSON (common/cloudevents.h), exactly once.
//
// Invariants:
//   (1) Only the holder of the lock on PATH.lock writes.
//   (2) Positions are consecutive over all segments and the active file, in this order.
//   (3) A rotated segment is complete, durable and never written again.
//   (4) What deliver() or open() reported as stored is durable: both sync before they say so,
//   open()
//       because the lines that it finds may be those of a relay that died before its own sync.
//   (5) Behind the last whole line of the active file may stand what a crash tore. open() leaves it
//       alone; the first deliver() cuts it off, when the relay has agreed to the tail.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "model/sink.h"
#include "sinks/common/cloudevents.h"
#include "sinks/file/options.h"
#include "sinks/file/segments.h"

namespace outseal::sinks {

/// Behind the sink's path: the file whose lock keeps other writers out.
inline constexpr std::string_view kLockSuffix = ".lock";

/// Threads: as Sink says.
class FileSink final : public Sink {
 public:
  /// @throws Error{invalid_argument} if `path` does not end in the name of a file.
  FileSink(std::string path, std::string_view event_source, const FileSinkOptions& options = {});

  SinkFeatures features() const override;
  std::size_t payload_bytes_max() const override { return options_.event_bytes_max; }
  std::optional<std::string> encode(const EventRow& row, Position position,
                                    std::string& out) override;
  OpenResult open() override;
  DeliveryResult deliver(const Batch& batch, std::size_t from) override;
  void close() noexcept override;
  std::unique_ptr<SinkReader> read() override;

 private:
  using Trouble = std::optional<DeliveryResult>;

  std::optional<OpenResult> take_lock();
  std::optional<OpenResult> open_active();
  OpenResult find_tail();
  std::optional<OpenResult> find_tail_in_rotated(const std::vector<Segment>& rotated);
  OpenResult make_durable();

  Trouble check_condition(const Batch& batch, std::size_t from) const;
  bool is_unchanged() const;
  Trouble repair();
  Trouble rotate(std::size_t bytes);
  Trouble create_active();
  Trouble append(std::string_view bytes);
  Trouble write_all(std::string_view bytes);
  Trouble not_durable(std::string detail);
  bool sync_folder() const;

  const std::string path_;
  const std::string folder_;
  const std::string name_;
  const FileSinkOptions options_;
  CloudEventsEncoder encoder_;
  Descriptor lock_;
  Descriptor active_;  ///< Not open as long as the active file does not exist.
  bool ready_ = false;
  bool failed_ = false;  ///< A sync failed; for good.
  Tail tail_;
  Position first_;           ///< Of the active file; 0 if it has no whole line.
  std::uint64_t whole_ = 0;  ///< Where the active file's last whole line ends.
  std::uint64_t size_ = 0;   ///< All of the active file.
};

}  // namespace outseal::sinks
