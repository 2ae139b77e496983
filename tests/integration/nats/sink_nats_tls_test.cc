// The nats: sink over TLS: whom it trusts, and whom it does not.
#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <string_view>
#include <thread>

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

/// Greets like a server that wants TLS, and closes the connection, as one that is killed does.
class EndsInHandshake {
 public:
  EndsInHandshake() : listener_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)} {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    REQUIRE(::bind(listener_, any, size) == 0);
    REQUIRE(::listen(listener_, 8) == 0);
    REQUIRE(::getsockname(listener_, any, &size) == 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread{[this] { serve(); }};
  }
  ~EndsInHandshake() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }
  EndsInHandshake(const EndsInHandshake&) = delete;
  EndsInHandshake& operator=(const EndsInHandshake&) = delete;

  int port() const { return port_; }

 private:
  void serve() const {
    constexpr std::string_view kGreeting =
        "INFO {\"server_id\":\"x\",\"version\":\"2.9.10\",\"max_payload\":1048576,"
        "\"headers\":true,\"tls_required\":true}\r\n";
    for (;;) {
      const int client = ::accept(listener_, nullptr, nullptr);
      if (client < 0) return;
      ::send(client, kGreeting.data(), kGreeting.size(), MSG_NOSIGNAL);
      char hello[4096];
      [[maybe_unused]] const ssize_t count = ::recv(client, hello, sizeof hello, 0);
      ::close(client);
    }
  }

  int listener_;
  int port_ = 0;
  std::thread thread_;
};

}  // namespace

TEST_CASE("a server that ends in the middle of the handshake is waited for") {
  const EndsInHandshake server;
  const OpenResult opened =
      make_nats("nats://127.0.0.1:" + std::to_string(server.port()) + "/EVENTS?timeout_ms=2000")
          ->open();
  CHECK_MESSAGE(opened.status == Opened::retry_later, opened.detail);
  CHECK_MESSAGE(opened.detail.find("SSL") != std::string::npos, opened.detail);
  CHECK_FALSE(opened.hint.empty());
}

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
