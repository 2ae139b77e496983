// Fingerprints, with and without a key, and the canonical form of JSON.
#include "outseal/fingerprint.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <bit>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/hash.h"
#include "model/canonical_json.h"
#include "outseal/error.h"
#include "support/mutant.h"
#include "support/scale.h"
#include "support/temp_folder.h"

using namespace outseal;

namespace {

std::string number(std::uint64_t bits) {
  std::string text;
  append_canonical_number(text, std::bit_cast<double>(bits));
  return text;
}

std::uint64_t seed() {
  const char* text = std::getenv("OUTSEAL_SEED");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : std::random_device{}();
}

bool is_raw(const std::string& text) { return canonical_json(text) == "raw:" + text; }

}  // namespace

TEST_CASE("numbers are written as ECMAScript writes them") {
  // RFC 8785, appendix B.
  CHECK(number(0x0000000000000000) == "0");
  CHECK(number(0x8000000000000000) == "0");
  CHECK(number(0x0000000000000001) == "5e-324");
  CHECK(number(0x8000000000000001) == "-5e-324");
  CHECK(number(0x7fefffffffffffff) == "1.7976931348623157e+308");
  CHECK(number(0xffefffffffffffff) == "-1.7976931348623157e+308");
  CHECK(number(0x4340000000000000) == "9007199254740992");
  CHECK(number(0xc340000000000000) == "-9007199254740992");
  CHECK(number(0x4430000000000000) == "295147905179352830000");
  CHECK(number(0x44b52d02c7e14af5) == "9.999999999999997e+22");
  CHECK(number(0x44b52d02c7e14af6) == "1e+23");
  CHECK(number(0x44b52d02c7e14af7) == "1.0000000000000001e+23");
  CHECK(number(0x444b1ae4d6e2ef4e) == "999999999999999700000");
  CHECK(number(0x444b1ae4d6e2ef4f) == "999999999999999900000");
  CHECK(number(0x444b1ae4d6e2ef50) == "1e+21");
  CHECK(number(0x3eb0c6f7a0b5ed8c) == "9.999999999999997e-7");
  CHECK(number(0x3eb0c6f7a0b5ed8d) == "0.000001");
  CHECK(number(0x41b3de4355555553) == "333333333.3333332");
  CHECK(number(0x41b3de4355555554) == "333333333.33333325");
  CHECK(number(0x41b3de4355555555) == "333333333.3333333");
  CHECK(number(0x41b3de4355555556) == "333333333.3333334");
  CHECK(number(0x41b3de4355555557) == "333333333.33333343");
  CHECK(number(0xbecbf647612f3696) == "-0.0000033333333333333333");
  CHECK(number(0x43143ff3c1cb0959) == "1424953923781206.2");
}

