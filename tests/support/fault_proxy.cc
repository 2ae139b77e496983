#include "support/fault_proxy.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <deque>
#include <stdexcept>
#include <string>
#include <utility>

#include "support/program.h"

namespace outseal::test {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kHeldBytesMax = 1U << 20U;  ///< Then a sender has to wait, as with TCP.

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

void set_no_delay(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/// @returns -1 if somebody else has the port.
int try_to_listen(int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) throw std::runtime_error{"socket failed"};
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const sockaddr_in address = loopback(port);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
      ::listen(fd, 128) == 0)
    return fd;
  ::close(fd);
  return -1;
}

int connect_to(int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) throw std::runtime_error{"socket failed"};
  set_no_delay(fd);
  const sockaddr_in address = loopback(port);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ||
      errno == EINPROGRESS)
    return fd;
  ::close(fd);
  return -1;
}

/// Ends it at once. close() alone would not while the other thread polls it: poll() holds on to it.
void shut(int fd) {
  ::shutdown(fd, SHUT_RDWR);
  ::close(fd);
}

std::size_t index_of(FaultProxy::Way way) { return way == FaultProxy::Way::to_server ? 0 : 1; }

}  // namespace

/// One connection, with a socket at each side. Of each direction: what is on its way.
struct FaultProxy::Link {
  struct Chunk {
    Clock::time_point due;
    std::string bytes;
  };
  struct Direction {
    std::deque<Chunk> chunks = {};
    std::size_t held = 0;
    bool ended = false;      ///< Its sender will say nothing more.
    bool end_told = false;   ///< And its receiver knows.
    bool reset_due = false;  ///< The connection ends once the chunks have been passed on.
  };

  int client = -1;
  int server = -1;
  bool has_gap = false;
  bool is_over = false;
  Direction directions[2] = {};

  int source(Way way) const { return way == Way::to_server ? client : server; }
  int target(Way way) const { return way == Way::to_server ? server : client; }
};

FaultProxy::FaultProxy(int server_port) : server_port_{server_port} {
  // Not one of the ports of outgoing connections, so that it is still free after refuse().
  for (int tries = 0; listener_ < 0 && tries < 100; ++tries) {
    port_ = free_port();
    listener_ = try_to_listen(port_);
  }
  wake_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (listener_ < 0 || wake_ < 0) throw std::runtime_error{"the proxy cannot listen"};
  thread_ = std::thread{[this] { run(); }};
}

FaultProxy::~FaultProxy() {
  {
    const std::lock_guard lock{mutex_};
    stop_ = true;
  }
  wake();
  thread_.join();
  for (Link& link : links_) end(link);
  if (listener_ >= 0) ::close(listener_);
  ::close(wake_);
}

// --- What tests ask for --------------------------------------------------------------------------

void FaultProxy::cut_after(Way way, std::uint64_t bytes) {
  const std::lock_guard lock{mutex_};
  cut_in_[index_of(way)] = bytes;
}

void FaultProxy::cut() {
  const std::lock_guard lock{mutex_};
  for (Link& link : links_) {
    ++seen_.cuts;
    end(link);
  }
  links_.clear();
}

void FaultProxy::drop_replies() { change(Fault::drop_replies); }

void FaultProxy::black_hole() { change(Fault::black_hole); }

void FaultProxy::delay(milliseconds time) {
  const std::lock_guard lock{mutex_};
  delay_ = time;
}

void FaultProxy::refuse() {
  cut();
  change(Fault::refuse);
}

void FaultProxy::heal() {
  {
    const std::lock_guard lock{mutex_};
    delay_ = milliseconds{0};
    cut_in_[0].reset();
    cut_in_[1].reset();
    for (Link& link : links_) {
      if (!link.has_gap) continue;
      ++seen_.cuts;
      end(link);
    }
    std::erase_if(links_, [](const Link& link) { return link.is_over; });
  }
  change(Fault::none);
}

FaultProxy::Seen FaultProxy::seen() const {
  const std::lock_guard lock{mutex_};
  Seen seen = seen_;
  for (const Link& link : links_) seen.bytes_held += link.directions[0].held;
  return seen;
}

void FaultProxy::change(Fault fault) {
  {
    const std::lock_guard lock{mutex_};
    fault_ = fault;
    if (fault == Fault::refuse && listener_ >= 0) {
      shut(listener_);
      listener_ = -1;
    }
    // Somebody may look at the port for a moment while searching for a free one.
    for (int tries = 0; fault != Fault::refuse && listener_ < 0 && tries < 200; ++tries) {
      listener_ = try_to_listen(port_);
      if (listener_ < 0) std::this_thread::sleep_for(milliseconds{10});
    }
    if (fault != Fault::refuse && listener_ < 0)
      throw std::runtime_error{"the proxy's port is taken"};
  }
  wake();
}

void FaultProxy::wake() const {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_, &one, sizeof one);
}

// --- The thread that carries bytes ---------------------------------------------------------------

void FaultProxy::run() {
  for (;;) {
    wait_for_work();
    const std::lock_guard lock{mutex_};
    if (stop_) return;
    serve();
  }
}

