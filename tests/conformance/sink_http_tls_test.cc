// The http: sink over TLS, with authorities made here: whom it trusts, and whom it does not.
#include <doctest/doctest.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <stdexcept>

#include "conformance/http_receiver.h"
#include "support/temp_folder.h"

namespace outseal::test {
namespace {

using Status = DeliveryResult::Status;
using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;

void require(bool done) {
  if (!done) throw std::runtime_error{"OpenSSL failed"};
}

/// A key with a certificate, from `issuer` or from itself.
struct Identity {
  Key key{EVP_EC_gen("P-256"), &EVP_PKEY_free};
  Certificate certificate{X509_new(), &X509_free};

  /// `extension` is subjectAltName or basicConstraints with its value.
  Identity(const std::string& name, int extension, const std::string& value,
           const Identity* issuer) {
    static long serial = 0;
    X509* x509 = certificate.get();
    require(key && x509 != nullptr && X509_set_version(x509, 2) == 1);
    ASN1_INTEGER_set(X509_get_serialNumber(x509), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(x509), -3'600);
    X509_gmtime_adj(X509_getm_notAfter(x509), 3'600);
    X509_set_pubkey(x509, key.get());
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x509), "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
    const Identity& signer = issuer == nullptr ? *this : *issuer;
    X509_set_issuer_name(x509, X509_get_subject_name(signer.certificate.get()));
    X509_EXTENSION* made = X509V3_EXT_conf_nid(nullptr, nullptr, extension, value.c_str());
    require(made != nullptr && X509_add_ext(x509, made, -1) == 1);
    X509_EXTENSION_free(made);
    require(X509_sign(x509, signer.key.get(), EVP_sha256()) > 0);
  }

  void write_certificate(const std::string& path) const {
    std::FILE* file = std::fopen(path.c_str(), "w");
    require(file != nullptr && PEM_write_X509(file, certificate.get()) == 1);
    std::fclose(file);
  }
  void write_key(const std::string& path) const {
    std::FILE* file = std::fopen(path.c_str(), "w");
    require(file != nullptr &&
            PEM_write_PrivateKey(file, key.get(), nullptr, nullptr, 0, nullptr, nullptr) == 1);
    std::fclose(file);
  }
};

Identity make_authority(const std::string& name) {
  return {name, NID_basic_constraints, "critical,CA:TRUE", nullptr};
}

/// An authority, somebody else's authority, and a server that the first one vouches for.
struct Stage {
  TempFolder folder;
  Identity authority = make_authority("our authority");
  Identity stranger = make_authority("a stranger");
  Identity server{"receiver", NID_subject_alt_name, "DNS:localhost", &authority};
  Identity client{"relay", NID_subject_alt_name, "DNS:relay", &authority};
  std::unique_ptr<HttpReceiver> receiver;

  explicit Stage(bool asks_for_certificate = false) {
    authority.write_certificate(folder.file("ca.pem"));
    stranger.write_certificate(folder.file("stranger.pem"));
    client.write_certificate(folder.file("client.pem"));
    client.write_key(folder.file("client.key"));
    X509_STORE* clients = nullptr;
    if (asks_for_certificate) {
      clients = X509_STORE_new();
      X509_STORE_add_cert(clients, authority.certificate.get());
    }
    receiver = std::make_unique<HttpReceiver>(
        [](const httplib::Request&, httplib::Response& response) { response.status = 200; },
        std::make_unique<httplib::SSLServer>(server.certificate.get(), server.key.get(), clients));
  }

  std::string url(const std::string& host, const std::string& ca,
                  const std::string& more = "") const {
    return "https://" + host + ":" + std::to_string(receiver->port()) +
           "/hook?outseal.ca_file=" + folder.file(ca) + more;
  }
};

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

TEST_CASE("a receiver with a certificate of a trusted authority gets the events") {
  const Stage stage;
  const auto result = deliver_to(stage.url("localhost", "ca.pem"), 40);
  CHECK_MESSAGE(result.status == Status::delivered, result.detail);
  CHECK(stage.receiver->asked().size() == 40);
}

TEST_CASE("a certificate that is not trusted, or not for this host, gets nothing") {
  const Stage stage;
  std::string url;
  SUBCASE("of another authority") { url = stage.url("localhost", "stranger.pem"); }
  SUBCASE("of none that the system knows") {
    url = "https://localhost:" + std::to_string(stage.receiver->port()) + "/hook";
  }
  SUBCASE("for another name") { url = stage.url("127.0.0.1", "ca.pem"); }
  const auto result = deliver_to(url);
  CHECK(result.status == Status::retry_later);
  CHECK_MESSAGE(has(result.detail, "certificate is not trusted"), result.detail);
  CHECK(has(result.hint, "outseal.ca_file"));
  CHECK(stage.receiver->asked().empty());
}

TEST_CASE("a receiver that asks for our certificate gets it") {
  const Stage stage{true};
  const auto result =
      deliver_to(stage.url("localhost", "ca.pem",
                           "&outseal.cert_file=" + stage.folder.file("client.pem") +
                               "&outseal.key_file=" + stage.folder.file("client.key")));
  CHECK_MESSAGE(result.status == Status::delivered, result.detail);
  CHECK(deliver_to(stage.url("localhost", "ca.pem")).status == Status::retry_later);
  CHECK(stage.receiver->asked().size() == 1);
}

TEST_CASE("files that are no certificates, and plain HTTP behind https, are told apart") {
  const Stage stage;
  const auto no_authority = deliver_to(stage.url("localhost", "client.key"));
  CHECK(no_authority.status == Status::retry_later);
  CHECK_MESSAGE(has(no_authority.detail, "a file for TLS"), no_authority.detail);
  const auto no_certificate =
      deliver_to(stage.url("localhost", "ca.pem",
                           "&outseal.cert_file=" + stage.folder.file("client.key") +
                               "&outseal.key_file=" + stage.folder.file("client.key")));
  CHECK(no_certificate.status == Status::retry_later);
  CHECK_MESSAGE(has(no_certificate.detail, "a file for TLS"), no_certificate.detail);
  const HttpReceiver plain;
  const auto result = deliver_to("https://localhost:" + std::to_string(plain.port()) +
                                 "/?outseal.ca_file=" + stage.folder.file("ca.pem"));
  CHECK(result.status == Status::retry_later);
  CHECK(plain.asked().empty());
}

TEST_CASE("a redirect from TLS to plain HTTP is not followed") {
  const Stage stage;
  const HttpReceiver plain;
  HttpReceiver secure{
      [&](const httplib::Request&, httplib::Response& response) {
        response.status = 307;
        response.set_header("Location", plain.url());
      },
      std::make_unique<httplib::SSLServer>(stage.server.certificate.get(), stage.server.key.get())};
  const auto result = deliver_to("https://localhost:" + std::to_string(secure.port()) +
                                 "/?outseal.ca_file=" + stage.folder.file("ca.pem"));
  CHECK(result.status == Status::retry_later);
  CHECK(has(result.detail, "not followed"));
  CHECK(plain.asked().empty());
}

}  // namespace
}  // namespace outseal::test
