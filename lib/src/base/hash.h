// SHA-256, HMAC and random bytes, over OpenSSL.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>

namespace outseal {

/// Length of a digest in bytes.
inline constexpr std::size_t kHashBytes = 32;

/// An incremental SHA-256.
///
/// Threads: Not thread-safe; one thread at a time.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  /// Adds raw bytes.
  void add(std::string_view bytes);
  /// Adds the length (8 bytes, big-endian) and then the bytes, so that fields cannot run together.
  void add_field(std::string_view bytes);
  /// Adds a number as 8 bytes, big-endian.
  void add_number(std::uint64_t number);
  /// The digest, 32 raw bytes; then starts anew.
  std::string finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

/// SHA-256 of `bytes`, 32 raw bytes.
std::string sha256(std::string_view bytes);

/// HMAC-SHA-256 over `parts`, which may be large and are not copied, one after the other; 32 raw
/// bytes. Source: RFC 2104.
std::string hmac_sha256(std::string_view key, std::initializer_list<std::string_view> parts);

/// Bytes that nobody can guess.
/// @throws Error{internal} if the system gives no randomness.
std::string random_bytes(std::size_t count);

/// Lower-case hexadecimal text of `bytes`.
std::string to_hex(std::string_view bytes);

}  // namespace outseal