TEST_CASE("a JSON text has the canonical form of RFC 8785") {
  // Section 3.2.2, but with the number that it rounds already rounded.
  CHECK(
      canonical_json("{\n"
                     "  \"numbers\": [333333333.3333333, 1E30, 4.50,\n"
                     "              2e-3, 0.000000000000000000000000001],\n"
                     "  \"string\": \"\\u20ac$\\u000F\\u000aA'\\u0042\\u0022\\u005c\\\\\\\"\\/\",\n"
                     "  \"literals\": [null, true, false]\n"
                     "}") ==
      "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],"
      "\"string\":\"\xe2\x82\xac$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}");
  // Section 3.2.3: by UTF-16 code units.
  CHECK(canonical_json("{\"\\u20ac\": \"Euro Sign\", \"\\r\": \"Carriage Return\","
                       " \"\\ufb33\": \"Hebrew Letter Dalet With Dagesh\", \"1\": \"One\","
                       " \"\\ud83d\\ude00\": \"Emoji: Grinning Face\", \"\\u0080\": \"Control\","
                       " \"\\u00f6\": \"Latin Small Letter O With Diaeresis\"}") ==
        "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\xc2\x80\":\"Control\","
        "\"\xc3\xb6\":\"Latin Small Letter O With Diaeresis\",\"\xe2\x82\xac\":\"Euro Sign\","
        "\"\xf0\x9f\x98\x80\":\"Emoji: Grinning Face\","
        "\"\xef\xac\xb3\":\"Hebrew Letter Dalet With Dagesh\"}");
  for (const auto& [text, canonical] : std::vector<std::pair<std::string, std::string>>{
           {" [ ] ", "[]"},
           {"{ }", "{}"},
           {"[[],{},[{}]]", "[[],{},[{}]]"},
           {"{\"b\":{\"d\":1,\"c\":[2,{\"z\":0,\"y\":0}]},\"a\":\"\"}",
            "{\"a\":\"\",\"b\":{\"c\":[2,{\"y\":0,\"z\":0}],\"d\":1}}"},
           {"-0", "0"},
           {"-0.0e5", "0"},
           {"1.0", "1"},
           {"1e2", "100"},
           {"100e-2", "1"},
           {"0.1", "0.1"},
           {"12.500", "12.5"},
           {"1e21", "1e+21"},
           {"123456789012345680000", "123456789012345680000"},
           {"1e-7", "1e-7"},
           {"1.5e-7", "1.5e-7"},
           {"9007199254740992", "9007199254740992"},
           {"9007199254740994", "9007199254740994"},
           {"-9007199254740991", "-9007199254740991"},
           {"\"\\u007f\\/\\ud800\\udc00\"", "\"\x7f/\xf0\x90\x80\x80\""}})
    CHECK(canonical_json(text) == canonical);
}

TEST_CASE("numbers that a double does not hold as they are written stay as they are written") {
  for (const std::string text :
       {"9007199254740993", "-9007199254740993", "9007199254740993.0", "9.007199254740993e15",
        "90071992547409930e-1", "18446744073709551615", "9223372036854775807",
        "123456789012345678901234567890", "333333333.33333329", "12345678901234.567",
        "0.10000000000000000001", "1e400", "-1e400", "1e-400", "1e99999999999999999999",
        "1e-99999999999999999999", "[1,{\"a\":9007199254740993}]"})
    CHECK(is_raw(text));
  CHECK_FALSE(is_raw("9007199254740992"));
  CHECK_FALSE(is_raw("12345678901234.568"));
}

TEST_CASE("what JCS has no rule for stays as it is written") {
  for (const std::string& text : std::vector<std::string>{"{\"a\":1,\"a\":1}",
                                                          "{\"a\":1,\"\\u0061\":2}",
                                                          "[{\"b\":{\"a\":1,\"c\":2,\"a\":3}}]",
                                                          "\"\\ud800\"",
                                                          "\"\\udc00\"",
                                                          "\"\\ud800\\ud800\"",
                                                          "\"\xff\"",
                                                          "\"\xed\xa0\x80\"",
                                                          "",
                                                          " ",
                                                          "{",
                                                          "[1,]",
                                                          "{\"a\":1}x",
                                                          "01",
                                                          "+1",
                                                          ".5",
                                                          "NaN",
                                                          "Infinity",
                                                          "'a'",
                                                          "// c\n1",
                                                          "\xef\xbb\xbf{}",
                                                          std::string{"1\0", 2},
                                                          std::string{"1\0x", 3},
                                                          "raw:1",
                                                          "amount=5"})
    CHECK(is_raw(text));
  std::string deep(256, '[');
  deep += std::string(256, ']');
  CHECK(canonical_json(deep) == deep);
  CHECK(is_raw('[' + deep + ']'));
}

TEST_CASE("without the fallbacks two requests would have one form") {
  using test::passes_with_mutant;
  CHECK_FALSE(passes_with_mutant("no_integer_fallback",
                                 "numbers that a double does not hold as they are written stay as "
                                 "they are written"));
  CHECK_FALSE(passes_with_mutant("no_integer_fallback",
                                 "two different integers never have one fingerprint"));
  CHECK_FALSE(passes_with_mutant("no_duplicate_members",
                                 "what JCS has no rule for stays as it is written"));
}

