// The nats: sink over TLS: whom it trusts, and whom it does not.
#include <doctest/doctest.h>

#include <fstream>
#include <string>

#include "conformance/nats_fixture.h"
#include "support/certificate.h"
#include "support/temp_folder.h"

namespace outseal::test {
namespace {

using Opened = OpenResult::Status;

/// An authority, somebody else's authority, and a server that the first one vouches for.
struct Stage {
  TempFolder folder;
  Identity authority = Identity::authority("our authority");
  Identity stranger = Identity::authority("a stranger");
  Identity server{"server", "DNS:localhost", authority};
  Identity client{"relay", "DNS:relay", authority};
  std::unique_ptr<NatsServer> nats;

  explicit Stage(const std::string& more = {}) {
    authority.write_certificate(folder.file("ca.pem"));
    stranger.write_certificate(folder.file("stranger.pem"));
    server.write_certificate(folder.file("server.pem"));
    server.write_key(folder.file("server.key"));
    client.write_certificate(folder.file("client.pem"));
    client.write_key(folder.file("client.key"));
    nats = std::make_unique<NatsServer>(test::NatsOptions{
        .settings = {"tls { cert_file: \"" + folder.file("server.pem") + "\", key_file: \"" +
                     folder.file("server.key") + "\", ca_file: \"" + folder.file("ca.pem") + "\" " +
                     more + " }"}});
  }

  OpenResult open(const std::string& host, const std::string& parameters = {}) const {
    return make_nats("nats://" + host + ":" + std::to_string(nats->port()) +
                     "/EVENTS?create=true&timeout_ms=2000" + parameters)
        ->open();
  }
};

}  // namespace

TEST_CASE("a server with a certificate of a trusted authority is used") {
  if (skipped_without_nats()) return;
  const Stage stage;
  const OpenResult opened = stage.open("localhost", "&ca_file=" + stage.folder.file("ca.pem"));
  CHECK_MESSAGE(opened.status == Opened::opened, opened.detail);
}

TEST_CASE("a certificate that is not trusted, or not for this host, is refused by default") {
  if (skipped_without_nats()) return;
  const Stage stage;
  OpenResult refused;
  SUBCASE("of another authority") {
    refused = stage.open("localhost", "&ca_file=" + stage.folder.file("stranger.pem"));
  }
  SUBCASE("of none that the system knows") { refused = stage.open("localhost"); }
  SUBCASE("for another name") {
    refused = stage.open("127.0.0.1", "&ca_file=" + stage.folder.file("ca.pem"));
  }
  CHECK(refused.status == Opened::unusable);
  CHECK_MESSAGE(refused.detail.find("SSL") != std::string::npos, refused.detail);
  CHECK(refused.hint.find("ca_file") != std::string::npos);
}

TEST_CASE("a server that asks for our certificate gets it") {
  if (skipped_without_nats()) return;
  const Stage stage{", verify: true"};
  const std::string trusting = "&ca_file=" + stage.folder.file("ca.pem");
  const OpenResult opened =
      stage.open("localhost", trusting + "&cert_file=" + stage.folder.file("client.pem") +
                                  "&key_file=" + stage.folder.file("client.key"));
  CHECK_MESSAGE(opened.status == Opened::opened, opened.detail);
  CHECK(stage.open("localhost", trusting).status != Opened::opened);
}

TEST_CASE("with tls=true nothing is said to a server without TLS, and a bad file is named") {
  if (skipped_without_nats()) return;
  const std::string url = shared_nats_server().url() + "/EVENTS?create=true";
  const OpenResult plain = make_nats(url + "&tls=true")->open();
  CHECK(plain.status == Opened::unusable);
  CHECK(plain.hint.find("tls=true") != std::string::npos);
  const TempFolder folder;
  std::ofstream{folder.file("ca.pem")} << "not a certificate\n";
  const OpenResult bad = make_nats(url + "&ca_file=" + folder.file("ca.pem"))->open();
  CHECK(bad.status == Opened::unusable);
  CHECK_MESSAGE(bad.detail.find("ca_file") != std::string::npos, bad.detail);
}

}  // namespace outseal::test
