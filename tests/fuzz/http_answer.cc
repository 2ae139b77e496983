// Answers of a webhook receiver, byte by byte as a server may send them, through libcurl.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <mutex>
#include <string>
#include <thread>

#include "fuzz/fuzz.h"
#include "sinks/http/exchange.h"

using namespace outseal;
using namespace outseal::sinks;
using fuzz::require;

namespace {

/// Answers each connection with the same bytes and closes it.
class Server {
 public:
  Server() {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    require(::bind(listener_, any, length) == 0 && ::listen(listener_, 16) == 0 &&
                ::getsockname(listener_, any, &length) == 0,
            "the server listens");
    port_ = ntohs(address.sin_port);
    std::thread{[this] { serve(); }}.detach();
  }

  int port() const { return port_; }
  /// Before a request; one that is under way may still get the bytes before.
  void answer(std::string_view bytes) {
    const std::lock_guard lock{mutex_};
    bytes_ = bytes;
  }

 private:
  void serve() {
    for (;;) {
      const int peer = ::accept(listener_, nullptr, nullptr);
      char request[4'096];
      std::string asked;
      while (asked.find("\r\n\r\n{}") == std::string::npos) {
        const ssize_t got = ::recv(peer, request, sizeof request, 0);
        if (got <= 0) break;
        asked.append(request, static_cast<std::size_t>(got));
      }
      const std::string bytes = told();
      static_cast<void>(::send(peer, bytes.data(), bytes.size(), MSG_NOSIGNAL));
      ::close(peer);
    }
  }

  std::string told() {
    const std::lock_guard lock{mutex_};
    return bytes_;
  }

  int listener_ = -1;
  int port_ = 0;
  std::mutex mutex_;
  std::string bytes_;  // Guarded by mutex_.
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static auto& server = *new Server;
  static const HttpSinkOptions options{
      .endpoint = "http://127.0.0.1:" + std::to_string(server.port()) + "/",
      .shown = "http://127.0.0.1/",
      .without_prefix = {}};
  const std::string_view bytes = fuzz::text_of(data, size);
  server.answer(bytes);
  const std::string request = "k\r\nwebhook-id: a\r\n\r\n{}";
  HttpExchange exchange{options};
  exchange.start(7, HttpMessage::parse(request));
  HttpAnswers answers;
  while (answers.empty()) answers = exchange.wait();
  require(answers.size() == 1 && answers.front().first == 7, "one request, one answer");
  const HttpAnswer& answer = answers.front().second;
  require(answer.retry_after.count() >= 0 && answer.retry_after <= kRetryAfterMax,
          "a wish in range");
  const HttpVerdict verdict = judge(answer, Position{1}, "receiver", {});
  bool can_succeed = false;
  for (const char* const line : {"HTTP/1.1 2", "HTTP/1.0 2", "HTTP/1.1 409", "HTTP/1.0 409"})
    can_succeed = can_succeed || bytes.find(line) != std::string_view::npos;
  require(verdict.kind != HttpVerdict::Kind::delivered || can_succeed, "only a success is one");
  require(verdict.kind == HttpVerdict::Kind::delivered || !verdict.detail.empty(), "or says why");
  return 0;
}
