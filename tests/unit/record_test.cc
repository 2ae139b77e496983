#include "operation/record.h"

#include <doctest/doctest.h>

#include <string>

#include "base/hash.h"
#include "outseal/ids.h"

using namespace outseal;
using operation::handle_text;
using operation::parse_handle;

namespace {

std::string hash_of(const std::string& key) {
  return to_hex(
      operation::key_hash({.scope = "s", .principal = "p", .key = key, .fingerprint = ""}));
}

/// The hash of a key without its time.
std::string plain(const std::string& key) {
  Sha256 hash;
  for (const std::string& field : {std::string{"s"}, std::string{"p"}, key}) hash.add_field(field);
  return to_hex(hash.finish());
}

}  // namespace

TEST_CASE("a UUIDv7 or a ULID is kept under its time and its hash") {
  // RFC 9562, appendix A.6, and an example of the ULID's specification.
  const std::string uuid = "017F22E2-79B0-7CC3-98C4-DC0C0C07398F";
  CHECK(hash_of(uuid) == "017f22e279b0" + plain(uuid));
  const std::string lower = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f";
  CHECK(hash_of(lower) == "017f22e279b0" + plain(lower));
  CHECK(plain(lower) != plain(uuid));
  const std::string ulid = "01ARYZ6S41TSV4RRFFQ69G5FAV";
  CHECK(hash_of(ulid) == "01563df36481" + plain(ulid));
  CHECK(hash_of("01aryz6s41tsv4rrffq69g5fav").starts_with("01563df36481"));
  CHECK(hash_of("7ZZZZZZZZZZZZZZZZZZZZZZZZZ").starts_with("ffffffffffff"));
  CHECK(hash_of("00000000000000000000000000").starts_with("000000000000"));
  const std::string mine = new_idempotency_key();
  CHECK(hash_of(mine).size() == 76);
  CHECK(hash_of(mine) < hash_of(new_idempotency_key()).substr(0, 12) + std::string(64, 'g'));
}

TEST_CASE("any other key is kept under its hash alone") {
  for (const std::string key : {"k",
                                "017f22e2-79b0-4cc3-98c4-dc0c0c07398f",   // Version 4.
                                "017f22e2-79b0-7cc3-48c4-dc0c0c07398f",   // Another variant.
                                "017f22e2-79b0-7cc3-98c4-dc0c0c07398",    // Short.
                                "017f22e279b07cc398c4dc0c0c07398f",       // Without dashes.
                                "{017f22e2-79b0-7cc3-98c4-dc0c0c07398}",  //
                                "017f22e2-79b0-7cc3-98c4-dc0c0c07398g",   //
                                "81ARYZ6S41TSV4RRFFQ69G5FAV",             // Beyond 128 bits.
                                "01ARYZ6S41TSV4RRFFQ69G5FAU",             // No such digit.
                                "01ARYZ6S41TSV4RRFFQ69G5FA", "01ARYZ6S41TSV4RRFFQ69G5FAVX"})
    CHECK(hash_of(key) == plain(key));
}

TEST_CASE("a handle is read as it was written, and nothing else is one") {
  for (const std::size_t length : {32U, 38U}) {
    const std::string hash = std::string(length - 1, 'h') + '\xff';
    const std::string secret = std::string(15, '\xfb') + 's';
    const std::string text = handle_text(hash, secret);
    CHECK(text.size() == (length + 16) / 3 * 4);
    CHECK(text.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                 "-_") == std::string::npos);
    const auto handle = parse_handle(text);
    REQUIRE(handle.has_value());
    CHECK(handle->key_hash == hash);
    CHECK(handle->secret == secret);
    for (const std::string& other :
         {text + "A", text + "=", text.substr(1), text.substr(4), "+" + text.substr(1),
          "\n" + text.substr(1), " " + text, std::string{}})
      CHECK_FALSE(parse_handle(other).has_value());
  }
}
