#include "model/canonical_json.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>
#include <vector>

#include "base/failpoint.h"
#include "base/text.h"
#include "outseal/fingerprint.h"

namespace outseal {
namespace {

/// 0.DIGITS times 10 to the power of `place`. No zero stands at either end of the digits; 0 has
/// none.
struct Decimal {
  bool is_negative = false;
  std::string digits;
  std::int64_t place = 0;

  bool operator==(const Decimal&) const = default;
};

void append_decimal(std::string& out, const Decimal& decimal) {
  const auto length = static_cast<std::int64_t>(decimal.digits.size());
  const std::int64_t place = decimal.place;
  if (length == 0) {
    out += '0';
    return;
  }
  if (decimal.is_negative) out += '-';
  const auto zeros = [](std::int64_t count) {
    return std::string(static_cast<std::size_t>(count), '0');
  };
  const auto split = [&](std::int64_t before) {
    out.append(decimal.digits, 0, static_cast<std::size_t>(before));
    if (before < length) out.append(".").append(decimal.digits, static_cast<std::size_t>(before));
  };
  constexpr std::int64_t kPlainMax = 21;
  constexpr std::int64_t kZerosMax = 6;
  if (length <= place && place <= kPlainMax) {
    out.append(decimal.digits).append(zeros(place - length));
  } else if (0 < place && place <= kPlainMax) {
    split(place);
  } else if (-kZerosMax < place && place <= 0) {
    out.append("0.").append(zeros(-place)).append(decimal.digits);
  } else {
    split(1);
    out.append(place > 0 ? "e+" : "e-").append(std::to_string(std::abs(place - 1)));
  }
}

/// The number that a JSON number says. Exponents that no double has stay such.
Decimal parse_decimal(std::string_view literal) {
  Decimal decimal;
  if (literal.starts_with('-')) {
    decimal.is_negative = true;
    literal.remove_prefix(1);
  }
  const std::size_t exponent = std::min(literal.find_first_of("eE"), literal.size());
  bool is_fraction = false;
  for (const char c : literal.substr(0, exponent)) {
    if (c < '0' || c > '9') {
      is_fraction = true;
      continue;
    }
    if (!is_fraction) ++decimal.place;
    decimal.digits += c;
  }
  const std::size_t first = std::min(decimal.digits.find_first_not_of('0'), decimal.digits.size());
  decimal.digits.erase(0, first);
  decimal.place -= static_cast<std::int64_t>(first);
  decimal.digits.erase(decimal.digits.find_last_not_of('0') + 1);
  if (decimal.digits.empty()) return {};
  if (exponent == literal.size()) return decimal;
  literal.remove_prefix(exponent + 1);
  if (literal.starts_with('+')) literal.remove_prefix(1);
  constexpr std::int64_t kFar = 1'000'000'000'000;
  std::int64_t shift = 0;
  const auto parsed = std::from_chars(literal.data(), literal.data() + literal.size(), shift);
  if (parsed.ec == std::errc::result_out_of_range) shift = kFar;
  decimal.place += std::clamp(shift, -kFar, kFar);
  return decimal;
}

/// The shortest one that a reader takes for `number`, and of those the nearest.
Decimal shortest_decimal(double number) {
  std::array<char, 32> text{};
  const auto end =
      std::to_chars(text.data(), text.data() + text.size(), number, std::chars_format::scientific);
  return parse_decimal({text.data(), static_cast<std::size_t>(end.ptr - text.data())});
}

/// Writes the canonical form of what the parser tells of; every function returns false to end it.
class Writer {
 public:
  static constexpr std::size_t kLevelsMax = 256;

  std::string take() { return std::move(result_); }

