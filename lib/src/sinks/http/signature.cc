#include "sinks/http/signature.h"

#include <openssl/evp.h>

#include "base/hash.h"
#include "base/text.h"

namespace outseal::sinks {
namespace {

constexpr std::size_t kSecretBytesMin = 24;
constexpr std::size_t kSecretBytesMax = 64;

std::string sign(const std::vector<std::string>& secrets, std::string_view head,
                 std::string_view body) {
  std::string signature;
  for (const std::string& secret : secrets) {
    signature += signature.empty() ? "v1," : " v1,";
    append_base64(signature, hmac_sha256(secret, {head, body}));
  }
  return signature;
}

}  // namespace

std::string parse_webhook_secret(std::string_view text) {
  constexpr std::string_view kMark = "whsec_";
  if (!text.starts_with(kMark)) return {};
  text.remove_prefix(kMark.size());
  // The decoder takes whole groups of four, and counts the padding as bytes.
  if (text.empty() || text.size() % 4 != 0 || text.size() > 2 * kSecretBytesMax) return {};
  std::string bytes(text.size() / 4 * 3, '\0');
  const int decoded = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                                      reinterpret_cast<const unsigned char*>(text.data()),
                                      static_cast<int>(text.size()));
  if (decoded < 0) return {};
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  bytes.resize(static_cast<std::size_t>(decoded) - padding);
  if (bytes.size() < kSecretBytesMin || bytes.size() > kSecretBytesMax) return {};
  return bytes;
}

std::string webhook_signature(const std::vector<std::string>& secrets, std::string_view id,
                              std::int64_t timestamp_s, std::string_view body) {
  return sign(secrets, std::string{id} + '.' + std::to_string(timestamp_s) + '.', body);
}

std::string place_signature(const std::vector<std::string>& secrets, std::string_view id,
                            std::int64_t timestamp_s, const WebhookPlace& place) {
  std::string content = "outseal.place.";
  content.append(id).append(".").append(std::to_string(timestamp_s)).append(".");
  content.append(place.position).append(".").append(place.previous_id).append(".");
  return sign(secrets, content, place.stream);
}

}  // namespace outseal::sinks