/// Waits for bytes, room for bytes, the time of delayed bytes or a change of the faults.
void FaultProxy::wait_for_work() {
  std::vector<pollfd> fds;
  milliseconds patience{1'000};
  {
    const std::lock_guard lock{mutex_};
    fds.push_back({wake_, POLLIN, 0});
    fds.push_back({listener_, POLLIN, 0});
    const Clock::time_point now = Clock::now();
    for (const Link& link : links_) {
      std::array<short, 2> wanted{0, 0};  // Of the client's socket, of the server's.
      for (const Way way : {Way::to_server, Way::to_client}) {
        const Link::Direction& direction = link.directions[index_of(way)];
        if (fault_ == Fault::black_hole) continue;
        if (!direction.ended && direction.held < kHeldBytesMax)
          wanted[index_of(way)] = static_cast<short>(wanted[index_of(way)] | POLLIN);
        if (direction.chunks.empty()) continue;
        const auto left = std::chrono::ceil<milliseconds>(direction.chunks.front().due - now);
        patience = std::clamp(left, milliseconds{0}, patience);
        if (left <= milliseconds{0})
          wanted[1 - index_of(way)] = static_cast<short>(wanted[1 - index_of(way)] | POLLOUT);
      }
      // Without a wish no poll at all: the end of a connection would be reported again and again.
      fds.push_back({wanted[0] != 0 ? link.client : -1, wanted[0], 0});
      fds.push_back({wanted[1] != 0 ? link.server : -1, wanted[1], 0});
    }
  }
  ::poll(fds.data(), fds.size(), static_cast<int>(std::max(patience, milliseconds{1}).count()));
  std::uint64_t ignored = 0;
  [[maybe_unused]] const ssize_t got = ::read(wake_, &ignored, sizeof ignored);
}

/// Sockets do not block, so all of them are simply tried.
void FaultProxy::serve() {
  if (listener_ >= 0) accept_waiting();
  if (fault_ != Fault::black_hole) serve_open_links();
  std::erase_if(links_, [](const Link& link) { return link.is_over; });
}

void FaultProxy::serve_open_links() {
  for (Link& link : links_) {
    for (const Way way : {Way::to_server, Way::to_client})
      if (!link.is_over) carry(link, way);
    if (!link.is_over && link.directions[0].end_told && link.directions[1].end_told) end(link);
  }
}

void FaultProxy::accept_waiting() {
  for (;;) {
    const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (client < 0) return;
    ++seen_.connections;
    set_no_delay(client);
    const int server = connect_to(server_port_);
    if (server < 0) {
      ::close(client);
      continue;
    }
    links_.emplace_back();
    links_.back().client = client;
    links_.back().server = server;
  }
}

void FaultProxy::carry(Link& link, Way way) {
  take_in(link, way);
  if (!link.is_over) pass_on(link, way);
}

void FaultProxy::take_in(Link& link, Way way) {
  Link::Direction& direction = link.directions[index_of(way)];
  std::array<char, 65536> buffer;
  while (!direction.ended && direction.held < kHeldBytesMax) {
    const ssize_t got = ::recv(link.source(way), buffer.data(), buffer.size(), 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOTCONN)) return;
    if (got <= 0) {
      direction.ended = true;
      direction.reset_due = got < 0;
      return;
    }
    std::size_t count = static_cast<std::size_t>(got);
    if (std::optional<std::uint64_t>& left = cut_in_[index_of(way)]) {
      if (*left <= count) {
        count = static_cast<std::size_t>(*left);
        direction.ended = direction.reset_due = true;
        left.reset();
        ++seen_.cuts;
      } else {
        *left -= count;
      }
    }
    if (way == Way::to_client && fault_ == Fault::drop_replies) {
      link.has_gap = true;
      seen_.bytes_dropped += count;
      continue;
    }
    if (count > 0)
      direction.chunks.push_back({Clock::now() + delay_, std::string(buffer.data(), count)});
    direction.held += count;
  }
}

void FaultProxy::pass_on(Link& link, Way way) {
  Link::Direction& direction = link.directions[index_of(way)];
  std::uint64_t& total = way == Way::to_server ? seen_.bytes_to_server : seen_.bytes_to_client;
  while (!direction.chunks.empty() && direction.chunks.front().due <= Clock::now()) {
    std::string& bytes = direction.chunks.front().bytes;
    const ssize_t sent = ::send(link.target(way), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOTCONN)) return;
    if (sent <= 0) return end(link);
    total += static_cast<std::uint64_t>(sent);
    direction.held -= static_cast<std::size_t>(sent);
    bytes.erase(0, static_cast<std::size_t>(sent));
    if (bytes.empty()) direction.chunks.pop_front();
  }
  if (!direction.ended || direction.end_told || !direction.chunks.empty()) return;
  if (direction.reset_due) return end(link);
  ::shutdown(link.target(way), SHUT_WR);
  direction.end_told = true;
}

void FaultProxy::end(Link& link) {
  if (std::exchange(link.is_over, true)) return;
  shut(link.client);
  shut(link.server);
}

}  // namespace outseal::test