TEST_CASE("two different integers never have one fingerprint") {
  const std::uint64_t used = seed();
  MESSAGE("OUTSEAL_SEED=" << used);
  std::mt19937_64 random{used};
  const auto integer = [&] {
    const std::uint64_t bits = random();
    const std::uint64_t length = 1 + bits % 64;  // Of every length, as many around 2^53 as below.
    return random() >> (64 - length);
  };
  for (std::uint64_t pair = test::scaled(100'000, 10'000'000); pair > 0; --pair) {
    const std::uint64_t one = integer();
    const std::uint64_t other = pair % 2 == 0 ? integer() : one + 1 + random() % 3;
    if (one == other) continue;
    const std::string left = canonical_json(std::to_string(one));
    const std::string right = canonical_json(std::to_string(other));
    if (left == right) FAIL(one, " and ", other);
  }
}

TEST_CASE("what is canonical stays so, and harmless changes of a text change nothing") {
  const std::uint64_t used = seed();
  MESSAGE("OUTSEAL_SEED=" << used);
  std::mt19937_64 random{used};
  for (std::uint64_t round = test::scaled(20'000, 1'000'000); round > 0; --round) {
    const double value = std::bit_cast<double>(random());
    if (value != value || value - value != 0) continue;
    std::string text;
    append_canonical_number(text, value);
    CHECK(canonical_json(text) == text);
    CHECK(std::strtod(text.c_str(), nullptr) == value);
    CHECK(canonical_json(" [" + text + " ]") == "[" + text + "]");
  }
}

TEST_CASE("fingerprints are SHA-256, or HMAC-SHA-256 under a key") {
  CHECK(fingerprint("abc") == sha256("abc"));
  CHECK(json_fingerprint("{ \"a\": 1.0 }") == sha256("{\"a\":1}"));
  // RFC 4231, test case 6.
  const FingerprintKey key{std::string(131, '\xaa')};
  CHECK(to_hex(fingerprint("Test Using Larger Than Block-Size Key - Hash Key First", key)) ==
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
  CHECK(json_fingerprint("[1 ]", key) == fingerprint("[1]", key));
  CHECK(fingerprint("abc", key) != fingerprint("abc", FingerprintKey{std::string(131, 'a')}));
}

TEST_CASE("a key is read from a file that only its owner may read") {
  const test::TempFolder temp;
  const std::string folder = temp.path().string();
  const std::string path = temp.file("key");
  const auto write = [&](const std::string& bytes, ::mode_t mode = 0600) {
    std::ofstream{path, std::ios::binary} << bytes;
    REQUIRE(::chmod(path.c_str(), mode) == 0);
  };
  const auto refusal = [&](const std::string& file) {
    try {
      static_cast<void>(FingerprintKey::read(file));
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::invalid_config);
      CHECK(std::string{error.what()}.find("secretsecret") == std::string::npos);
      return error.message();
    }
    return std::string{"none"};
  };
  const std::string secret = "secretsecretsecretsecretsecretse";
  for (const std::string end : {"", "\n", "\r\n"}) {
    write(secret + end);
    CHECK(FingerprintKey::read(path).secret() == secret);
  }
  write(std::string(1'024, 'k') + "\n");
  CHECK(FingerprintKey::read(path).secret().size() == 1'024);
  write(std::string(1'024, 'k') + "\n\n\nmore");
  CHECK(refusal(path).starts_with("the key has"));
  write(secret.substr(1) + "\n");
  CHECK(refusal(path).starts_with("the key has 31 bytes"));
  write("");
  CHECK(refusal(path).find("is empty") != std::string::npos);
  write(secret, 0644);
  CHECK(refusal(path).find("every user of this system") != std::string::npos);
  CHECK(refusal(folder + "/none").find("cannot be read") != std::string::npos);
  REQUIRE(::mkfifo((folder + "/pipe").c_str(), 0600) == 0);
  CHECK(refusal(folder + "/pipe").find("not a regular file") != std::string::npos);
  CHECK(refusal(folder).find("not a regular file") != std::string::npos);
}
