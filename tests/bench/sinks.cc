// What the relay reaches into each network sink, against a plain client of that sink that sends the
// same events in the same run; and how soon an event is there.
#include <httplib.h>
#include <nats/nats.h>
#include <sys/socket.h>

#include <atomic>
#include <cstdio>
#include <functional>
#include <memory>
#include <stdexcept>

#include "bench/bench.h"
#include "bench/pg_relay.h"
#include "bench/pg_stage.h"
#include "outseal/ids.h"
#include "sql/connection.h"
#include "support/nats_server.h"

namespace outseal::bench {
namespace {

constexpr int kRounds = 3;
/// Events that a plain client sends at once: as many as a batch of the relay has on PostgreSQL.
constexpr int kBatch = 5'000;

/// Compares, round by round, a drain with what `plain` needs for as many events.
void compare(const char* name, const Stage& stage, int events, double aim,
             const std::function<SinkUrl(int round)>& sink,
             const std::function<void(int round)>& plain) {
  std::vector<double> ratios;
  std::vector<double> rates;
  for (int round = 0; round < kRounds; ++round) {
    const Drain drained = drain(stage, sink(round));
    if (drained.events != static_cast<std::uint64_t>(events))
      throw std::runtime_error{"the relay has not published all events"};
    rates.push_back(events / drained.seconds);
    ratios.push_back(seconds([&] { plain(round); }) / drained.seconds);
  }
  std::printf("  %s: %s events/s, %.2f of the plain client%s\n", name, spread(rates).c_str(),
              median(ratios), aim > 0 ? at_least(median(ratios), aim).c_str() : "");
}

void print_latency(const char* name, const SinkUrl& sink, const Size& size) {
  const Latency measured = latency(sink, size.seconds(5));
  std::printf("  %s: commit to acknowledgement p50 %.2f, p95 %.2f, p99 %.2f ms at %.0f events/s\n",
              name, measured.p50, measured.p95, measured.p99, measured.rate);
}

// --- SQL inbox -----------------------------------------------------------------------------------

/// The rows of the inbox, inserted again under another name, in statements of many rows.
class PlainInbox {
 public:
  explicit PlainInbox(const Stage& target)
      : connection_{sql::open(Url::parse("--db", target.url()))} {}

  /// As arrays, which is what a client that inserts many rows at once would send.
  void insert(int round, int events) {
    const std::string stream = "plain" + std::to_string(round);
    for (int first = 0; first < events; first += kBatch) {
      std::vector<std::string> ids;
      std::vector<std::string> payloads;
      std::vector<std::string> keys;
      for (int i = first; i < std::min(events, first + kBatch); ++i) {
        ids.push_back(new_event_id().to_string());
        payloads.push_back(payload(i));
        keys.push_back("k" + std::to_string(i % 1000));
      }
      insert_some(stream, first, ids, keys, payloads);
    }
  }

 private:
  void insert_some(const std::string& stream, int first, const std::vector<std::string>& ids,
                   const std::vector<std::string>& keys, const std::vector<std::string>& payloads) {
    if (insert_ == nullptr)
      insert_ = connection_->prepare(
          "INSERT INTO outseal.inbox_event (stream, position, event_id, topic, key, type,"
          " content_type, headers, payload, created_at, received_at) SELECT $1, $2::bigint +"
          " e.place, e.id::uuid, 'payments', e.key, 'paid', 'application/json', '{}', e.payload,"
          " clock_timestamp(), clock_timestamp() FROM unnest($3::text[], $4::text[], $5::bytea[])"
          " WITH ORDINALITY AS e (id, key, payload, place)");
    const std::vector<std::string_view> some_ids{ids.begin(), ids.end()};
    const std::vector<std::string_view> some_keys{keys.begin(), keys.end()};
    const std::vector<std::string_view> some_payloads{payloads.begin(), payloads.end()};
    const sql::StatementScope use{*insert_};
    use->bind_text(0, stream);
    use->bind(1, first);
    use->bind_texts(2, some_ids);
    use->bind_texts(3, some_keys);
    use->bind_blobs(4, some_payloads);
    use->step();
  }

