#include "base/webhook_signature.h"

#include <openssl/evp.h>

#include <memory>

#include "base/text.h"
#include "outseal/error.h"

namespace outseal {
namespace {

constexpr std::size_t kSecretBytesMin = 24;
constexpr std::size_t kSecretBytesMax = 64;

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

/// HMAC-SHA256 over `head` and `body`, which may be large and is not copied.
std::string hmac_sha256(std::string_view key, std::string_view head, std::string_view body) {
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> mac_key{
      EVP_PKEY_new_raw_private_key(EVP_PKEY_HMAC, nullptr, bytes_of(key), key.size()),
      &EVP_PKEY_free};
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context{EVP_MD_CTX_new(),
                                                                        &EVP_MD_CTX_free};
  std::string digest(EVP_MAX_MD_SIZE, '\0');
  std::size_t length = digest.size();
  const bool done =
      mac_key && context &&
      EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, mac_key.get()) == 1 &&
      EVP_DigestSignUpdate(context.get(), head.data(), head.size()) == 1 &&
      EVP_DigestSignUpdate(context.get(), body.data(), body.size()) == 1 &&
      EVP_DigestSignFinal(context.get(), reinterpret_cast<unsigned char*>(digest.data()),
                          &length) == 1;
  if (!done) throw Error{ErrorCode::internal, "sign", "OpenSSL's HMAC-SHA256 failed"};
  digest.resize(length);
  return digest;
}

std::string sign(const std::vector<std::string>& secrets, std::string_view head,
                 std::string_view body) {
  std::string signature;
  for (const std::string& secret : secrets) {
    signature += signature.empty() ? "v1," : " v1,";
    append_base64(signature, hmac_sha256(secret, head, body));
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

}  // namespace outseal
