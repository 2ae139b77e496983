// The http: sink over TLS, with authorities made here: whom it trusts, and whom it does not.
#include <doctest/doctest.h>

#include "conformance/http_receiver.h"
#include "support/certificate.h"
#include "support/temp_folder.h"

namespace outseal::test {
namespace {

using Status = DeliveryResult::Status;

/// An authority, somebody else's authority, and a server that the first one vouches for.
struct Stage {
  TempFolder folder;
  Identity authority = Identity::authority("our authority");
  Identity stranger = Identity::authority("a stranger");
  Identity server{"receiver", "DNS:localhost", authority};
  Identity client{"relay", "DNS:relay", authority};
  std::unique_ptr<HttpReceiver> receiver;

  explicit Stage(bool asks_for_certificate = false) {
    authority.write_certificate(folder.file("ca.pem"));
    stranger.write_certificate(folder.file("stranger.pem"));
    client.write_certificate(folder.file("client.pem"));
    client.write_key(folder.file("client.key"));
    X509_STORE* clients = nullptr;
    if (asks_for_certificate) {
      clients = X509_STORE_new();
      X509_STORE_add_cert(clients, authority.certificate());
    }
    receiver = std::make_unique<HttpReceiver>(
        [](const httplib::Request&, httplib::Response& response) { response.status = 200; },
        std::make_unique<httplib::SSLServer>(server.certificate(), server.key(), clients));
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
      std::make_unique<httplib::SSLServer>(stage.server.certificate(), stage.server.key())};
  const auto result = deliver_to("https://localhost:" + std::to_string(secure.port()) +
                                 "/?outseal.ca_file=" + stage.folder.file("ca.pem"));
  CHECK(result.status == Status::retry_later);
  CHECK(has(result.detail, "not followed"));
  CHECK(plain.asked().empty());
}

}  // namespace
}  // namespace outseal::test