  std::unique_ptr<sql::Connection> connection_;
  std::unique_ptr<sql::Statement> insert_;
};

// --- NATS ----------------------------------------------------------------------------------------

void check(natsStatus status, const char* what) {
  if (status != NATS_OK)
    throw std::runtime_error{std::string{what} + ": " + natsStatus_GetText(status)};
}

template <typename T, void (*destroy)(T*)>
struct Destroy {
  void operator()(T* object) const { destroy(object); }
};
using Connection = std::unique_ptr<natsConnection, Destroy<natsConnection, natsConnection_Destroy>>;
using JetStream = std::unique_ptr<jsCtx, Destroy<jsCtx, jsCtx_Destroy>>;
using Message = std::unique_ptr<natsMsg, Destroy<natsMsg, natsMsg_Destroy>>;

/// A message as it can be sent again.
struct Sendable {
  std::string subject;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string data;
};

class PlainNats {
 public:
  explicit PlainNats(const test::NatsServer& server) {
    natsConnection* connection = nullptr;
    check(natsConnection_ConnectTo(&connection, server.url().c_str()), "connect");
    connection_.reset(connection);
    jsOptions options;
    jsOptions_Init(&options);
    options.PublishAsync.MaxPending = 4'096;
    jsCtx* context = nullptr;
    check(natsConnection_JetStream(&context, connection, &options), "jetstream");
    context_.reset(context);
  }

  void make_stream(const std::string& name) {
    const std::string subjects = name + ".>";
    const char* list[] = {subjects.c_str()};
    jsStreamConfig config;
    jsStreamConfig_Init(&config);
    config.Name = name.c_str();
    config.Subjects = list;
    config.SubjectsLen = 1;
    config.DenyDelete = config.DenyPurge = true;
    check(js_AddStream(nullptr, context_.get(), &config, nullptr, nullptr), "add stream");
  }

