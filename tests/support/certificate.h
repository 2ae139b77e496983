// Certificates for tests, made here and valid for an hour.
#pragma once

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>

namespace outseal::test {

/// A key with a certificate, from `issuer` or from itself.
class Identity {
 public:
  /// Somebody who vouches for others.
  static Identity authority(const std::string& name) {
    return {name, NID_basic_constraints, "critical,CA:TRUE", nullptr};
  }
  /// @param names for example "DNS:localhost" or "IP:127.0.0.1".
  Identity(const std::string& name, const std::string& names, const Identity& issuer)
      : Identity{name, NID_subject_alt_name, names, &issuer} {}

  X509* certificate() const { return certificate_.get(); }
  EVP_PKEY* key() const { return key_.get(); }

  void write_certificate(const std::string& path) const {
    const File file{std::fopen(path.c_str(), "w"), &std::fclose};
    require(file && PEM_write_X509(file.get(), certificate_.get()) == 1);
  }
  void write_key(const std::string& path) const {
    const File file{std::fopen(path.c_str(), "w"), &std::fclose};
    require(file && ::fchmod(::fileno(file.get()), 0600) == 0 &&
            PEM_write_PrivateKey(file.get(), key_.get(), nullptr, nullptr, 0, nullptr, nullptr) ==
                1);
  }

 private:
  using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

  static void require(bool done) {
    if (!done) throw std::runtime_error{"OpenSSL failed"};
  }

  Identity(const std::string& name, int extension, const std::string& value,
           const Identity* issuer) {
    static long serial = 0;
    X509* const x509 = certificate_.get();
    require(key_ && x509 != nullptr && X509_set_version(x509, 2) == 1);
    ASN1_INTEGER_set(X509_get_serialNumber(x509), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(x509), -3'600);
    X509_gmtime_adj(X509_getm_notAfter(x509), 3'600);
    X509_set_pubkey(x509, key_.get());
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x509), "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
    const Identity& signer = issuer == nullptr ? *this : *issuer;
    X509_set_issuer_name(x509, X509_get_subject_name(signer.certificate_.get()));
    const std::unique_ptr<X509_EXTENSION, decltype(&X509_EXTENSION_free)> made{
        X509V3_EXT_conf_nid(nullptr, nullptr, extension, value.c_str()), &X509_EXTENSION_free};
    require(made && X509_add_ext(x509, made.get(), -1) == 1);
    require(X509_sign(x509, signer.key_.get(), EVP_sha256()) > 0);
  }

  std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key_{EVP_EC_gen("P-256"), &EVP_PKEY_free};
  std::unique_ptr<X509, decltype(&X509_free)> certificate_{X509_new(), &X509_free};
};

}  // namespace outseal::test
