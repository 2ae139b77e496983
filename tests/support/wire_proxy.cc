#include "support/wire_proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <utility>

namespace outseal::test {
namespace {

constexpr int kPoll_ms = 20;  ///< How soon a stop is noticed.

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

int make_socket() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) throw std::runtime_error{"socket failed"};
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

bool send_all(int fd, const char* data, std::size_t size) {
  while (size > 0) {
    const ssize_t sent = ::send(fd, data, size, MSG_NOSIGNAL);
    if (sent <= 0) return false;
    data += sent;
    size -= static_cast<std::size_t>(sent);
  }
  return true;
}

std::size_t length_at(const std::string& bytes, std::size_t at) {
  std::size_t length = 0;
  for (std::size_t i = at; i < at + 4; ++i)
    length = length << 8U | static_cast<unsigned char>(bytes[i]);
  return length;
}

}  // namespace

struct WireProxy::Link {
  int client = -1;
  int server = -1;
  bool started = false;  ///< The start-up message, which has no type, has passed.
  std::string from_client = {};
  std::string from_server = {};
};

int WireProxy::Seen::count(const std::string& tag) const {
  return static_cast<int>(std::count_if(
      tags.begin(), tags.end(), [&](const std::string& each) { return each.starts_with(tag); }));
}

WireProxy::WireProxy(int port) : server_port_{port}, listener_{make_socket()} {
  sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::listen(listener_, 64) != 0 ||
      ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0)
    throw std::runtime_error{"the proxy cannot listen"};
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread{[this] { accept_all(); }};
}

WireProxy::~WireProxy() {
  stop_ = true;
  acceptor_.join();
  for (std::thread& link : links_) link.join();
  ::close(listener_);
}

std::string WireProxy::conninfo() const {
  return " host=127.0.0.1 port=" + std::to_string(port_) + " sslmode=disable gssencmode=disable";
}

WireProxy::Seen WireProxy::take() {
  const std::lock_guard lock{mutex_};
  server_spoke_ = true;
  return std::exchange(seen_, {});
}

void WireProxy::accept_all() {
  while (!stop_) {
    pollfd ready{.fd = listener_, .events = POLLIN, .revents = 0};
    if (::poll(&ready, 1, kPoll_ms) <= 0) continue;
    Link link{.client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC)};
    const int on = 1;
    ::setsockopt(link.client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    link.server = make_socket();
    const sockaddr_in address = loopback(server_port_);
    if (::connect(link.server, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      ::close(link.client);
      ::close(link.server);
      continue;
    }
    links_.emplace_back([this, link]() mutable { forward(link); });
  }
}

void WireProxy::forward(Link& link) {
  for (bool open = true; open && !stop_;) {
    std::array<pollfd, 2> ready{pollfd{link.client, POLLIN, 0}, pollfd{link.server, POLLIN, 0}};
    if (::poll(ready.data(), ready.size(), kPoll_ms) <= 0) continue;
    if (ready[0].revents != 0) open = pass(link, true);
    if (open && ready[1].revents != 0) open = pass(link, false);
  }
  ::close(link.client);
  ::close(link.server);
}

/// Passes on what has arrived as far as its messages are complete; false to cut the connection, and
/// nothing of it is passed on.
bool WireProxy::pass(Link& link, bool from_client) {
  std::array<char, 65536> chunk;
  const ssize_t got =
      ::recv(from_client ? link.client : link.server, chunk.data(), chunk.size(), 0);
  if (got <= 0) return false;
  std::string& bytes = from_client ? link.from_client : link.from_server;
  bytes.append(chunk.data(), static_cast<std::size_t>(got));
  std::size_t complete = 0;
  for (;;) {
    const std::size_t head = from_client && !link.started ? 0 : 1;
    if (bytes.size() < complete + head + 4) break;
    const std::size_t size = head + length_at(bytes, complete + head);
    if (bytes.size() < complete + size) break;
    if (head == 0) {
      link.started = true;
    } else {
      const char type = bytes[complete];
      const std::string body = bytes.substr(complete + 5, size - 5);
      if (!(from_client ? note_from_client(type, body) : note_from_server(type, body)))
        return false;
    }
    complete += size;
  }
  if (!send_all(from_client ? link.server : link.client, bytes.data(), complete)) return false;
  bytes.erase(0, complete);
  return true;
}

// Source: PostgreSQL docs, "Message Formats".
bool WireProxy::note_from_client(char type, const std::string& body) {
  const bool is_text = type == 'Q' || type == 'P';
  const bool is_end = type == 'Q' || type == 'S';
  if ((is_text && body.find("COMMIT") != std::string::npos && cut_ == Cut::before_commit) ||
      (is_end && cut_ == Cut::before_sync)) {
    cut_ = Cut::never;
    return false;
  }
  const std::lock_guard lock{mutex_};
  if (type != 'X' && std::exchange(server_spoke_, false)) ++seen_.round_trips;
  if (type == 'Q' || type == 'S') ++seen_.syncs;
  return true;
}

bool WireProxy::note_from_server(char type, const std::string& body) {
  const std::string tag = type == 'C' ? body.substr(0, body.find('\0')) : "";
  if ((tag == "COMMIT" && cut_ == Cut::after_commit) || (type == 'Z' && cut_ == Cut::after_sync)) {
    cut_ = Cut::never;
    return false;
  }
  const std::lock_guard lock{mutex_};
  server_spoke_ = true;
  if (type == 'C') seen_.tags.push_back(tag);
  return true;
}

}  // namespace outseal::test
