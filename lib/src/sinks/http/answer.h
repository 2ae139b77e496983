// What a receiver's answer means for an event.
//
//   2xx                            delivered
//   409 + outseal-position: L      delivered if L is ours or later, else the receiver has a gap
//   409                            the same request is still being worked on: again, soon
//   410                            the receiver wants no more: the subscription stops
//   401 403 407 408 425 429, 5xx   again later, after Retry-After if there is one
//   404 405 421                    the same until the event's time of grace is over: a gateway
//                                  answers so while the receiver behind it is deployed
//   other 4xx                      never: the event is parked
//   3xx, no or a broken answer     again later
//
// Source: Standard Webhooks 1.0.0 (2xx, 410, 429); draft-ietf-httpapi-idempotency-key-header-07
// (409, 422); RFC 9110 (the classes).
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "outseal/ids.h"

namespace outseal::sinks {

/// Longest time that a receiver may ask for. Chosen by us.
inline constexpr std::chrono::seconds kRetryAfterMax{3'600};

/// How one request ended.
struct HttpAnswer {
  long status = 0;                        ///< 0: no answer; `trouble` says why.
  std::optional<Position> position = {};  ///< The receiver's outseal-position.
  std::chrono::seconds retry_after{0};    ///< At most kRetryAfterMax; 0: it said nothing usable.
  std::string trouble = {};               ///< For humans.
  std::string hint = {};
};

struct HttpVerdict {
  enum class Kind {
    delivered,
    retry_later,
    rejected,  ///< Never this event.
    gone,      ///< Never any event.
  };
  Kind kind = Kind::delivered;
  std::string detail = {};
  std::string hint = {};
  std::chrono::milliseconds retry_after{0};
};

/// The status in the status line of HTTP/1.0 or 1.1; 0 if `line` is none. libcurl is more lenient:
/// it finds a 200 in "HTtP/1200 O". Source: RFC 9112, section 4 "Status Line".
long parse_status_line(std::string_view line);

/// The position in a header field of an answer; nothing unless `text` is a whole number.
std::optional<Position> parse_position(std::string_view text);

/// True for 404, 405 and 421, which may come from a gateway instead of the receiver.
bool may_be_of_gateway(long status);

/// @param position of the event that the answer is for.
/// @param receiver for humans: who answered.
/// @param grace_left how much longer a status that may be a gateway's is not final; 0 or less: it
///        is.
HttpVerdict judge(const HttpAnswer& answer, Position position, const std::string& receiver,
                  std::chrono::milliseconds grace_left);

}  // namespace outseal::sinks
