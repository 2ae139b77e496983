// NATS JetStream: a server of its own, a stream with a small duplicate window, and a disk that
// loses what was written last.
#include <nats/nats.h>

#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "support/nats_client.h"
#include "support/nats_server.h"
#include "torture/sink_stage.h"

namespace outseal::test {
namespace {

namespace fs = std::filesystem;

constexpr const char* kStream = "EVENTS";
/// The shortest that a server takes. Source: nats-server 2.9, server/stream.go.
constexpr std::chrono::milliseconds kWindow{100};
/// Headers come on top of the payload.
constexpr std::int32_t kMessageBytesMax = 600 + static_cast<std::int32_t>(kSinkEventBytesMax) - 300;

void expect_ok(natsStatus status, const std::string& what) {
  if (status != NATS_OK) throw std::runtime_error{what + " failed: " + natsStatus_GetText(status)};
}

/// Reads the stream past relay and proxy.
class Reader {
 public:
  explicit Reader(const std::string& url) {
    expect_ok(natsConnection_ConnectTo(&connection_, url.c_str()), "connecting to NATS");
    expect_ok(natsConnection_JetStream(&js_, connection_, nullptr), "asking for JetStream");
  }
  ~Reader() {
    jsCtx_Destroy(js_);
    natsConnection_Destroy(connection_);
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  std::vector<StoredEvent> read() {
    jsStreamInfo* info = nullptr;
    expect_ok(js_GetStreamInfo(&info, js_, kStream, nullptr, nullptr), "asking for the stream");
    const std::uint64_t first = info->State.FirstSeq;
    const std::uint64_t last = info->State.LastSeq;
    jsStreamInfo_Destroy(info);
    std::vector<StoredEvent> events;
    for (std::uint64_t sequence = first; sequence <= last && last > 0; ++sequence)
      events.push_back(read_one(sequence));
    return events;
  }

 private:
  StoredEvent read_one(std::uint64_t sequence) {
    natsMsg* message = nullptr;
    expect_ok(js_GetMsg(&message, js_, kStream, sequence, nullptr, nullptr), "reading a message");
    const auto header = [message](const char* name) -> std::string {
      const char* value = nullptr;
      return natsMsgHeader_Get(message, name, &value) == NATS_OK ? value : "";
    };
    const std::string text = header("ce-sequence");
    std::uint64_t position = 0;
    std::from_chars(text.data(), text.data() + text.size(), position);
    StoredEvent event{Position{position}, EventId::parse(header("ce-id")).value_or(EventId{}),
                      header("ce-subject")};
    natsMsg_Destroy(message);
    return event;
  }

  natsConnection* connection_ = nullptr;
  jsCtx* js_ = nullptr;
};

/// Cuts the last `count` records off a block of a stream.
/// Source: nats-server 2.9, server/filestore.go: a record begins with its length, whose highest bit
/// says that it has headers.
void cut_records(const fs::path& block, std::size_t count) {
  std::ifstream file{block, std::ios::binary};
  const std::string bytes{std::istreambuf_iterator<char>{file}, {}};
  std::vector<std::size_t> begins;
  for (std::size_t at = 0; at + 4 <= bytes.size();) {
    std::uint32_t length = 0;
    std::memcpy(&length, bytes.data() + at, sizeof length);
    begins.push_back(at);
    at += length & 0x7fffffffU;
  }
  if (begins.size() <= count) throw std::runtime_error{"the block is too short"};
  fs::resize_file(block, begins[begins.size() - count]);
}

class NatsSinkServer final : public SinkServer {
 public:
  NatsSinkServer() : proxy_{server_.port()} { make_stream(); }

  SinkTraits traits() const override {
    return {.name = "nats",
            .has_server = true,
            .forgetful = true,
            .refusal = "larger than the server or stream",
            .mutant = "nats_no_expected_sequence",
            .window = kWindow};
  }

  std::string url() const override {
    return "nats://127.0.0.1:" + std::to_string(proxy_.port()) + "/" + kStream + "?timeout_ms=1000";
  }
  FaultProxy* proxy() override { return &proxy_; }

  void kill() override { server_.kill_hard(); }
  void start() override { server_.start(); }
  void freeze() override { server_.freeze(); }
  void thaw() override { server_.thaw(); }

  std::vector<StoredEvent> stored() override { return Reader{server_.url()}.read(); }

  /// The server writes before it acknowledges, but syncs every two minutes only.
  void lose_tail(std::size_t count) override {
    server_.kill_hard();
    fs::path last;
    for (const auto& entry : fs::recursive_directory_iterator{server_.store()})
      if (entry.path().extension() == ".blk" && last < entry.path()) last = entry.path();
    cut_records(last, count);
    // What it derives from the blocks it makes anew.
    for (const auto& entry : fs::directory_iterator{last.parent_path()})
      if (entry.path().extension() != ".blk") fs::remove(entry.path());
    server_.start();
  }

  void recreate() override {
    NatsClient{server_.url()}.delete_stream(kStream);
    make_stream();
  }

  void lift_limit() override {
    NatsClient{server_.url()}.ask(std::string{"STREAM.UPDATE."} + kStream,
                                  R"({"name":"EVENTS","subjects":["EVENTS.>"],)" + settings(-1));
  }

 private:
  /// The rest of a JSON object.
  static std::string settings(std::int32_t message_bytes_max) {
    return R"("deny_delete":true,"deny_purge":true,"duplicate_window":)" +
           std::to_string(std::chrono::nanoseconds{kWindow}.count()) + R"(,"max_msg_size":)" +
           std::to_string(message_bytes_max) + "}";
  }

  void make_stream() {
    NatsClient{server_.url()}.create_stream(kStream, "{" + settings(kMessageBytesMax));
  }

  NatsServer server_;
  FaultProxy proxy_;
};

}  // namespace

bool skipped_without_sink_server() { return skipped_without_nats(); }

std::unique_ptr<SinkServer> make_sink_server() { return std::make_unique<NatsSinkServer>(); }

}  // namespace outseal::test
