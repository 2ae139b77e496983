// How an event looks as a NATS message.
//
//   subject   "STREAM.{topic}.{key}" unless told otherwise; see NatsSubject
//   headers   Nats-Msg-Id: UUID, in a shared stream UUID@STREAM with the value of outseal-stream:
//             several subscriptions may send the same event there, and the server would drop the
//             second one's as a copy
//             outseal-stream
//             the event's attributes (event_attributes.h) as ce-NAME, among them ce-sequence, the
//             position; content-type for datacontenttype
//             traceparent and tracestate also under their own names
//   payload   the event's payload, byte for byte
//
// Values of ce-... and outseal-stream are percent-encoded as the HTTP binding does it: all but
// printable ASCII, and space, double quote and percent sign. The canonical bytes, which the journal
// hashes, are
//
//   SUBJECT CR LF "NATS/1.0" CR LF { NAME ": " VALUE CR LF } CR LF PAYLOAD
//
// On the wire Nats-Expected-... come on top; what carries the headers does not know their order, so
// a message that is read back is put into this order again.
//
// Source: CloudEvents 1.0.2, HTTP Protocol Binding, section 3.1 (the released NATS binding has no
// binary mode); NATS client protocol, HPUB.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/batch.h"
#include "sinks/common/event_attributes.h"

namespace outseal::sinks {

/// The most that max_payload of a server can be; what it is, is seen when the message is sent.
inline constexpr std::size_t kNatsMessageBytesMax = 64UL << 20U;
/// A stream takes 65,535 bytes of headers; the rest is left for those that depend on the stream.
inline constexpr std::size_t kNatsHeaderBytesMax = 65'000;
/// A server takes protocol lines of 4,096 bytes, in which reply subject and sizes stand too.
inline constexpr std::size_t kNatsSubjectBytesMax = 3'500;

/// Makes subjects from topics and keys.
///
/// The pattern is a subject whose tokens may be {topic} and {key}, for example
/// "shop.{topic}.{key}". A topic keeps its dots, so it may fill several tokens; a key fills one.
/// What a token cannot hold is written as %XX: control characters, space, * > %, each dot of a key,
/// and a dot of a topic that is first, last or follows a dot. Nothing at all is written as "_", and
/// "_" as %5F. So different topics and keys always give different subjects.
///
/// Threads: Immutable.
class NatsSubject {
 public:
  /// @throws Error{invalid_argument} if `pattern` is no subject.
  explicit NatsSubject(std::string_view pattern);

  void append_to(std::string& out, std::string_view topic, std::string_view key) const;
  /// What a stream has to listen to, for example "shop.>".
  const std::string& space() const { return space_; }

 private:
  std::vector<std::string> tokens_;
  std::string space_;
};

/// True if all subjects that match `inner` match `outer`; both may have wildcards.
bool subject_covers(std::string_view outer, std::string_view inner);
/// True if some subject matches both.
bool subjects_overlap(std::string_view one, std::string_view other);

/// Name and value; views into something longer-lived.
using NatsHeader = std::pair<std::string_view, std::string_view>;

inline constexpr std::string_view kNatsMsgId = "Nats-Msg-Id";
inline constexpr std::string_view kNatsExpectedStream = "Nats-Expected-Stream";
inline constexpr std::string_view kNatsExpectedSequence = "Nats-Expected-Last-Sequence";
inline constexpr std::string_view kNatsExpectedId = "Nats-Expected-Last-Msg-Id";
inline constexpr std::string_view kNatsOurStream = "outseal-stream";
inline constexpr std::string_view kNatsSequence = "ce-sequence";

enum class NatsSharing {
  alone,   ///< The stream has one subscription.
  shared,  ///< It may have several, and other writers.
};

/// Renders events. Pure: the same row, position and context give the same bytes.
///
/// Threads: Not thread-safe; one thread at a time.
class NatsEncoder {
 public:
  /// @throws Error{invalid_config} if `event_source` is empty or not UTF-8.
  NatsEncoder(NatsSubject subject, std::string_view event_source, std::string_view stream,
              NatsSharing sharing = NatsSharing::alone);

  /// Appends the canonical bytes of `row`.
  /// @returns why the event cannot be a message, for a human and without its content; then `out` is
  ///          unchanged.
  std::optional<std::string> encode(const EventRow& row, Position position, std::string& out);

 private:
  NatsSubject subject_;
  EventAttributes attributes_;
  std::string stream_;  ///< Percent-encoded.
  NatsSharing sharing_;
};

/// `text` as the value of ce-... and outseal-stream.
std::string percent_encoded(std::string_view text);

/// The parts of canonical bytes; views into them.
struct NatsMessageView {
  std::string_view subject;
  std::string_view headers;  ///< The lines of the headers, each ended by CR LF.
  std::string_view payload;

  /// `encoded` must be what NatsEncoder made.
  explicit NatsMessageView(std::string_view encoded);

  /// What the server counts of it, without what comes on top.
  std::size_t wire_bytes() const;
  /// Takes the first header off `headers`; `headers` must not be empty.
  NatsHeader take_header();
};

/// Appends canonical bytes from parts in any order. Leaves the expectations out.
void append_canonical(std::string& out, std::string_view subject, std::vector<NatsHeader>& headers,
                      std::string_view payload);

/// What the headers of a stored message say of it.
struct NatsIdentity {
  Position position;
  EventId event_id;
};

/// Nothing if the message is not one of `stream`, a name as NatsEncoder writes it.
std::optional<NatsIdentity> identify(const std::vector<NatsHeader>& headers,
                                     std::string_view stream);

}  // namespace outseal::sinks
