// A plain NATS client for tests: makes streams, looks at them, and writes to them as a stranger.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace outseal::test {

/// Everything throws std::runtime_error.
/// Threads: Not thread-safe; one thread at a time.
class NatsClient {
 public:
  /// Any URL of the client library, for example NatsServer::url().
  explicit NatsClient(const std::string& url);
  ~NatsClient();

  /// Sends a request of the JetStream API, for example "STREAM.PURGE.EVENTS".
  /// @returns the reply, a JSON text.
  std::string ask(const std::string& what, const std::string& body = {}) const;

  /// On disk, with the subjects "NAME.>", unless `settings`, a JSON object, says otherwise.
  void create_stream(const std::string& name, const std::string& settings = "{}") const;
  void delete_stream(const std::string& name) const { ask("STREAM.DELETE." + name); }
  void purge_stream(const std::string& name) const { ask("STREAM.PURGE." + name); }

  struct State {
    std::uint64_t messages = 0;
    std::uint64_t last_sequence = 0;
    std::string leader = {};  ///< The name of its server; empty if it has none or is not clustered.
    std::vector<std::string> followers = {};  ///< The servers that have all that the leader has.
  };
  State state_of(const std::string& stream) const;

  /// The headers with which a message is stored.
  std::map<std::string, std::string> headers_of(const std::string& stream,
                                                std::uint64_t sequence) const;

  /// Publishes a message and waits for the stream's acknowledgement.
  /// @returns its sequence.
  std::uint64_t publish(const std::string& subject, const std::string& payload,
                        const std::map<std::string, std::string>& headers = {}) const;

 private:
  struct Connection;
  std::unique_ptr<Connection> connection_;
};

}  // namespace outseal::test
