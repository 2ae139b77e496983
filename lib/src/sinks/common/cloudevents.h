// How an event looks as one line of newline-delimited JSON: a CloudEvent in the JSON event format.
//
//   {"specversion":"1.0","sequence":"00000000000000000042","id":"UUID","source":"...",
//    "type":"...","subject":"KEY","time":"2026-01-31T23:59:59.999Z","topic":"...",
//    "datacontenttype":"...",OWN HEADERS,"data":...}      (one line in truth, ended by '\n')
//
// The attributes are those of event_attributes.h in their order, all of them strings. The position
// stands early and has a fixed width, so that a reader finds it without parsing JSON; a document
// that must be the same for an event at any position has none. The payload is
//   "data": JSON         for a JSON content type, if it is JSON; the value as the producer wrote
//                        it, except that line breaks between its tokens become spaces
//   "data": "string"     for text/*, if it is UTF-8
//   "data_base64": "..." for everything else, also for a payload that only claims to be JSON
//
// Source: CloudEvents 1.0.2, JSON Event Format.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "model/batch.h"
#include "sinks/common/event_attributes.h"
#include "sinks/common/json_check.h"

namespace outseal::sinks {

/// Longest line that a sink takes if it is told nothing else.
inline constexpr std::size_t kLineBytesDefault = 16U << 20U;
/// No line is longer, '\n' included. Chosen by us: the largest payload that append() accepts (64
/// MiB) in base64, and the rest of its line.
inline constexpr std::size_t kLineBytesMax = 128U << 20U;

/// Renders events. Pure: the same row, position and source give the same bytes.
///
/// Threads: Not thread-safe; one thread at a time.
class CloudEventsEncoder {
 public:
  /// `line_bytes_max` bounds a line with its '\n'.
  /// @throws Error{invalid_config} if `event_source` is empty or not UTF-8.
  CloudEventsEncoder(std::string_view event_source, std::size_t line_bytes_max);

  /// Appends the line of `row`, without a position if there is none.
  /// @returns why the event cannot be a line, for a human and without its content; then `out` is
  ///          unchanged.
  std::optional<std::string> encode(const EventRow& row, std::optional<Position> position,
                                    std::string& out);

 private:
  void append_payload(const EventRow& row, std::string& out);

  EventAttributes attributes_;
  std::size_t line_bytes_max_;
  JsonCheck json_{JsonCheck::kLevelsMax};
};

/// What the head of one of our lines says.
struct LineHead {
  Position position;
  EventId event_id;
};

/// Reads the head of a line; nothing if it is not exactly what the encoder writes there. What comes
/// after `"source":"` is not looked at.
std::optional<LineHead> parse_line_head(std::string_view line);

/// True if a line of ours that was cut off could look like this: it starts as all of them start, or
/// is shorter than that.
bool may_be_cut_line(std::string_view bytes);

}  // namespace outseal::sinks