  // NOLINTBEGIN(readability-identifier-naming): the parser's names.
  bool null() { return put("null"); }
  bool boolean(bool value) { return put(value ? "true" : "false"); }
  bool number_integer(std::int64_t value) { return put_number(std::to_string(value)); }
  bool number_unsigned(std::uint64_t value) { return put_number(std::to_string(value)); }
  bool number_float(double /*value*/, const std::string& literal) { return put_number(literal); }
  bool string(const std::string& value) {
    std::string text;
    append_json_string(text, value);
    return put(std::move(text));
  }
  template <typename Binary>
  bool binary(const Binary& /*value*/) {
    return false;
  }
  bool start_object(std::size_t /*elements*/) { return open(true); }
  bool key(const std::string& name) {
    levels_.back().members.emplace_back(name, std::string{});
    return true;
  }
  bool end_object() {
    auto members = std::move(levels_.back().members);
    levels_.pop_back();
    std::sort(members.begin(), members.end(),
              [](const auto& a, const auto& b) { return comes_before(a.first, b.first); });
    std::string text;
    for (std::size_t i = 0; i < members.size(); ++i) {
      const bool twice = i > 0 && members[i].first == members[i - 1].first;
      if (twice && !mutant("no_duplicate_members")) return false;
      text += i == 0 ? '{' : ',';
      append_json_string(text, members[i].first);
      text.append(":").append(members[i].second);
    }
    return put(text.empty() ? "{}" : text + '}');
  }
  bool start_array(std::size_t /*elements*/) { return open(false); }
  bool end_array() {
    std::string text = std::move(levels_.back().elements);
    levels_.pop_back();
    return put(text.empty() ? "[]" : text + ']');
  }
  template <typename Exception>
  bool parse_error(std::size_t /*place*/, const std::string& /*token*/,
                   const Exception& /*error*/) {
    return false;
  }
  // NOLINTEND(readability-identifier-naming)

 private:
  struct Level {
    bool is_object;
    std::vector<std::pair<std::string, std::string>> members;
    std::string elements;  ///< With the opening bracket.
  };

  bool open(bool is_object) {
    if (levels_.size() == kLevelsMax) return false;
    levels_.push_back({.is_object = is_object, .members = {}, .elements = {}});
    return true;
  }
  bool put_number(const std::string& literal) {
    std::string text;
    if (!append_if_exact(text, literal)) return false;
    return put(std::move(text));
  }
  bool put(std::string text) {
    if (levels_.empty()) {
      result_ = std::move(text);
    } else if (levels_.back().is_object) {
      levels_.back().members.back().second = std::move(text);
    } else {
      std::string& elements = levels_.back().elements;
      elements += elements.empty() ? '[' : ',';
      elements += text;
    }
    return true;
  }

  std::vector<Level> levels_;
  std::string result_;
};

/// What the parser would pass over: a byte order mark, and all behind a NUL.
bool hides_bytes(std::string_view text) {
  return text.starts_with("\xef\xbb\xbf") || text.find('\0') != std::string_view::npos;
}

}  // namespace

void append_canonical_number(std::string& out, double number) {
  append_decimal(out, shortest_decimal(number));
}

bool append_if_exact(std::string& out, std::string_view literal) {
  constexpr std::size_t kDigitsMax = 17;  // No shortest decimal of a double has more.
  const Decimal decimal = parse_decimal(literal);
  if (decimal.digits.empty()) {  // JCS writes -0 as 0.
    out += '0';
    return true;
  }
  const bool lax = mutant("no_integer_fallback");
  if (decimal.digits.size() > kDigitsMax && !lax) return false;
  // Not the literal itself: the parser may have put a locale's own point into it.
  const std::string text =
      (decimal.is_negative ? "-0." : "0.") + decimal.digits + 'e' + std::to_string(decimal.place);
  double number = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), number).ec != std::errc{})
    return false;
  const Decimal shortest = shortest_decimal(number);
  if (shortest != decimal && !lax) return false;
  append_decimal(out, shortest);
  return true;
}

bool comes_before(std::string_view left, std::string_view right) {
  // UTF-8 sorts as code points do. In UTF-16 those of four bytes are surrogates, which come before
  // U+E000 to U+FFFF, whose first byte is EE or EF.
  const auto rank = [](char c) {
    const auto byte = static_cast<std::uint8_t>(c);
    if (byte >= 0xf0) return byte - 2;
    return byte >= 0xee ? byte + 5 : int{byte};
  };
  return std::lexicographical_compare(left.begin(), left.end(), right.begin(), right.end(),
                                      [&](char a, char b) { return rank(a) < rank(b); });
}

std::string canonical_json(std::string_view text) {
  Writer writer;
  if (hides_bytes(text) || !nlohmann::json::sax_parse(text.begin(), text.end(), &writer))
    return "raw:" + std::string{text};
  return writer.take();
}

}  // namespace outseal
