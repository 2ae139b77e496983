// Each fault of the proxy, seen from a client and a server that echoes.
#include "support/fault_proxy.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>

#include "support/program.h"

namespace outseal::test {
namespace {

using std::chrono::milliseconds;
using Way = FaultProxy::Way;

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

bool is_readable(int fd, milliseconds patience) {
  pollfd ready{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&ready, 1, static_cast<int>(patience.count())) > 0;
}

/// Says back whatever it hears, to one client at a time.
class Echo {
 public:
  Echo() {
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    REQUIRE(::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) == 0);
    REQUIRE(::listen(listener_, 8) == 0);
    REQUIRE(::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) == 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread{[this] { serve(); }};
  }
  ~Echo() {
    stop_ = true;
    thread_.join();
    ::close(listener_);
  }
  Echo(const Echo&) = delete;
  Echo& operator=(const Echo&) = delete;

  int port() const { return port_; }
  std::size_t heard() const { return heard_; }

 private:
  void serve() {
    while (!stop_) {
      if (!is_readable(listener_, milliseconds{5})) continue;
      const int client = ::accept(listener_, nullptr, nullptr);
      char buffer[4096];
      while (!stop_) {
        if (!is_readable(client, milliseconds{5})) continue;
        const ssize_t got = ::recv(client, buffer, sizeof buffer, 0);
        if (got <= 0) break;
        heard_ += static_cast<std::size_t>(got);
        ::send(client, buffer, static_cast<std::size_t>(got), MSG_NOSIGNAL);
      }
      ::close(client);
    }
  }

  int listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int port_ = 0;
  std::atomic<bool> stop_{false};
  std::atomic<std::size_t> heard_{0};
  std::thread thread_;
};

class Client {
 public:
  explicit Client(int port) {
    const sockaddr_in address = loopback(port);
    connected_ = ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  ~Client() { ::close(fd_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  bool is_connected() const { return connected_; }
  void say(const std::string& text) const { ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL); }
  /// Up to `count` bytes; fewer if the connection ends, with a "!" behind them.
  std::string hear(std::size_t count) const {
    std::string text;
    char byte = 0;
    while (text.size() < count) {
      if (::recv(fd_, &byte, 1, 0) <= 0) return text + '!';
      text += byte;
    }
    return text;
  }
  bool hears_nothing() const { return !is_readable(fd_, milliseconds{60}); }

 private:
  int fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  bool connected_ = false;
};

TEST_CASE("a healthy proxy carries bytes both ways and the end of a connection") {
  const Echo echo;
  FaultProxy proxy{echo.port()};
  const std::string much(3'000'000, 'x');
  {
    const Client client{proxy.port()};
    client.say("hello");
    CHECK(client.hear(5) == "hello");
    std::thread speaker{[&] { client.say(much); }};
    CHECK(client.hear(much.size()) == much);
    speaker.join();
  }
  const Client next{proxy.port()};  // The echo serves it once the first one has ended.
  next.say("again");
  CHECK(next.hear(5) == "again");
  CHECK(proxy.seen().connections == 2);
  CHECK(proxy.seen().cuts == 0);
}

TEST_CASE("a connection is cut after exactly so many bytes, and only once") {
  const Echo echo;
  FaultProxy proxy{echo.port()};
  proxy.cut_after(Way::to_client, 3);
  {
    const Client client{proxy.port()};
    client.say("hello");
    CHECK(client.hear(5) == "hel!");
  }
  proxy.cut_after(Way::to_server, 4);
  {
    const Client client{proxy.port()};
    client.say("hello");
    CHECK(client.hear(5).ends_with("!"));
    wait_until("the server to hear four bytes more", [&] { return echo.heard() == 5 + 4; });
  }
  const Client client{proxy.port()};
  client.say("whole");
  CHECK(client.hear(5) == "whole");
  CHECK(proxy.seen().cuts == 2);
  proxy.cut();
  CHECK(client.hear(1) == "!");
}

TEST_CASE("replies get lost while requests arrive, and such a connection does not heal") {
  const Echo echo;
  FaultProxy proxy{echo.port()};
  const Client client{proxy.port()};
  client.say("one");
  CHECK(client.hear(3) == "one");
  proxy.drop_replies();
  client.say("two");
  wait_until("the reply to get lost", [&] { return proxy.seen().bytes_dropped == 3; });
  CHECK(echo.heard() == 6);
  CHECK(client.hears_nothing());
  proxy.heal();
  CHECK(client.hear(1) == "!");
  const Client next{proxy.port()};
  next.say("three");
  CHECK(next.hear(5) == "three");
}

TEST_CASE("a black hole lets go of what it holds, even after its sender has gone") {
  const Echo echo;
  FaultProxy proxy{echo.port()};
  proxy.black_hole();
  {
    const Client client{proxy.port()};
    CHECK(client.is_connected());
    client.say("ghost");
    CHECK(client.hears_nothing());
    CHECK(echo.heard() == 0);
  }
  proxy.heal();
  wait_until("the server to hear the ghost", [&] { return echo.heard() == 5; });
}

TEST_CASE("delayed bytes arrive, in order") {
  const Echo echo;
  FaultProxy proxy{echo.port()};
  proxy.delay(milliseconds{20});
  const Client client{proxy.port()};
  client.say("a");
  client.say("b");
  CHECK(client.hear(2) == "ab");
}

TEST_CASE("a proxy that refuses is open again after it healed") {
  const Echo echo;
  FaultProxy proxy{echo.port()};
  const Client before{proxy.port()};
  before.say("x");
  CHECK(before.hear(1) == "x");
  proxy.refuse();
  CHECK(before.hear(1) == "!");
  CHECK_FALSE(Client{proxy.port()}.is_connected());
  proxy.heal();
  const Client after{proxy.port()};
  after.say("y");
  CHECK(after.hear(1) == "y");
}

TEST_CASE("without a server every connection ends at once") {
  int port = 0;
  {
    const Echo echo;
    port = echo.port();
  }
  FaultProxy proxy{port};
  const Client client{proxy.port()};
  CHECK(client.hear(1) == "!");
}

}  // namespace
}  // namespace outseal::test
