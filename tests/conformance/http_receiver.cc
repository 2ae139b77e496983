#include "conformance/http_receiver.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <stdexcept>

#include "base/hash.h"
#include "base/url.h"

namespace outseal::test {

HttpReceiver::HttpReceiver()
    : HttpReceiver{
          [](const httplib::Request&, httplib::Response& response) { response.status = 200; }} {}

HttpReceiver::HttpReceiver(Answer answer, std::unique_ptr<httplib::Server> server)
    : answer_{std::move(answer)}, server_{std::move(server)} {
  server_->new_task_queue = [] { return new httplib::ThreadPool{32}; };
  server_->set_tcp_nodelay(true);
  server_->set_keep_alive_max_count(1'000'000);
  server_->set_keep_alive_timeout(1);
  server_->Post(".*", [this](const httplib::Request& request, httplib::Response& response) {
    {
      const std::lock_guard lock{mutex_};
      asked_.push_back({request.path, request.target, request.headers, request.body});
    }
    answer_(request, response);
  });
  port_ = server_->bind_to_any_port("127.0.0.1");
  if (port_ <= 0) throw std::runtime_error{"the test's receiver cannot listen"};
  thread_ = std::thread{[this] { server_->listen_after_bind(); }};
  while (!server_->is_running()) std::this_thread::yield();
}

HttpReceiver::~HttpReceiver() {
  server_->stop();
  thread_.join();
}

std::unique_ptr<httplib::Server> HttpReceiver::make_plain_server() {
  return std::make_unique<httplib::Server>();
}

std::vector<Asked> HttpReceiver::asked() const {
  const std::lock_guard lock{mutex_};
  return asked_;
}

RawReceiver::RawReceiver(std::string bytes, Then then) : bytes_{std::move(bytes)}, then_{then} {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* place = reinterpret_cast<sockaddr*>(&address);
  if (::bind(listener_, place, length) != 0 || ::listen(listener_, 64) != 0 ||
      ::getsockname(listener_, place, &length) != 0)
    throw std::runtime_error{"the test's receiver cannot listen"};
  port_ = ntohs(address.sin_port);
  thread_ = std::thread{[this] { serve(); }};
}

RawReceiver::~RawReceiver() {
  ::shutdown(listener_, SHUT_RDWR);
  thread_.join();
  for (const int connection : held_) ::close(connection);
  ::close(listener_);
}

void RawReceiver::answer(std::string bytes, Then then) {
  const std::lock_guard lock{mutex_};
  bytes_ = std::move(bytes);
  then_ = then;
  asked_.clear();
}

std::vector<std::string> RawReceiver::asked() const {
  const std::lock_guard lock{mutex_};
  return asked_;
}

void RawReceiver::serve() {
  for (int connection = 0; (connection = ::accept(listener_, nullptr, nullptr)) >= 0;) {
    ++connections_;
    std::string request;
    char buffer[4'096];
    while (request.find("\r\n\r\n") == std::string::npos) {
      const ssize_t got = ::recv(connection, buffer, sizeof buffer, 0);
      if (got <= 0) break;
      request.append(buffer, static_cast<std::size_t>(got));
    }
    std::unique_lock lock{mutex_};
    const std::string bytes = bytes_;
    const Then then = then_;
    asked_.push_back(std::move(request));
    lock.unlock();
    static_cast<void>(::send(connection, bytes.data(), bytes.size(), MSG_NOSIGNAL));
    if (then == Then::hold) {
      held_.push_back(connection);
      continue;
    }
    // What was not read would turn the end of the connection into a reset.
    ::shutdown(connection, SHUT_WR);
    while (::recv(connection, buffer, sizeof buffer, 0) > 0) continue;
    ::close(connection);
  }
}

std::unique_ptr<Sink> make_http(const std::string& url) {
  return sinks::make_sink(Url::parse("--sink", url), {"/outseal/test", "/outseal/test#hooks"});
}

void append_event(Batch& batch, Sink& sink, const EventId& id, const std::string& key) {
  const Position position = advance(batch.first, batch.size());
  EventRow row;
  row.seq = Seq{static_cast<std::int64_t>(position.value())};
  row.id = id;
  row.topic = "orders";
  row.key = key;
  row.type = "order.paid";
  row.headers = "{}";
  row.payload = "{}";
  row.content_type = "application/json";
  row.created_at_ms = 1'700'000'000'000;
  if (sink.encode(row, position, batch.bytes)) throw std::runtime_error{"encode refused"};
  batch.entries.push_back({row.seq, row.id, batch.bytes.size()});
  batch.hash = sha256(batch.bytes);
}

Batch make_keyed_batch(Sink& sink, const Tail& prior, const std::vector<std::string>& keys) {
  Batch batch;
  batch.first = advance(prior.position);
  batch.prior = prior;
  for (const std::string& key : keys)
    append_event(batch, sink, event_id_at(advance(batch.first, batch.size())), key);
  return batch;
}

DeliveryResult deliver_to(const std::string& url, std::size_t count) {
  const auto sink = make_http(url);
  std::vector<std::string> keys;
  for (std::size_t n = 0; n < count; ++n) keys.push_back("key-" + std::to_string(n));
  static_cast<void>(sink->open());
  auto result = sink->deliver(make_keyed_batch(*sink, {}, keys), 0);
  sink->close();
  return result;
}

}  // namespace outseal::test
