// Receivers for the tests of the http: sink: one that answers as told and remembers what it was
// asked, and one that writes raw bytes.
#pragma once

#include <httplib.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "conformance/sink_suite.h"
#include "sinks/http/sink.h"
#include "sinks/registry.h"

namespace outseal::test {

/// What a receiver was asked, as far as tests look at it.
struct Asked {
  std::string path;
  std::string target;  ///< Path and query as they came.
  httplib::Headers headers;
  std::string body;

  std::string header(const std::string& name) const {
    const auto found = headers.find(name);
    return found == headers.end() ? "(none)" : found->second;
  }
  std::uint64_t position() const { return std::stoull(header("outseal-position")); }
};

/// A server on a free port of 127.0.0.1. Outlives the sinks that talk to it: idle connections would
/// keep its threads.
class HttpReceiver {
 public:
  using Answer = std::function<void(const httplib::Request&, httplib::Response&)>;

  /// Answers 200.
  HttpReceiver();
  /// `answer` is called by many threads.
  explicit HttpReceiver(Answer answer,
                        std::unique_ptr<httplib::Server> server = make_plain_server());
  ~HttpReceiver();
  HttpReceiver(const HttpReceiver&) = delete;
  HttpReceiver& operator=(const HttpReceiver&) = delete;

  static std::unique_ptr<httplib::Server> make_plain_server();

  int port() const { return port_; }
  std::string url(const std::string& parameters = "") const {
    return "http://127.0.0.1:" + std::to_string(port_) + "/hook" + parameters;
  }
  /// In the order in which they came in.
  std::vector<Asked> asked() const;

 private:
  const Answer answer_;
  std::unique_ptr<httplib::Server> server_;
  int port_ = 0;
  mutable std::mutex mutex_;
  std::vector<Asked> asked_;  // Guarded by mutex_.
  std::thread thread_;
};

/// Answers each connection with bytes that it is told, once the header of a request is there.
class RawReceiver {
 public:
  enum class Then { close, hold };
  RawReceiver(std::string bytes, Then then);
  ~RawReceiver();
  RawReceiver(const RawReceiver&) = delete;
  RawReceiver& operator=(const RawReceiver&) = delete;

  std::string url(const std::string& parameters = "") const {
    return "http://127.0.0.1:" + std::to_string(port_) + "/hook" + parameters;
  }
  std::size_t connections() const { return connections_; }

  /// From now on.
  void answer(std::string bytes, Then then);
  /// The headers of the requests since then, in the order in which they came in.
  std::vector<std::string> asked() const;

 private:
  void serve();

  mutable std::mutex mutex_;
  std::string bytes_;  // Guarded by mutex_, as the next two.
  Then then_;
  std::vector<std::string> asked_;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<std::size_t> connections_{0};
  std::vector<int> held_;  // By the thread.
  std::thread thread_;
};

std::unique_ptr<Sink> make_http(const std::string& url);

/// Binds one more event to the next position of `batch`.
void append_event(Batch& batch, Sink& sink, const EventId& id, const std::string& key);

/// Events with these keys, bound to the positions after `prior`.
Batch make_keyed_batch(Sink& sink, const Tail& prior, const std::vector<std::string>& keys);

/// Opens a sink on `url` and delivers `count` events of different keys.
DeliveryResult deliver_to(const std::string& url, std::size_t count = 1);

}  // namespace outseal::test
