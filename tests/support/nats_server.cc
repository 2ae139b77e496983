#include "support/nats_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <utility>

namespace outseal::test {
namespace {

namespace fs = std::filesystem;

std::optional<std::string> find_program() {
  const char* const path = std::getenv("PATH");
  std::istringstream folders{(path != nullptr ? path : "") + std::string{":/usr/sbin"}};
  for (std::string folder; std::getline(folders, folder, ':');)
    if (const fs::path file = fs::path{folder} / "nats-server"; fs::exists(file)) return file;
  return std::nullopt;
}

const std::optional<std::string>& installed_program() {
  static const std::optional<std::string> program = find_program();
  return program;
}

/// A connection to a server, without any client library: enough to see whether it is there.
class Wire {
 public:
  explicit Wire(int port) : socket_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)} {
    const timeval patience{.tv_sec = 1, .tv_usec = 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  ~Wire() { ::close(socket_); }
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;

  void send(const std::string& text) const {
    ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
  }
  /// Reads until `text` has come; false if it does not come soon.
  bool receive(const std::string& text) {
    while (connected_ && received_.find(text) == std::string::npos) {
      char buffer[4096];
      const ssize_t count = ::recv(socket_, buffer, sizeof buffer, 0);
      if (count <= 0) return false;
      received_.append(buffer, static_cast<std::size_t>(count));
    }
    return connected_;
  }

 private:
  int socket_;
  bool connected_ = false;
  std::string received_;
};

/// It listens to clients only once its streams are recovered.
bool greets(int port) { return Wire{port}.receive("INFO {"); }

bool cluster_answers(int port) {
  Wire wire{port};
  if (!wire.receive("INFO {")) return false;
  wire.send("CONNECT {\"verbose\":false}\r\nSUB answer 1\r\nPUB $JS.API.INFO answer 0\r\n\r\n");
  return wire.receive("account_info_response");
}

}  // namespace

bool skipped_without_nats() {
  if (installed_program()) return false;
  std::cout << "SKIPPED: nats-server is not installed (apt install nats-server)" << std::endl;
  return true;
}

NatsServer::NatsServer(NatsOptions options) : options_{std::move(options)} { start(); }

void NatsServer::start() {
  if (!installed_program())
    throw std::runtime_error{"nats-server is not installed (apt install nats-server)"};
  if (is_running()) throw std::runtime_error{"the server runs already"};
  const std::string config = folder_->file("server.conf");
  const auto launch_on = [&](int port) {
    std::ofstream file{config};
    file << "server_name: " << options_.name << "\nlisten: \"127.0.0.1:" << port
         << "\"\njetstream { store_dir: \"" << store().string() << "\" }\n";
    for (const std::string& setting : options_.settings) file << setting << '\n';
    return Launch{.arguments = {*installed_program(), "-c", config},
                  .folder = folder().string(),
                  .log = log()};
  };
  Served served = serve(port_, launch_on, greets);
  port_ = served.port;
  program_ = std::move(served.program);
}

void NatsServer::stop() {
  if (!is_running()) throw std::runtime_error{"the server does not run"};
  program_->send(SIGTERM);
  if (!program_->wait_for_end())
    throw std::runtime_error{"the server does not stop:\n" + end_of_log(log())};
}

void NatsServer::kill_hard() {
  if (!is_running()) return;
  program_->send(SIGKILL);
  program_->wait();
}

void NatsServer::restart() {
  stop();
  start();
}

NatsCluster::NatsCluster(const std::vector<std::string>& settings) {
  std::vector<std::string> routes;
  for (std::size_t i = 0; i < kNodes; ++i)
    routes.push_back("127.0.0.1:" + std::to_string(free_port()));
  for (std::size_t i = 0; i < kNodes; ++i) {
    NatsOptions options{.settings = settings, .name = "node" + std::to_string(i)};
    std::string cluster = "cluster { name: test, listen: \"" + routes[i] + "\", routes: [";
    for (const std::string& route : routes) cluster += " \"nats://" + route + "\",";
    options.settings.push_back(cluster + " ] }");
    nodes_.push_back(std::make_unique<NatsServer>(std::move(options)));
  }
  wait_for_leader();
}

NatsServer& NatsCluster::node(const std::string& name) {
  for (std::size_t i = 0; i < kNodes; ++i)
    if (name == "node" + std::to_string(i)) return node(i);
  throw std::runtime_error{"no node is called " + name};
}

std::string NatsCluster::url() const {
  std::string url = "nats://";
  for (const auto& node : nodes_) url += (node == nodes_.front() ? "" : ",") + node->address();
  return url;
}

void NatsCluster::wait_for_leader() const {
  wait_until("the NATS cluster to have a leader", [this] {
    for (const auto& node : nodes_)
      if (node->is_running() && cluster_answers(node->port())) return true;
    return false;
  });
}

NatsServer& shared_nats_server() {
  static NatsServer server;
  return server;
}

}  // namespace outseal::test
