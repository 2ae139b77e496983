// A bad network between a client and a server of any protocol: cuts, swallows, delays, stalls,
// refuses.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace outseal::test {

/// Forwards connections on its own port of 127.0.0.1 to 127.0.0.1:`server_port`.
///
/// Every fault may be switched on at any time, also for connections that are open. They last until
/// heal(), except cuts, which happen once. The server may go and come back on its port.
///
/// Throws std::runtime_error if it cannot listen.
/// Threads: Thread-safe.
class FaultProxy {
 public:
  explicit FaultProxy(int server_port);
  ~FaultProxy();
  FaultProxy(const FaultProxy&) = delete;
  FaultProxy& operator=(const FaultProxy&) = delete;

  int port() const { return port_; }

  enum class Way { to_server, to_client };
  /// Passes on `bytes` more in this direction, over all connections, and then cuts the one that
  /// carried the last of them. The other end sees them before the end of the connection.
  void cut_after(Way way, std::uint64_t bytes);
  /// Cuts every connection that is open now.
  void cut();
  /// What servers answer gets lost; what clients say arrives. heal() cuts the connections of which
  /// something is missing.
  void drop_replies();
  /// Every byte is this much later, both ways.
  void delay(std::chrono::milliseconds time);
  /// Accepts connections and forwards nothing. heal() forwards what was said meanwhile, even if
  /// who said it has gone: like packets that were on their way.
  void black_hole();
  /// Cuts every connection and does not listen any more.
  void refuse();
  void heal();

  struct Seen {
    std::uint64_t connections = 0;
    std::uint64_t cuts = 0;  ///< Connections that a fault of ours ended.
    std::uint64_t bytes_to_server = 0;
    std::uint64_t bytes_to_client = 0;
    std::uint64_t bytes_dropped = 0;
    std::uint64_t bytes_held = 0;  ///< Now, on their way to the server because of a delay.
  };
  Seen seen() const;

 private:
  struct Link;
  enum class Fault { none, drop_replies, black_hole, refuse };
  using Clock = std::chrono::steady_clock;

  void change(Fault fault);
  void wake() const;
  void run();
  void wait_for_work();
  void serve();
  void serve_open_links();
  void accept_waiting();
  void carry(Link& link, Way way);
  void take_in(Link& link, Way way);
  void pass_on(Link& link, Way way);
  void end(Link& link);

  int server_port_;
  int port_ = 0;
  int wake_ = -1;
  mutable std::mutex mutex_;  ///< Guards all below.
  int listener_ = -1;
  bool stop_ = false;
  Fault fault_ = Fault::none;
  std::chrono::milliseconds delay_{0};
  std::optional<std::uint64_t> cut_in_[2];  ///< By Way: bytes until the cut.
  Seen seen_;
  std::list<Link> links_;
  std::thread thread_;
};

}  // namespace outseal::test
