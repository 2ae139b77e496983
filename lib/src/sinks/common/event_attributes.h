// The CloudEvents attributes of an event: one list that every sink walks which writes CloudEvents.
//
//   specversion  "1.0"
//   sequence     the position, 20 decimal digits with leading zeros; not where the position is
//                unknown or must not be part of the event
//   id  source  type  subject (the key; absent if empty)  time  topic (absent if empty)
//   datacontenttype (absent if empty)
//   then the event's own headers, sorted by name
//
// A header becomes an attribute of its own, under its own name, if it can be one: the name is 1 to
// 20 lower-case letters and digits, not reserved and not repeated, and the value is a string that
// is not empty and has no control characters. If any header cannot, the attribute `headers` holds
// the whole JSON object as a string, as the producer wrote it (line breaks and tabs between its
// tokens as spaces). So nothing is lost: the headers are `headers` where it exists, else the
// attributes that are not listed above.
//
// Source: CloudEvents 1.0.2, sections "Naming Conventions" and "Type System"; its documented
// extensions Sequence (without sequencetype, whose only defined value is for 32-bit numbers) and
// Distributed Tracing (traceparent, tracestate).
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/batch.h"
#include "sinks/common/json_check.h"

namespace outseal::sinks {

/// Length of `sequence`: as many digits as any position can have, so that text and number order
/// alike.
inline constexpr std::size_t kSequenceDigits = 20;

/// No attribute has a longer name.
/// Source: CloudEvents 1.0.2, "Naming Conventions": names SHOULD NOT be longer.
inline constexpr std::size_t kAttributeNameBytesMax = 20;

/// Appends `position` as the value of `sequence`.
void append_sequence(std::string& out, Position position);
/// Reads the value of `sequence`; nothing unless it is exactly what append_sequence writes for a
/// position from 1 on.
std::optional<Position> parse_sequence(std::string_view text);

/// Appends `text`, which is UTF-8, as the value of an attribute in a header of HTTP or NATS.
/// Source: CloudEvents 1.0.2, HTTP Protocol Binding, section 3.1.3.2 "HTTP Header Values".
void append_attribute(std::string& out, std::string_view text);

struct Attribute {
  std::string_view name;
  std::string_view value;
  friend auto operator<=>(const Attribute&, const Attribute&) = default;
};

/// Reads the attributes of one event after the other. Pure: the same row, position and source give
/// the same list.
///
/// Threads: Not thread-safe; one thread at a time.
class EventAttributes {
 public:
  /// @throws Error{invalid_config} if `event_source` is empty or not UTF-8.
  explicit EventAttributes(std::string_view event_source);

  /// Makes list() that of `row`.
  /// @returns why the event has no such list, for a human and without its content.
  std::optional<std::string> read(const EventRow& row, std::optional<Position> position);

  /// In the order above. Valid until the next read() and as long as the row.
  const std::vector<Attribute>& list() const { return list_; }

  /// Appends the list as header lines of binary mode, each ended by CR LF: `ce-NAME`, and
  /// `content-type` for datacontenttype. The content type must be fit for a header field.
  void append_headers(std::string& out) const;
  /// Appends traceparent and tracestate under their own names as well, where tracing libraries look
  /// for them.
  void append_trace_headers(std::string& out) const;

 private:
  std::optional<std::string> read_headers(std::string_view headers);

  std::string source_;
  std::string sequence_;
  std::string id_;
  std::string time_;
  std::string headers_;
  JsonCheck json_{JsonCheck::kLevelsMax};
  std::vector<Attribute> list_;
};

}  // namespace outseal::sinks
