// What a receiver's answer means for an event.
//
//   2xx                            delivered
//   409 + outseal-position: L      delivered if L is ours or later, else the receiver has a gap
//   409                            the same request is still being worked on: again, soon
//   410                            the receiver wants no more: the subscription stops
//   408 425 429, all 5xx           again later, after Retry-After if there is one
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

#include "outseal/ids.h"

namespace outseal::sinks {

/// Longest time that a receiver may ask for. Chosen by us.
inline constexpr std::chrono::seconds kRetryAfterMax{3'600};

/// How one request ended.
struct HttpAnswer {
  long status = 0;                        ///< 0: no whole answer; `trouble` says why.
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

/// @param position of the event that the answer is for.
/// @param receiver for humans: who answered.
HttpVerdict judge(const HttpAnswer& answer, Position position, const std::string& receiver);

}  // namespace outseal::sinks
