// Fingerprints of requests: what tells a repetition of a request from another one with its key.
//
// A fingerprint is made of a canonical form, so that a harmless change of encoding (whitespace, the
// order of members, 1.0 for 1) does not make a repetition a mismatch, and of all that the request
// means, so that two requests never pass for one. For a JSON body, a worked example:
//
//   POST /v1/charges    {"currency": "EUR", "amount": 1250, "card": "tok_1"}
//
//   outseal::Operation operation{
//       .scope = "charges", .principal = tenant, .key = idempotency_key,
//       .fingerprint = outseal::fingerprint(
//           "POST /v1/charges\n" +
//           outseal::canonical_json(body)),  // {"amount":1250,"card":"tok_1","currency":"EUR"}
//       .fingerprint_version = 1};
//
// Leave out of it whatever a client may change between two attempts: headers of tracing, dates,
// signatures, the key itself. When the form changes (a new field that has a default, another path),
// raise the version and give fingerprints of the older form beside it until no record has it any
// more; see Operation::older_fingerprints.
#pragma once

#include <string>
#include <string_view>

namespace outseal {

/// SHA-256 of `canonical_request`, 32 raw bytes.
///
/// Whoever can read the table can test guesses against it. If the request holds something that can
/// be guessed, for example a card number, give a FingerprintKey.
std::string fingerprint(std::string_view canonical_request);

/// The key of keyed fingerprints (HMAC-SHA-256). Replacing the key is a change of the fingerprint's
/// version: give fingerprints by the old key as older ones meanwhile.
///
/// Threads: Immutable.
class FingerprintKey {
 public:
  static constexpr std::size_t kBytesMin = 32;
  static constexpr std::size_t kBytesMax = 1'024;

  /// @throws Error{invalid_config} unless `secret` has 32 to 1,024 bytes.
  explicit FingerprintKey(std::string secret);

  /// Reads the key from a file: all its bytes except for line breaks at the end. For example made
  /// by: (umask 077; openssl rand -base64 32 > fingerprint.key)
  ///
  /// @throws Error{invalid_config} if the file is not a regular one, cannot be read, or can be read
  ///         or changed by every user of the system, or if the key's length is out of range.
  static FingerprintKey read(const std::string& path);

  const std::string& secret() const { return secret_; }

 private:
  std::string secret_;
};

/// HMAC-SHA-256 of `canonical_request` under `key`, 32 raw bytes.
/// Source: RFC 2104.
std::string fingerprint(std::string_view canonical_request, const FingerprintKey& key);

/// The canonical form of a JSON text (RFC 8785, JCS): no whitespace, members in order, numbers and
/// strings in one notation each.
///
/// What JCS would make equal to something else, or has no rule for, becomes "raw:" and the text
/// itself, which no canonical form begins with. A repetition of such a request has to be equal byte
/// for byte. These are
///   - a number that a double does not hold exactly as it is written: an integer beyond 2^53 such
///     as 9007199254740993, an amount of too many digits, 1e400. (So the 333333333.33333329 of the
///     RFC's own example, which JCS rounds, stays as it is.)
///   - an object with the same member twice;
///   - a string with half of a surrogate pair, or bytes that are not UTF-8;
///   - more than 256 levels of nesting;
///   - anything that is not JSON.
std::string canonical_json(std::string_view text);

/// fingerprint() of canonical_json().
std::string json_fingerprint(std::string_view text);
std::string json_fingerprint(std::string_view text, const FingerprintKey& key);

}  // namespace outseal
