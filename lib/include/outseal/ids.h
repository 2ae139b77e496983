// The identifiers of outseal: event ids, sequence numbers, positions, epochs.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "outseal/strong.h"

namespace outseal {

/// The id of an event: a UUID, by default version 7 (time-ordered). It never changes, whatever is
/// retried or redriven; receivers recognise an event by it.
///
/// Threads: Immutable.
/// Source: RFC 9562, sections 4 and 5.7.
class EventId {
 public:
  /// Length of the canonical text form, in bytes.
  static constexpr std::size_t kTextBytes = 36;

  /// The nil UUID; stands for "no event".
  constexpr EventId() = default;
  constexpr explicit EventId(const std::array<std::uint8_t, 16>& bytes) : bytes_(bytes) {}

  /// Reads the canonical lower-case form `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` and no other.
  static std::optional<EventId> parse(std::string_view text);

  std::string to_string() const;
  /// Appends the canonical form to `out`.
  void append_to(std::string& out) const;
  constexpr const std::array<std::uint8_t, 16>& bytes() const noexcept { return bytes_; }
  constexpr bool is_nil() const noexcept { return *this == EventId{}; }
  friend constexpr auto operator<=>(const EventId&, const EventId&) = default;

 private:
  std::array<std::uint8_t, 16> bytes_{};
};

/// A new UUIDv7 by the system clock (milliseconds) and OpenSSL's random generator.
///
/// Ids made by one process ascend, even within one millisecond and when the clock steps back.
/// @throws Error{internal} if the system gives no randomness.
/// Threads: Thread-safe.
EventId new_event_id();

/// A new idempotency key for a client: the text of a UUIDv7. Make it once for each thing that is to
/// happen, store it with that, and send it with each attempt. Records of such keys stand in the
/// order of time in the database, which random keys (UUIDv4) do not; see Operation.
/// @throws Error{internal} if the system gives no randomness.
/// Threads: Thread-safe.
std::string new_idempotency_key();

/// Number of an event in the outbox, drawn by the database when it is appended. Has gaps.
using Seq = Strong<struct SeqTag, std::int64_t>;
/// Dense number of an event within its subscription, from 1. 0 stands for "before the first".
using Position = Strong<struct PositionTag, std::uint64_t>;
/// Fencing token of a relay: each acquisition of a subscription's lease raises it by one.
using Epoch = Strong<struct EpochTag, std::uint64_t>;

/// The position `count` places after `position`.
constexpr Position advance(Position position, std::uint64_t count = 1) {
  return Position{position.value() + count};
}

}  // namespace outseal

template <>
struct std::hash<outseal::EventId> {
  std::size_t operator()(const outseal::EventId& id) const noexcept {
    return std::hash<std::string_view>{}(
        {reinterpret_cast<const char*>(id.bytes().data()), id.bytes().size()});
  }
};