  /// What the relay has sent: the plain client sends the same, headers and all.
  std::vector<Sendable> read(const std::string& stream, int events) {
    natsSubscription* subscription = nullptr;
    jsSubOptions options;
    jsSubOptions_Init(&options);
    options.Ordered = true;
    options.Stream = stream.c_str();
    check(js_SubscribeSync(&subscription, context_.get(), (stream + ".>").c_str(), nullptr,
                           &options, nullptr),
          "subscribe");
    const std::unique_ptr<natsSubscription, Destroy<natsSubscription, natsSubscription_Destroy>>
        owner{subscription};
    std::vector<Sendable> messages;
    for (int i = 0; i < events; ++i) {
      natsMsg* next = nullptr;
      check(natsSubscription_NextMsg(&next, subscription, 5'000), "read back");
      const Message message{next};
      messages.push_back(take(message.get()));
    }
    return messages;
  }

  void publish(const std::string& from, const std::string& to, std::vector<Sendable>& messages) {
    for (Sendable& sendable : messages) {
      const std::string subject = to + sendable.subject.substr(from.size());
      natsMsg* raw = nullptr;
      check(natsMsg_Create(&raw, subject.c_str(), nullptr, sendable.data.data(),
                           static_cast<int>(sendable.data.size())),
            "message");
      Message message{raw};
      for (const auto& [name, value] : sendable.headers)
        check(natsMsgHeader_Set(raw, name.c_str(),
                                name == "Nats-Expected-Stream" ? to.c_str() : value.c_str()),
              "header");
      check(js_PublishMsgAsync(context_.get(), &raw, nullptr), "publish");
      static_cast<void>(message.release());
    }
    check(js_PublishAsyncComplete(context_.get(), nullptr), "acknowledgements");
  }

 private:
  static Sendable take(natsMsg* message) {
    Sendable sendable{.subject = natsMsg_GetSubject(message),
                      .headers = {},
                      .data = {natsMsg_GetData(message),
                               static_cast<std::size_t>(natsMsg_GetDataLength(message))}};
    const char** names = nullptr;
    int count = 0;
    check(natsMsgHeader_Keys(message, &names, &count), "headers");
    const std::unique_ptr<const char*, void (*)(const char**)> owner{
        names, [](const char** list) { std::free(list); }};
    for (int i = 0; i < count; ++i) {
      const char* value = nullptr;
      check(natsMsgHeader_Get(message, names[i], &value), "header");
      sendable.headers.emplace_back(names[i], value);
    }
    return sendable;
  }

  Connection connection_;
  JetStream context_;
};

// --- HTTP ----------------------------------------------------------------------------------------

constexpr int kPosts = 16;

/// Counts what it is sent, and answers 204.
class Receiver {
 public:
  Receiver() {
    server_.new_task_queue = [] { return new httplib::ThreadPool{kPosts + 4}; };
    server_.set_keep_alive_max_count(1'000'000'000);
    server_.set_tcp_nodelay(true);
    server_.Post("/events", [this](const httplib::Request&, httplib::Response& response) {
      received_.fetch_add(1, std::memory_order_relaxed);
      response.status = 204;
    });
    int listener = -1;
    server_.set_socket_options([&listener](int socket) { listener = socket; });
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::jthread{[this] { server_.listen_after_bind(); }};
    test::wait_until("the receiver", [this] { return server_.is_running(); });
    // cpp-httplib queues 5 connections; the plain clients all come at once.
    if (::listen(listener, 2 * kPosts) != 0) throw std::runtime_error{"listen failed"};
  }
  ~Receiver() { server_.stop(); }
  Receiver(const Receiver&) = delete;
  Receiver& operator=(const Receiver&) = delete;

  int port() const { return port_; }
  SinkUrl url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/events"; }

 private:
  httplib::Server server_;
  std::atomic<long> received_ = 0;
  int port_ = 0;
  std::jthread thread_;
};

void post_plainly(int port, int events) {
  std::atomic<int> next = 0;
  std::vector<std::jthread> threads;
  for (int i = 0; i < kPosts; ++i)
    threads.emplace_back([&] {
      httplib::Client client{"127.0.0.1", port};
      client.set_keep_alive(true);
      client.set_tcp_nodelay(true);
      for (int at = next++; at < events; at = next++) {
        const httplib::Headers headers{{"ce-specversion", "1.0"},
                                       {"ce-id", new_event_id().to_string()},
                                       {"ce-source", "/outseal/main"},
                                       {"ce-type", "paid"},
                                       {"ce-subject", "k" + std::to_string(at % 1000)},
                                       {"ce-time", "2026-01-31T23:59:59.999Z"},
                                       {"webhook-id", std::to_string(at)},
                                       {"outseal-position", std::to_string(at)}};
        const auto result = client.Post("/events", headers, payload(at), "application/json");
        if (!result || result->status != 204) throw std::runtime_error{"a post failed"};
      }
    });
}

}  // namespace

void sink_inbox(const Size& size) {
  const int events = size.count(200'000);
  const Stage source;
  source.fill(events, std::min(events, 1'000));
  const Stage target;
  PlainInbox plain{target};
  compare(
      "SQL inbox on PostgreSQL", source, events, 0.8, [&](int) { return target.url(); },
      [&](int round) { plain.insert(round, events); });
  print_latency("SQL inbox on PostgreSQL", target.url(), size);
}

void sink_nats(const Size& size) {
  const int events = size.count(100'000);
  const Stage source;
  source.fill(events, std::min(events, 1'000));
  const test::NatsServer server;
  PlainNats plain{server};
  std::vector<Sendable> messages;
  const auto stream = [](const char* name, int round) { return name + std::to_string(round); };
  compare(
      "NATS JetStream", source, events, 0.8,
      [&](int round) {
        plain.make_stream(stream("RELAY", round));
        plain.make_stream(stream("PLAIN", round));
        return server.url() + "/" + stream("RELAY", round);
      },
      [&](int round) {
        if (messages.empty()) messages = plain.read(stream("RELAY", round), events);
        plain.publish("RELAY0", stream("PLAIN", round), messages);
      });
  plain.make_stream("LATENCY");
  print_latency("NATS JetStream", server.url() + "/LATENCY", size);
}

void sink_http(const Size& size) {
  const int events = size.count(20'000);
  const Stage source;
  source.fill(events, std::min(events, 1'000));
  const Receiver receiver;
  compare(
      "webhooks, 16 at once", source, events, 0, [&](int) { return receiver.url(); },
      [&](int) { post_plainly(receiver.port(), events); });
  print_latency("webhooks, 16 at once", receiver.url(), size);
}

}  // namespace outseal::bench
