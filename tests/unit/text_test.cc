#include "base/text.h"

#include <doctest/doctest.h>
#include <time.h>

#include <array>
#include <cstdlib>
#include <random>
#include <string>

namespace outseal {
namespace {

std::string json_string(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

std::string base64(std::string_view bytes) {
  std::string out;
  append_base64(out, bytes);
  return out;
}

std::string utf8(char32_t point) {
  const auto byte = [](char32_t value) { return static_cast<char>(value); };
  if (point < 0x80) return {byte(point)};
  if (point < 0x800) return {byte(0xc0 | point >> 6U), byte(0x80 | (point & 0x3fU))};
  if (point < 0x10000)
    return {byte(0xe0 | point >> 12U), byte(0x80 | (point >> 6U & 0x3fU)),
            byte(0x80 | (point & 0x3fU))};
  return {byte(0xf0 | point >> 18U), byte(0x80 | (point >> 12U & 0x3fU)),
          byte(0x80 | (point >> 6U & 0x3fU)), byte(0x80 | (point & 0x3fU))};
}

std::uint64_t seed() {
  const char* text = std::getenv("OUTSEAL_SEED");
  return text == nullptr ? std::random_device{}() : std::strtoull(text, nullptr, 10);
}

}  // namespace

TEST_CASE("what a stranger says becomes plain text") {
  CHECK(plain_text(std::string_view{"a\0b\nc\x7f", 6}, 100) == "a b c ");
  CHECK(plain_text("caf\xc3\xa9 \xff\xc3", 100) == "caf\xc3\xa9 ??");
  CHECK(plain_text("caf\xc3\xa9", 4) == "caf?");
}

TEST_CASE("every code point but the surrogates is UTF-8, at any place of a text") {
  std::size_t wrong = 0;
  for (char32_t point = 0; point <= 0x10ffff; ++point) {
    const bool surrogate = point >= 0xd800 && point <= 0xdfff;
    const std::string text = utf8(point);
    if (is_utf8(text) == surrogate) ++wrong;
    if (point % 97 == 0 && is_utf8("0123456789" + text + "abcdefgh") == surrogate) ++wrong;
  }
  CHECK(wrong == 0);
  CHECK(is_utf8(""));
  CHECK(is_utf8(std::string(1'000, 'a')));
}

TEST_CASE("a sequence that is cut, overlong, or out of range is not UTF-8") {
  for (const std::string_view bad :
       {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xc3", "\xe2\x82", "\xf0\x9f\x98",
        "\xc3\x28", "\xe2\x28\xa1", "\xe2\x82\x28", "\xf0\x28\x8c\xbc", "\xf0\x90\x28\xbc"}) {
    for (std::size_t before = 0; before < 9; ++before) {
      const std::string text = std::string(before, 'a') + std::string{bad};
      CHECK_FALSE(is_utf8(text));
      CHECK_FALSE(is_utf8(text + "12345678"));
    }
  }
}

TEST_CASE("a JSON string escapes quotes, backslashes and control characters, and nothing else") {
  CHECK(json_string("") == "\"\"");
  CHECK(json_string("plain text of more than eight bytes") ==
        "\"plain text of more than eight bytes\"");
  CHECK(json_string("a\"b\\c/d") == R"("a\"b\\c/d")");
  CHECK(json_string("\b\f\n\r\t") == R"("\b\f\n\r\t")");
  CHECK(json_string(std::string_view{"\0\x1f\x7f", 3}) == "\"\\u0000\\u001f\x7f\"");
  CHECK(json_string("\n\nz\u00e4\u20ac\U0001f600") == "\"\\n\\nz\u00e4\u20ac\U0001f600\"");
}

TEST_CASE("a JSON string escapes the same at every place") {
  for (int byte = 0; byte < 256; ++byte) {
    const std::string one(1, static_cast<char>(byte));
    const std::string quoted = json_string(one);
    const std::string escaped = quoted.substr(1, quoted.size() - 2);
    CHECK((escaped != one) == (byte < 0x20 || byte == '"' || byte == '\\'));
    for (std::size_t before = 0; before < 20; ++before) {
      const std::string pad(before, 'a');
      CHECK(json_string(pad + one + "0123456789") == "\"" + pad + escaped + "0123456789\"");
    }
  }
}

TEST_CASE("base64 gives the vectors of RFC 4648") {
  CHECK(base64("") == "");
  CHECK(base64("f") == "Zg==");
  CHECK(base64("fo") == "Zm8=");
  CHECK(base64("foo") == "Zm9v");
  CHECK(base64("foob") == "Zm9vYg==");
  CHECK(base64("fooba") == "Zm9vYmE=");
  CHECK(base64("foobar") == "Zm9vYmFy");
  CHECK(base64("\xff\xfe\xfd\xfb\xef") == "//79++8=");
}

TEST_CASE("a topic pattern matches with stars for any number of characters") {
  CHECK(topic_matches("*", ""));
  CHECK(topic_matches("*", "orders"));
  CHECK(topic_matches("orders", "orders"));
  CHECK(topic_matches("orders.*", "orders."));
  CHECK(topic_matches("orders.*", "orders.eu.paid"));
  CHECK(topic_matches("*.paid", "orders.paid.paid"));
  CHECK(topic_matches("a*b*c", "aXbXbXc"));
  CHECK(topic_matches("**a**", "bab"));
  CHECK_FALSE(topic_matches("", "a"));
  CHECK_FALSE(topic_matches("orders", "order"));
  CHECK_FALSE(topic_matches("orders", "orders2"));
  CHECK_FALSE(topic_matches("orders.*", "orders"));
  CHECK_FALSE(topic_matches("a*b*c", "aXcXb"));
  CHECK_FALSE(topic_matches("a*a", "a"));
}

TEST_CASE("times are RFC 3339 with milliseconds") {
  CHECK(to_rfc3339(0) == "1970-01-01T00:00:00.000Z");
  CHECK(to_rfc3339(1) == "1970-01-01T00:00:00.001Z");
  CHECK(to_rfc3339(-1) == "1969-12-31T23:59:59.999Z");
  CHECK(to_rfc3339(951'782'400'000) == "2000-02-29T00:00:00.000Z");
  CHECK(to_rfc3339(4'107'542'399'999) == "2100-02-28T23:59:59.999Z");
  CHECK(to_rfc3339(253'402'300'799'999) == "9999-12-31T23:59:59.999Z");
  std::string out = "at ";
  append_rfc3339(out, 86'400'000);
  CHECK(out == "at 1970-01-02T00:00:00.000Z");
}

TEST_CASE("times agree with the C library from year 1 to 9999") {
  const std::uint64_t used = seed();
  MESSAGE("OUTSEAL_SEED=" << used);
  std::mt19937_64 random{used};
  std::uniform_int_distribution<std::int64_t> seconds{-62'135'596'800, 253'402'300'799};
  for (int i = 0; i < 20'000; ++i) {
    const std::int64_t second = seconds(random);
    tm parts{};
    const time_t time = second;
    REQUIRE(::gmtime_r(&time, &parts) != nullptr);
    std::array<char, 64> text{};
    const int year = parts.tm_year + 1900;
    std::snprintf(text.data(), text.size(), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", year,
                  parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                  i % 1'000);
    REQUIRE(to_rfc3339(second * 1'000 + i % 1'000) == text.data());
  }
  CHECK(wall_clock_ms() > 1'700'000'000'000);
}

}  // namespace outseal
