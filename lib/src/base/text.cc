#include "base/text.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>

namespace outseal {
namespace {

std::uint8_t byte_at(std::string_view text, std::size_t place) {
  return static_cast<std::uint8_t>(text[place]);
}

/// Eight bytes at once; most text is plain ASCII, and this is the relay's inner loop.
std::uint64_t eight_bytes(const char* from) {
  std::uint64_t word = 0;
  std::memcpy(&word, from, sizeof word);
  return word;
}

constexpr std::uint64_t kEachByte = 0x0101010101010101U;
constexpr std::uint64_t kHighBits = 0x80 * kEachByte;

/// True if any byte of `word` is below `limit`, which is at most 128.
/// Source: Sean Eron Anderson, "Bit Twiddling Hacks", "Determine if a word has a byte less than n".
bool has_byte_below(std::uint64_t word, std::uint64_t limit) {
  return ((word - limit * kEachByte) & ~word & kHighBits) != 0;
}

bool has_byte(std::uint64_t word, char byte) {
  return has_byte_below(word ^ static_cast<std::uint8_t>(byte) * kEachByte, 1);
}

bool needs_escape(std::uint64_t word) {
  return has_byte_below(word, 0x20) || has_byte(word, '"') || has_byte(word, '\\');
}

bool is_continuation(std::string_view bytes, std::size_t place, std::uint8_t low = 0x80,
                     std::uint8_t high = 0xbf) {
  return place < bytes.size() && byte_at(bytes, place) >= low && byte_at(bytes, place) <= high;
}

/// Length of the well-formed multi-byte sequence at `place`; 0 if there is none.
std::size_t sequence_length(std::string_view bytes, std::size_t place) {
  const std::uint8_t lead = byte_at(bytes, place);
  if (lead < 0xc2 || lead > 0xf4) return 0;
  if (lead < 0xe0) return is_continuation(bytes, place + 1) ? 2 : 0;
  if (lead < 0xf0) {
    const std::uint8_t low = lead == 0xe0 ? 0xa0 : 0x80;   // no overlong forms
    const std::uint8_t high = lead == 0xed ? 0x9f : 0xbf;  // no surrogates
    return is_continuation(bytes, place + 1, low, high) && is_continuation(bytes, place + 2) ? 3
                                                                                             : 0;
  }
  const std::uint8_t low = lead == 0xf0 ? 0x90 : 0x80;   // no overlong forms
  const std::uint8_t high = lead == 0xf4 ? 0x8f : 0xbf;  // nothing above U+10FFFF
  return is_continuation(bytes, place + 1, low, high) && is_continuation(bytes, place + 2) &&
                 is_continuation(bytes, place + 3)
             ? 4
             : 0;
}

/// For each byte: 0 if it stands for itself in a JSON string, 'u' if it needs \u00XX, else the
/// letter behind the backslash.
constexpr std::array<char, 256> kEscapes = [] {
  std::array<char, 256> escapes{};
  for (std::size_t control = 0; control < 0x20; ++control) escapes[control] = 'u';
  escapes['\b'] = 'b';
  escapes['\f'] = 'f';
  escapes['\n'] = 'n';
  escapes['\r'] = 'r';
  escapes['\t'] = 't';
  escapes['"'] = '"';
  escapes['\\'] = '\\';
  return escapes;
}();

/// Whether `text` is its own form in a JSON string.
bool stands_for_itself(std::string_view text) {
  constexpr std::size_t kStep = sizeof(std::uint64_t);
  if (text.size() < kStep)
    return std::all_of(text.begin(), text.end(),
                       [](char c) { return kEscapes[static_cast<std::uint8_t>(c)] == 0; });
  for (std::size_t place = 0; text.size() - place >= kStep; place += kStep)
    if (needs_escape(eight_bytes(text.data() + place))) return false;
  return !needs_escape(eight_bytes(text.data() + text.size() - kStep));
}

constexpr std::string_view kBase64UrlLetters =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void append_padded(std::string& out, std::int64_t number, std::size_t width) {
  const std::string digits = std::to_string(number);
  if (digits.size() < width) out.append(width - digits.size(), '0');
  out += digits;
}

}  // namespace

bool is_utf8(std::string_view bytes) {
  std::size_t place = 0;
  while (place < bytes.size()) {
    if (bytes.size() - place >= 8 && (eight_bytes(bytes.data() + place) & kHighBits) == 0) {
      place += 8;
    } else if (byte_at(bytes, place) < 0x80) {
      ++place;
    } else {
      const std::size_t length = sequence_length(bytes, place);
      if (length == 0) return false;
      place += length;
    }
  }
  return true;
}

std::string plain_text(std::string_view text, std::size_t bytes_max) {
  std::string plain{text.substr(0, bytes_max)};
  for (std::size_t place = 0; place < plain.size();) {
    const std::uint8_t byte = byte_at(plain, place);
    const std::size_t length = byte < 0x80 ? 1 : sequence_length(plain, place);
    if (length == 0) plain[place] = '?';
    if (byte < 0x20 || byte == 0x7f) plain[place] = ' ';
    place += length == 0 ? 1 : length;
  }
  return plain;
}

std::string with_hint(std::string_view detail, std::string_view hint) {
  std::string text{detail};
  if (!hint.empty()) text.append("; ").append(hint);
  return text;
}

std::string lower_case(std::string_view text) {
  std::string lower{text};
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c | 0x20);
  return lower;
}

void append_percent_encoded_byte(std::string& out, char byte) {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  const auto value = static_cast<std::uint8_t>(byte);
  out += '%';
  out += kDigits[value >> 4U];
  out += kDigits[value & 15U];
}

