#include "outseal/ids.h"

#include <openssl/rand.h>

#include <algorithm>
#include <mutex>

#include "base/text.h"
#include "outseal/error.h"

namespace outseal {
namespace {

constexpr std::uint8_t kNoDigit = 0xff;

/// The value of each character that is a digit here.
constexpr std::array<std::uint8_t, 256> kDigitValues = [] {
  std::array<std::uint8_t, 256> values{};
  values.fill(kNoDigit);
  for (std::uint8_t i = 0; i < 10; ++i) values[static_cast<std::size_t>('0' + i)] = i;
  for (std::uint8_t i = 10; i < 16; ++i) values[static_cast<std::size_t>('a' + i - 10)] = i;
  return values;
}();

/// Where the two digits of each byte stand in the text, and the dashes between them.
constexpr std::array<std::uint8_t, 16> kDigitPlaces{0,  2,  4,  6,  9,  11, 14, 16,
                                                    19, 21, 24, 26, 28, 30, 32, 34};
constexpr std::array<std::uint8_t, 4> kDashPlaces{8, 13, 18, 23};

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
  for (const std::size_t place : kDashPlaces)
    if (text[place] != '-') return std::nullopt;
  const auto value = [text](std::size_t place) {
    return kDigitValues[static_cast<std::uint8_t>(text[place])];
  };
  std::array<std::uint8_t, 16> bytes{};
  std::uint8_t seen = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const std::uint8_t high = value(kDigitPlaces[i]);
    const std::uint8_t low = value(kDigitPlaces[i] + std::size_t{1});
    seen |= high | low;
    bytes[i] = static_cast<std::uint8_t>(high << 4U | low);
  }
  if (seen == kNoDigit) return std::nullopt;
  return EventId{bytes};
}

void EventId::append_to(std::string& out) const {
  static constexpr char kDigits[] = "0123456789abcdef";
  char text[kTextBytes];
  for (const std::size_t place : kDashPlaces) text[place] = '-';
  for (std::size_t i = 0; i < bytes_.size(); ++i) {
    text[kDigitPlaces[i]] = kDigits[bytes_[i] >> 4U];
    text[kDigitPlaces[i] + 1] = kDigits[bytes_[i] & 15U];
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

std::string new_idempotency_key() { return new_event_id().to_string(); }

}  // namespace outseal
