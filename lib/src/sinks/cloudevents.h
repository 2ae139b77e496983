// How an event looks as one line of newline-delimited JSON with CloudEvents attributes.
//
//   {"specversion":"1.0","position":N,"id":"UUID","source":"...","type":"...","subject":"KEY",
//    "time":"2026-01-31T23:59:59.999Z","topic":"...","datacontenttype":"...","headers":{...},
//    "data":...}                                          (one line in truth, ended by '\n')
//
// The order is fixed and the position stands early, so that a reader finds it without parsing JSON;
// a document that must be the same for an event at any position has none.
// `subject` is left out if the event has no key, `headers` if there are none. The payload is
//   "data": JSON         for a JSON content type, if it is JSON; the value as the producer wrote
//   it,
//                        except that line breaks between its tokens become spaces
//   "data": "string"     for text/*, if it is UTF-8
//   "data_base64": "..." for everything else, also for a payload that only claims to be JSON
//
// Source: CloudEvents 1.0.2, JSON Event Format; position, topic and headers are our extensions.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "model/batch.h"

namespace outseal::sinks {

/// Tells whether a text is JSON. Its own class so that the parser's header stays in one file.
///
/// Stricter than RFC 8259 in two points: no lone surrogates in \u escapes, and a limit on levels.
/// Threads: Not thread-safe; one thread at a time.
class JsonCheck {
 public:
  /// Levels that a payload or headers may have. Chosen by us: lines have some more, and 1,024 is
  /// where many parsers end.
  static constexpr std::size_t kLevelsMax = 1'000;
  static constexpr std::size_t kLineLevelsMax = 1'024;

  explicit JsonCheck(std::size_t levels_max);
  ~JsonCheck();

  bool is_json(std::string_view text);
  bool is_object(std::string_view text);

 private:
  struct Parser;
  std::unique_ptr<Parser> parser_;  ///< Reused: it keeps its memory from event to event.
};

/// Appends `text`, which is UTF-8, as the value of an attribute in a header of HTTP or NATS.
/// Source: CloudEvents 1.0.2, HTTP Protocol Binding, section 3.1.3.2 "HTTP Header Values".
void append_attribute(std::string& out, std::string_view text);

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
  std::optional<std::string> refusal(const EventRow& row);
  void append_payload(const EventRow& row, std::string& out);

  std::string source_;  ///< As a JSON string.
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
