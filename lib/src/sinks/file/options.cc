#include "sinks/file/options.h"

#include <array>

namespace outseal::sinks {

std::span<const Parameter> FileSinkOptions::parameters() {
  using Kind = Parameter::Kind;
  static constexpr std::array kRows{
      Parameter{.name = "segment_bytes",
                .kind = Kind::number,
                .fallback = kSegmentBytesDefault,
                .min = kSegmentBytesMin,
                .max = kSegmentBytesMax,
                .help = "the file is rotated before the batch that would make it larger; a batch "
                        "is never split"},
      Parameter{.name = "event_bytes_max",
                .kind = Kind::number,
                .fallback = kEventBytesDefault,
                .min = kEventBytesMin,
                .max = kLineBytesMax,
                .help = "maximum length of a line, with its line break; a longer event is parked"},
  };
  return kRows;
}

FileSinkOptions FileSinkOptions::from(const Url& url) {
  const Parameters given{url, parameters()};
  return {.segment_bytes = given.number("segment_bytes"),
          .event_bytes_max = given.number("event_bytes_max")};
}

}  // namespace outseal::sinks
