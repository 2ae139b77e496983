#include "base/hash.h"

#include <openssl/evp.h>
#include <openssl/rand.h>

#include "outseal/error.h"

namespace outseal {
namespace {

/// Looked up once: that costs more than the hash of a short text.
const EVP_MD* algorithm() {
  static const EVP_MD* const fetched = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  return fetched;
}

}  // namespace

struct Sha256::Context {
  EVP_MD_CTX* handle = EVP_MD_CTX_new();
  Context() = default;
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  ~Context() { EVP_MD_CTX_free(handle); }

  void start() const {
    if (handle == nullptr || algorithm() == nullptr ||
        EVP_DigestInit_ex(handle, algorithm(), nullptr) != 1)
      throw Error{ErrorCode::internal, "hash", "OpenSSL refused to start SHA-256"};
  }
};

Sha256::Sha256() : context_{std::make_unique<Context>()} { context_->start(); }
Sha256::~Sha256() = default;

void Sha256::add(std::string_view bytes) {
  if (EVP_DigestUpdate(context_->handle, bytes.data(), bytes.size()) != 1)
    throw Error{ErrorCode::internal, "hash", "OpenSSL refused SHA-256 input"};
}

void Sha256::add_field(std::string_view bytes) {
  add_number(bytes.size());
  add(bytes);
}

void Sha256::add_number(std::uint64_t number) {
  char text[8];
  for (int i = 7; i >= 0; --i, number >>= 8U) text[i] = static_cast<char>(number & 0xffU);
  add({text, sizeof text});
}

std::string Sha256::finish() {
  std::string digest(kHashBytes, '\0');
  unsigned int length = 0;
  if (EVP_DigestFinal_ex(context_->handle, reinterpret_cast<unsigned char*>(digest.data()),
                         &length) != 1 ||
      length != kHashBytes)
    throw Error{ErrorCode::internal, "hash", "OpenSSL refused to finish SHA-256"};
  context_->start();
  return digest;
}

std::string sha256(std::string_view bytes) {
  Sha256 hash;
  hash.add(bytes);
  return hash.finish();
}

std::string hmac_sha256(std::string_view key, std::initializer_list<std::string_view> parts) {
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> mac_key{
      EVP_PKEY_new_raw_private_key(EVP_PKEY_HMAC, nullptr,
                                   reinterpret_cast<const unsigned char*>(key.data()), key.size()),
      &EVP_PKEY_free};
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context{EVP_MD_CTX_new(),
                                                                        &EVP_MD_CTX_free};
  std::string digest(kHashBytes, '\0');
  std::size_t length = digest.size();
  bool done = mac_key && context &&
              EVP_DigestSignInit(context.get(), nullptr, algorithm(), nullptr, mac_key.get()) == 1;
  for (const std::string_view part : parts)
    done = done && EVP_DigestSignUpdate(context.get(), part.data(), part.size()) == 1;
  done = done && EVP_DigestSignFinal(context.get(), reinterpret_cast<unsigned char*>(digest.data()),
                                     &length) == 1;
  if (!done) throw Error{ErrorCode::internal, "hash", "OpenSSL's HMAC-SHA256 failed"};
  return digest;
}

std::string random_bytes(std::size_t count) {
  std::string bytes(count, '\0');
  if (RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(count)) != 1)
    throw Error{ErrorCode::internal, "random", "the system gives no randomness"};
  return bytes;
}

std::string to_hex(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    text += kDigits[byte >> 4U];
    text += kDigits[byte & 15U];
  }
  return text;
}

}  // namespace outseal
