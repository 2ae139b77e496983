#include "outseal/ids.h"

#include <openssl/rand.h>

#include <algorithm>
#include <mutex>

#include "base/text.h"
#include "outseal/error.h"

namespace outseal {
namespace {

constexpr int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

constexpr bool is_dash_place(std::size_t place) {
  return place == 8 || place == 13 || place == 18 || place == 23;
}

/// Milliseconds and a 12-bit counter that together only ascend within this process.
/// Source: RFC 9562, section 6.2, method 1 (fixed bit-length dedicated counter).
std::uint64_t next_tick() {
  static std::mutex mutex;
  static std::uint64_t last = 0;
  const auto now = static_cast<std::uint64_t>(wall_clock_ms()) << 12U;
  const std::lock_guard lock{mutex};
  last = std::max(last + 1, now);
  return last;
}

}  // namespace

std::optional<EventId> EventId::parse(std::string_view text) {
  if (text.size() != kTextBytes) return std::nullopt;
  std::array<std::uint8_t, 16> bytes{};
  std::size_t nibble = 0;
  for (std::size_t place = 0; place < text.size(); ++place) {
    if (is_dash_place(place)) {
      if (text[place] != '-') return std::nullopt;
      continue;
    }
    const int value = hex_value(text[place]);
    if (value < 0) return std::nullopt;
    auto& byte = bytes[nibble / 2];
    byte = static_cast<std::uint8_t>((byte << 4U) | value);
    ++nibble;
  }
  return EventId{bytes};
}

void EventId::append_to(std::string& out) const {
  static constexpr char kDigits[] = "0123456789abcdef";
  char text[kTextBytes];
  std::size_t place = 0;
  for (const std::uint8_t byte : bytes_) {
    if (is_dash_place(place)) text[place++] = '-';
    text[place++] = kDigits[byte >> 4U];
    text[place++] = kDigits[byte & 15U];
  }
  out.append(text, sizeof text);
}

std::string EventId::to_string() const {
  std::string text;
  append_to(text);
  return text;
}

EventId new_event_id() {
  std::array<std::uint8_t, 16> bytes{};
  if (RAND_bytes(bytes.data() + 8, 8) != 1)
    throw Error{ErrorCode::internal, "new_event_id", "the system gives no randomness"};
  const std::uint64_t tick = next_tick();
  const std::uint64_t milliseconds = tick >> 12U;
  for (std::size_t i = 0; i < 6; ++i)
    bytes[i] = static_cast<std::uint8_t>(milliseconds >> (8U * (5U - i)));
  bytes[6] = static_cast<std::uint8_t>(0x70U | ((tick >> 8U) & 0x0fU));  // version 7
  bytes[7] = static_cast<std::uint8_t>(tick);
  bytes[8] = static_cast<std::uint8_t>(0x80U | (bytes[8] & 0x3fU));  // variant 10
  return EventId{bytes};
}

}  // namespace outseal
