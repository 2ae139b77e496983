#include "outseal/fingerprint.h"

#include <fstream>
#include <utility>

#include "base/given_file.h"
#include "base/hash.h"
#include "outseal/error.h"

namespace outseal {

FingerprintKey::FingerprintKey(std::string secret) : secret_{std::move(secret)} {
  if (secret_.size() < kBytesMin || secret_.size() > kBytesMax)
    throw Error{ErrorCode::invalid_config,
                "fingerprint",
                "the key has " + std::to_string(secret_.size()) + " bytes, allowed are " +
                    std::to_string(kBytesMin) + " to " + std::to_string(kBytesMax),
                {.hint = "make one with: openssl rand -base64 32"}};
}

FingerprintKey FingerprintKey::read(const std::string& path) {
  std::ifstream file = open_given_file("fingerprint", "the fingerprint key", path, Secrecy::secret);
  constexpr std::size_t kFileBytesMax = kBytesMax + 2;  // A line break is taken off.
  std::string secret(kFileBytesMax + 1, '\0');
  file.read(secret.data(), static_cast<std::streamsize>(secret.size()));
  secret.resize(static_cast<std::size_t>(file.gcount()));
  while (!secret.empty() && secret.size() <= kFileBytesMax &&
         (secret.back() == '\n' || secret.back() == '\r'))
    secret.pop_back();
  return FingerprintKey{std::move(secret)};
}

std::string fingerprint(std::string_view canonical_request) { return sha256(canonical_request); }

std::string fingerprint(std::string_view canonical_request, const FingerprintKey& key) {
  return hmac_sha256(key.secret(), {canonical_request});
}

std::string json_fingerprint(std::string_view text) { return fingerprint(canonical_json(text)); }

std::string json_fingerprint(std::string_view text, const FingerprintKey& key) {
  return fingerprint(canonical_json(text), key);
}

}  // namespace outseal
