// One event as one HTTP request: the bytes that are bound to its position.
//
//   KEY CRLF                     percent-encoded; tells events of one key, is not sent as such
//   Name: value CRLF  ...        the header fields that follow from event and position alone
//   CRLF
//   body
//
// Binary mode (default): the event's attributes are header fields, the body is the payload.
// Structured mode: the body is the event as one JSON document (common/cloudevents.h).
// The position is no attribute here (no `sequence`) but a header field alone, in both modes: an
// event gets another one if one before it is parked, and the same id with another body would be
// refused by a receiver that compares bodies (422).
// traceparent and tracestate are header fields of their own as well, for tracing libraries.
// What changes from try to try (timestamp, signature) or from day to day (credentials) is added
// when the request is sent.
//
// Source: CloudEvents 1.0.2, HTTP Protocol Binding; Standard Webhooks 1.0.0; the Idempotency-Key
// draft (draft-ietf-httpapi-idempotency-key-header-07): an RFC 8941 string.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/batch.h"
#include "sinks/common/cloudevents.h"

namespace outseal::sinks {

/// What HttpMessageEncoder needs to know of the sink.
struct HttpMessageOptions {
  bool structured = false;
  std::size_t body_bytes_max = 0;
};

/// Renders events. Pure: the same row, position and context give the same bytes.
///
/// Threads: Not thread-safe; one thread at a time.
class HttpMessageEncoder {
 public:
  /// @throws Error{invalid_config} if `event_source` is empty or not UTF-8.
  HttpMessageEncoder(std::string_view event_source, std::string_view stream,
                     const HttpMessageOptions& options);

  /// Appends the request for `row`.
  /// @returns why the event cannot be sent, for a human and without its content; then `out` is
  ///          unchanged.
  std::optional<std::string> encode(const EventRow& row, Position position, std::string& out);

 private:
  const HttpMessageOptions options_;
  std::string stream_;  ///< Percent-encoded as attributes are.
  EventAttributes attributes_;
  CloudEventsEncoder document_;
};

/// One request, as views into the bytes that it was parsed from.
struct HttpMessage {
  using Field = std::pair<std::string_view, std::string_view>;

  std::string_view key;  ///< Equal for events of one key; empty if the event has none.
  std::vector<Field> fields;
  std::string_view body;

  /// @throws Error{internal} if the encoder did not make these bytes.
  static HttpMessage parse(std::string_view bytes);
};

/// HttpMessage::key alone, without a look at the rest.
std::string_view key_of_message(std::string_view bytes);

}  // namespace outseal::sinks
