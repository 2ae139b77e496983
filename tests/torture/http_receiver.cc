#include "torture/http_receiver.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <stdexcept>

#include "support/paths.h"
#include "support/program.h"
#include "support/secret_file.h"
#include "support/temp_folder.h"

namespace outseal::test {
namespace {

bool is_listening(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int probe = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool connected =
      ::connect(probe, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  ::close(probe);
  return connected;
}

class HttpReceiver final : public SinkServer {
 public:
  explicit HttpReceiver(ReceiverMemory memory) : memory_{memory} {
    write_secret(secrets(), "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n");
    Process migrate{
        {program_path("outseal-migrate"), "up", "--db", "sqlite:" + database()}, {}, log()};
    if (migrate.wait() != Exit{}) throw std::runtime_error{"the receiver's inbox cannot be made"};
    start();
    query("CREATE TRIGGER too_large BEFORE INSERT ON effect WHEN new.bytes > " +
          std::to_string(kSinkEventBytesMax) + " BEGIN SELECT RAISE(ABORT, 'too large'); END");
    proxy_ = std::make_unique<FaultProxy>(port_);
  }

  SinkTraits traits() const override {
    return {.name = memory_ == ReceiverMemory::ids ? "http by id" : "http by position",
            .has_positions = false,
            .has_server = true,
            .can_lose = false,
            .refusal = "answered 422"};
  }

  std::string url() const override {
    return "http://127.0.0.1:" + std::to_string(proxy_->port()) +
           "/events?outseal.timeout_ms=5000&outseal.stall_timeout_ms=3000"
           "&outseal.connect_timeout_ms=3000&outseal.in_flight=" +
           (memory_ == ReceiverMemory::ids ? "16" : "1") + "&outseal.secrets_file=" + secrets();
  }
  FaultProxy* proxy() override { return proxy_.get(); }

  void kill() override {
    program_->send(SIGKILL);
    program_->wait();
  }
  void start() override {
    const auto launch_on = [&](int port) {
      Launch launch{.arguments = {program_path("webhook_receiver"), database(),
                                  std::to_string(port), secrets()},
                    .folder = folder_.path().string(),
                    .log = log()};
      if (memory_ == ReceiverMemory::positions) launch.arguments.emplace_back("--by-position");
      return launch;
    };
    Served served = serve(port_, launch_on, is_listening);
    port_ = served.port;
    program_ = std::move(served.program);
  }
  void freeze() override { program_->freeze(); }
  void thaw() override { program_->send(SIGCONT); }

  std::vector<StoredEvent> stored() override {
    std::vector<StoredEvent> events;
    query("SELECT n, event_id, subject FROM effect ORDER BY n", [&](sqlite3_stmt* row) {
      const auto text = [row](int column) {
        return reinterpret_cast<const char*>(sqlite3_column_text(row, column));
      };
      events.push_back({Position{static_cast<std::uint64_t>(sqlite3_column_int64(row, 0))},
                        EventId::parse(text(1)).value_or(EventId{}), text(2)});
    });
    return events;
  }

  void lift_limit() override { query("DROP TRIGGER too_large"); }

 private:
  void query(
      const std::string& sql,
      const std::function<void(sqlite3_stmt*)>& take = [](sqlite3_stmt*) {}) {
    sqlite3* database = nullptr;
    sqlite3_stmt* statement = nullptr;
    int status = sqlite3_open(this->database().c_str(), &database);
    sqlite3_busy_timeout(database, 20'000);
    if (status == SQLITE_OK)
      status = sqlite3_prepare_v2(database, sql.c_str(), -1, &statement, nullptr);
    while (status == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW) take(statement);
    if (status == SQLITE_OK) status = sqlite3_finalize(statement);
    const std::string message = sqlite3_errmsg(database);
    sqlite3_close(database);
    if (status != SQLITE_OK) throw std::runtime_error{sql + ": " + message};
  }

  std::string database() const { return folder_.file("receiver.db"); }
  std::string secrets() const { return folder_.file("secrets.txt"); }
  std::string log() const { return folder_.file("receiver.log"); }

  TempFolder folder_;
  ReceiverMemory memory_;
  int port_ = 0;
  std::unique_ptr<Program> program_;
  std::unique_ptr<FaultProxy> proxy_;
};

}  // namespace

std::unique_ptr<SinkServer> make_http_receiver(ReceiverMemory memory) {
  return std::make_unique<HttpReceiver>(memory);
}

}  // namespace outseal::test
