// What a request's header fields say, whoever wrote them.
#include <doctest/doctest.h>

#include <string>

#include "operation/front/fields.h"

using namespace outseal;
using namespace outseal::front;
using namespace std::chrono_literals;

namespace {

KeyField read(const std::string& value, bool accept_token = false) {
  return read_key({{"Idempotency-Key", value}}, accept_token, 255);
}
bool is_malformed(const std::string& value, bool accept_token = false) {
  const KeyField field = read(value, accept_token);
  return field.kind == KeyField::Kind::malformed && field.key.empty() && !field.why.empty();
}
std::string key(const std::string& value, bool accept_token = false) {
  const KeyField field = read(value, accept_token);
  return field.kind == KeyField::Kind::key ? field.key : "(none)";
}
Preferences prefer(const std::string& value) { return read_preferences({{"Prefer", value}}); }

}  // namespace

TEST_CASE("a key is a string of structured fields, and nothing else") {
  CHECK(key(R"("8e03978e-40d5-43dd-bc93-6894a57f9324")") == "8e03978e-40d5-43dd-bc93-6894a57f9324");
  CHECK(key("  \t\"a b\" ") == "a b");
  CHECK(key(R"("a\"b\\c")") == R"(a"b\c)");
  CHECK(key(R"("~ !")") == "~ !");
  for (const char* bad : {"",
                          " ",
                          "\"\"",
                          "a",
                          "8e03978e-40d5",
                          "'a'",
                          "\"a",
                          "a\"",
                          "\"a\"b",
                          "\"a\", \"b\"",
                          "\"a\" \"b\"",
                          "\"a\\\"",
                          "\"a\\n\"",
                          "\"\\u0041\"",
                          "\"a\nb\"",
                          "\"a\tb\"",
                          "\"\x7f\"",
                          "\"\xc3\xa4\"",
                          "\"\xff\"",
                          "?1",
                          "1",
                          ":YQ==:",
                          "(\"a\")",
                          "\"a\";",
                          "\"a\" ;b=1",
                          "\"a\";B",
                          "\"a\";b=",
                          "\"a\";b=\"",
                          "\"a\";b=1.",
                          "\"a\";b=1.2345",
                          "\"a\";b=?2",
                          "\"a\";b=:a",
                          "\"a\";b=1234567890123456",
                          "\"a\";b=-",
                          "\"a\",",
                          ","}) {
    CAPTURE(bad);
    CHECK(is_malformed(bad));
  }
  CHECK(is_malformed(std::string{"\"a\0b\"", 5}));
}

TEST_CASE("parameters of a key are read by the rules and mean nothing") {
  for (const char* good :
       {"\"k\";a", "\"k\";a=1", "\"k\"; a=-12.345;b", "\"k\";a=\"x;y\"", "\"k\";a=tok/en:1",
        "\"k\";*a=*", "\"k\";a=?0", "\"k\";a=:YQ==:", "\"k\";a-b_c.d*1=123456789012345"}) {
    CAPTURE(good);
    CHECK(key(good) == "k");
  }
}

TEST_CASE("a bare word is a key only where that is allowed, and the same one as in quotes") {
  const std::string uuid = "0192f0c4-7f3e-7a55-9d43-0c3a5f2f7e11";
  CHECK(is_malformed(uuid));
  CHECK(key(uuid, true) == uuid);
  CHECK(key('"' + uuid + '"', true) == uuid);
  CHECK(key("a:b/c~d", true) == "a:b/c~d");
  for (const char* bad :
       {"", "a b", "a,b", "a;b", "a=b", "a\"", "\xc3\xa4", "a\nb", "(a)", "a\x01"}) {
    CAPTURE(bad);
    CHECK(is_malformed(bad, true));
  }
}

TEST_CASE("the length of a key is counted without quotes and escapes") {
  const std::string longest(255, 'k');
  CHECK(key('"' + longest + '"') == longest);
  CHECK(is_malformed('"' + longest + "k\""));
  std::string escaped = "\"";
  for (int i = 0; i < 255; ++i) escaped += "\\\\";
  CHECK(key(escaped + '"') == std::string(255, '\\'));
  CHECK(is_malformed(std::string(1U << 20U, '"')));
  CHECK(read_key({{"Idempotency-Key", "\"abc\""}}, false, 2).kind == KeyField::Kind::malformed);
}

TEST_CASE("a key that is given twice is none, in whatever case its names are written") {
  using enum KeyField::Kind;
  CHECK(read_key({}, false, 255).kind == none);
  CHECK(
      read_key({{"Idempotency-Keys", "\"a\""}, {"X-Idempotency-Key", "\"a\""}}, false, 255).kind ==
      none);
  CHECK(read_key({{"iDEMPOTENCY-kEY", "\"a\""}}, false, 255).kind == KeyField::Kind::key);
  CHECK(read_key({{"Idempotency-Key", "\"a\""}, {"idempotency-key", "\"a\""}}, false, 255).kind ==
        repeated);
  CHECK(read_key({{"Idempotency-Key", "\"a\""}, {"IDEMPOTENCY-KEY", ""}}, false, 255).kind ==
        repeated);
}

TEST_CASE("preferences are read leniently, and the first wait counts") {
  CHECK(prefer("wait=10").wait == 10s);
  CHECK(prefer("respond-async, wait=10").wait == 10s);
  CHECK(prefer("respond-async, wait=10").respond_async);
  CHECK(prefer("Wait = 5 ; foo").wait == 5s);
  CHECK(prefer("wait=\"7\"").wait == 7s);
  CHECK(prefer("wait=1, wait=2").wait == 1s);
  CHECK(prefer("wait=99999999999999999").wait == 1'000'000'000s);
  CHECK(prefer("foo=\"a, wait=3\", wait=4").wait == 4s);
  CHECK(prefer("RESPOND-ASYNC").respond_async);
  for (const char* none : {"", ",", ";", "wait", "wait=", "wait=-1", "wait=1s", "wait=0x1",
                           "waits=1", "wait=\"", "wait=9999999999999999999", "wait=1.5", "=1"}) {
    CAPTURE(none);
    CHECK_FALSE(prefer(none).wait.has_value());
  }
  CHECK_FALSE(prefer("wait=x, wait=2").wait.has_value());
  CHECK_FALSE(prefer("x-respond-async").respond_async);
  const Preferences both = read_preferences({{"prefer", "wait=3"}, {"PREFER", "respond-async"}});
  CHECK(both.wait == 3s);
  CHECK(both.respond_async);
}

TEST_CASE("a field that could split a response is not sound") {
  CHECK(is_sound_field("X-Id", "a b\tc"));
  CHECK(is_sound_field("x", ""));
  CHECK(is_sound_field("x", "\xc3\xa4"));
  CHECK_FALSE(is_sound_field("", "a"));
  CHECK_FALSE(is_sound_field("a b", "a"));
  CHECK_FALSE(is_sound_field("a:", "a"));
  CHECK_FALSE(is_sound_field("a", "b\r\nSet-Cookie: c"));
  CHECK_FALSE(is_sound_field("a", "b\nc"));
  CHECK_FALSE(is_sound_field("a", std::string{"b\0c", 3}));
  CHECK_FALSE(is_sound_field("a", "\x7f"));
}
