// Stands between a client and a PostgreSQL server: counts what goes over the wire, and cuts it.
#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace outseal::test {

/// Forwards connections to 127.0.0.1:`port`, message by message. Clients must not ask for TLS or
/// GSS: conninfo() says so.
///
/// Throws std::runtime_error if it cannot listen or connect.
/// Threads: Thread-safe. Counts are of all connections together, so count with one client.
class WireProxy {
 public:
  explicit WireProxy(int port);
  ~WireProxy();
  WireProxy(const WireProxy&) = delete;
  WireProxy& operator=(const WireProxy&) = delete;

  int port() const { return port_; }
  /// What to add to a server's conninfo to come through here instead.
  std::string conninfo() const;

  struct Seen {
    int round_trips = 0;            ///< Times that the client spoke after the server had.
    int syncs = 0;                  ///< Ends of a query or pipeline: messages Query and Sync.
    std::vector<std::string> tags;  ///< What the server said it did, for example "INSERT 0 50".
    /// How many of the tags begin like this.
    int count(const std::string& tag) const;
  };
  /// What went over the wire since the last call.
  Seen take();

  /// When to cut the connection that commits next. What arrived together with the message is lost
  /// with it, as with a packet.
  enum class Cut {
    never,
    before_commit,  ///< The server does not get to see COMMIT.
    after_commit,   ///< The client does not get to see the answer to it.
    before_sync,    ///< The same of the next statement, whatever it is: the server does not see it.
    after_sync,     ///< The client does not get to see that it is done.
  };
  void cut(Cut when) { cut_ = when; }

 private:
  struct Link;
  void accept_all();
  void forward(Link& link);
  bool pass(Link& link, bool from_client);
  bool note_from_client(char type, const std::string& body);
  bool note_from_server(char type, const std::string& body);

  int server_port_;
  int port_ = 0;
  int listener_ = -1;
  std::atomic<bool> stop_{false};
  std::atomic<Cut> cut_{Cut::never};
  std::mutex mutex_;
  Seen seen_;                 ///< Guarded by mutex_.
  bool server_spoke_ = true;  ///< Guarded by mutex_.
  std::list<std::thread> links_;
  std::thread acceptor_;
};

}  // namespace outseal::test
