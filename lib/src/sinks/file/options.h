// What a file: URL says.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <span>

#include "base/url.h"
#include "sinks/common/cloudevents.h"
#include "sinks/common/parameters.h"

namespace outseal::sinks {

struct FileSinkOptions {
  static constexpr std::uint64_t kSegmentBytesDefault = 256ULL << 20U;
  static constexpr std::uint64_t kSegmentBytesMin = 4ULL << 10U;
  static constexpr std::uint64_t kSegmentBytesMax = 64ULL << 30U;
  static constexpr std::uint64_t kEventBytesDefault = kLineBytesDefault;
  static constexpr std::uint64_t kEventBytesMin = 256;

  /// The active file is rotated before the batch that would make it larger; a batch is never split,
  /// so a segment exceeds this only if one batch does. open() reads the whole active file.
  std::uint64_t segment_bytes = kSegmentBytesDefault;
  /// Longest line, '\n' included; a longer event is refused. At most kLineBytesMax.
  std::uint64_t event_bytes_max = kEventBytesDefault;
  /// Makes a file's bytes durable; tests put a failing one here.
  int (*sync)(int file) = ::fdatasync;

  static std::span<const Parameter> parameters();
  /// @throws Error{invalid_argument} for an unusable parameter.
  static FileSinkOptions from(const Url& url);
};

}  // namespace outseal::sinks