void append_json_string(std::string& out, std::string_view text) {
  static constexpr char kDigits[] = "0123456789abcdef";
  out += '"';
  if (stands_for_itself(text)) {
    out.append(text);
    out += '"';
    return;
  }
  std::size_t plain = 0;  // Start of what stands for itself and is not yet appended.
  for (std::size_t place = 0; place < text.size(); ++place) {
    while (text.size() - place >= 8 && !needs_escape(eight_bytes(text.data() + place))) place += 8;
    if (place == text.size()) break;
    const std::uint8_t byte = byte_at(text, place);
    const char escape = kEscapes[byte];
    if (escape == 0) continue;
    out.append(text, plain, place - plain);
    plain = place + 1;
    out += '\\';
    out += escape;
    if (escape == 'u') {
      out += "00";
      out += kDigits[byte >> 4U];
      out += kDigits[byte & 15U];
    }
  }
  out.append(text, plain);
  out += '"';
}

void append_base64(std::string& out, std::string_view bytes) {
  static constexpr char kLetters[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const std::size_t begin = out.size();
  out.resize(begin + (bytes.size() + 2) / 3 * 4, '=');
  char* to = out.data() + begin;
  std::size_t place = 0;
  for (; bytes.size() - place >= 3; place += 3) {
    const unsigned group = static_cast<unsigned>(byte_at(bytes, place)) << 16U |
                           static_cast<unsigned>(byte_at(bytes, place + 1)) << 8U |
                           byte_at(bytes, place + 2);
    *to++ = kLetters[group >> 18U];
    *to++ = kLetters[group >> 12U & 63U];
    *to++ = kLetters[group >> 6U & 63U];
    *to++ = kLetters[group & 63U];
  }
  const std::size_t left = bytes.size() - place;
  if (left == 0) return;
  const unsigned group = static_cast<unsigned>(byte_at(bytes, place)) << 16U |
                         (left == 2 ? static_cast<unsigned>(byte_at(bytes, place + 1)) << 8U : 0U);
  *to++ = kLetters[group >> 18U];
  *to++ = kLetters[group >> 12U & 63U];
  if (left == 2) *to = kLetters[group >> 6U & 63U];
}

void append_base64url(std::string& out, std::string_view bytes) {
  const std::size_t begin = out.size();
  append_base64(out, bytes);
  while (out.size() > begin && out.back() == '=') out.pop_back();
  for (std::size_t place = begin; place < out.size(); ++place) {
    if (out[place] == '+') out[place] = '-';
    if (out[place] == '/') out[place] = '_';
  }
}

std::optional<std::string> parse_base64url(std::string_view text) {
  std::string bytes;
  unsigned bits = 0;
  unsigned count = 0;
  for (const char c : text) {
    const std::size_t value = kBase64UrlLetters.find(c);
    if (value == std::string_view::npos) return std::nullopt;
    bits = bits << 6U | static_cast<unsigned>(value);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>(bits >> count & 0xffU);
  }
  std::string again;  // Bits that belong to no byte must be 0, and no letter stands alone.
  append_base64url(again, bytes);
  return again == text ? std::optional{std::move(bytes)} : std::nullopt;
}

bool topic_matches(std::string_view pattern, std::string_view topic) {
  // Only the latest star can need another try: an earlier one gains nothing by taking more.
  std::size_t p = 0;
  std::size_t t = 0;
  std::size_t star = std::string_view::npos;
  std::size_t star_topic = 0;
  while (t < topic.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_topic = t;
    } else if (p < pattern.size() && pattern[p] == topic[t]) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++star_topic;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool topic_matches_any(const std::vector<std::string>& patterns, std::string_view topic) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [topic](const std::string& pattern) { return topic_matches(pattern, topic); });
}

// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days. The era
// has 400 years and starts on 1 March, so that the leap day is the last one of its year.
bool is_rfc3339_time(std::int64_t milliseconds) {
  constexpr std::int64_t kLast = 253'402'300'799'999;  // 9999-12-31T23:59:59.999Z
  return milliseconds >= 0 && milliseconds <= kLast;
}

void append_rfc3339(std::string& out, std::int64_t milliseconds) {
  constexpr std::int64_t kDayMs = 86'400'000;
  std::int64_t days = milliseconds / kDayMs;
  std::int64_t rest = milliseconds % kDayMs;
  if (rest < 0) {
    rest += kDayMs;
    --days;
  }
  days += 719'468;  // From 0000-03-01 to 1970-01-01.
  const std::int64_t era = (days >= 0 ? days : days - 146'096) / 146'097;
  const std::int64_t day_of_era = days - era * 146'097;
  const std::int64_t year_of_era =
      (day_of_era - day_of_era / 1'460 + day_of_era / 36'524 - day_of_era / 146'096) / 365;
  const std::int64_t day_of_year =
      day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const std::int64_t month_from_march = (5 * day_of_year + 2) / 153;
  const std::int64_t day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
  const std::int64_t month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
  const std::int64_t year = year_of_era + era * 400 + (month <= 2 ? 1 : 0);

  append_padded(out, year, 4);
  char text[] = "-mm-ddThh:mm:ss.sssZ";
  const auto put = [&text](std::size_t place, std::int64_t number) {
    text[place] = static_cast<char>('0' + number / 10);
    text[place + 1] = static_cast<char>('0' + number % 10);
  };
  put(1, month);
  put(4, day);
  put(7, rest / 3'600'000);
  put(10, rest / 60'000 % 60);
  put(13, rest / 1'000 % 60);
  put(16, rest % 1'000 / 10);
  text[18] = static_cast<char>('0' + rest % 10);
  out.append(text, sizeof text - 1);
}

std::string to_rfc3339(std::int64_t milliseconds) {
  std::string text;
  append_rfc3339(text, milliseconds);
  return text;
}

std::int64_t wall_clock_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace outseal
