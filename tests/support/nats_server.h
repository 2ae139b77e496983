// Real NATS servers with JetStream for tests: each in a temporary folder, on 127.0.0.1 and a free
// port.
#pragma once

#include <signal.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "support/program.h"
#include "support/temp_folder.h"

namespace outseal::test {

/// True, and says so loudly, if a test has to be left out because nats-server is not installed:
/// `if (skipped_without_nats()) return;`
bool skipped_without_nats();

struct NatsOptions {
  /// Lines for the server's configuration file, for example "max_payload: 4096". A file of the
  /// server's folder is named by its whole path, see NatsServer::folder().
  std::vector<std::string> settings = {};
  std::string name = "test";
};

/// A server of its own with streams on disk, started by the constructor, gone with the destructor.
/// If the test process is killed, the server stops by itself; its folder stays.
///
/// Everything throws std::runtime_error, with the end of the server's log if it can help.
/// Threads: Not thread-safe; one thread at a time. Const members may be called from any thread.
class NatsServer {
 public:
  explicit NatsServer(NatsOptions options = {});
  NatsServer(const NatsServer&) = delete;
  NatsServer& operator=(const NatsServer&) = delete;

  /// The port and the store stay the same for the life of the object.
  void start();
  /// SIGTERM: shuts down in order.
  void stop();
  /// SIGKILL.
  void kill_hard();
  /// stop() and start().
  void restart();
  /// SIGSTOP: connections stay open, nothing is answered.
  void freeze() { program_->freeze(); }
  /// SIGCONT.
  void thaw() { program_->send(SIGCONT); }
  bool is_running() { return program_ && program_->is_running(); }

  int port() const { return port_; }
  const std::filesystem::path& folder() const { return folder_->path(); }
  /// Where the streams are; the files may be changed while the server is down.
  std::filesystem::path store() const { return folder_->path() / "store"; }
  std::string log() const { return folder_->file("server.log"); }
  /// nats://127.0.0.1:PORT
  std::string url() const { return "nats://" + address(); }
  /// 127.0.0.1:PORT
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  /// For the next start.
  void set_options(NatsOptions options) { options_ = std::move(options); }

 private:
  std::unique_ptr<TempFolder> folder_ = std::make_unique<TempFolder>();
  NatsOptions options_;
  int port_ = 0;
  std::unique_ptr<Program> program_;
};

/// Three servers that hold streams together. All of them run and have a leader when the constructor
/// returns. A stream has a leader of its own: see nats_client.h.
class NatsCluster {
 public:
  explicit NatsCluster(const std::vector<std::string>& settings = {});

  static constexpr std::size_t kNodes = 3;
  /// Their names are node0 to node2.
  NatsServer& node(std::size_t index) { return *nodes_.at(index); }
  NatsServer& node(const std::string& name);
  /// nats://HOST:PORT,HOST:PORT,HOST:PORT
  std::string url() const;

  /// Waits until the cluster answers questions about streams.
  void wait_for_leader() const;

 private:
  std::vector<std::unique_ptr<NatsServer>> nodes_;
};

/// The server that the test cases of a process share, each with streams of its own. It starts at
/// the first call and ends with the process.
NatsServer& shared_nats_server();

}  // namespace outseal::test
