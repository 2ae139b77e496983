// Which answers the nats: sink takes for acknowledgements.
#include <doctest/doctest.h>
#include <nats/nats.h>

#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "conformance/nats_fixture.h"

namespace outseal::test {
namespace {

using Opened = OpenResult::Status;
using Status = DeliveryResult::Status;

/// Listens to a stream's subjects beside the stream, and answers if it is told how.
class Bystander {
 public:
  explicit Bystander(const std::string& stream) {
    require(natsConnection_ConnectTo(&client_, shared_nats_server().url().c_str()));
    require(natsConnection_Subscribe(&heard_, client_, (stream + ".>").c_str(), on_message, this));
    require(natsConnection_Flush(client_));
  }
  ~Bystander() {
    natsSubscription_Destroy(heard_);
    natsConnection_Destroy(client_);
  }
  Bystander(const Bystander&) = delete;
  Bystander& operator=(const Bystander&) = delete;

  void answer_with(const std::string& text) {
    const std::lock_guard lock{mutex_};
    answer_ = text;
  }
  /// Where acknowledgements were asked to go so far.
  std::vector<std::string> reply_subjects() const {
    const std::lock_guard lock{mutex_};
    return reply_subjects_;
  }
  void send(const std::string& subject, const std::string& text) {
    require(natsConnection_PublishString(client_, subject.c_str(), text.c_str()));
    require(natsConnection_Flush(client_));
  }

 private:
  static void require(natsStatus status) {
    if (status != NATS_OK) throw std::runtime_error{natsStatus_GetText(status)};
  }
  static void on_message(natsConnection* client, natsSubscription* /*heard*/, natsMsg* message,
                         void* self) {
    auto& bystander = *static_cast<Bystander*>(self);
    const std::lock_guard lock{bystander.mutex_};
    bystander.reply_subjects_.emplace_back(natsMsg_GetReply(message));
    if (!bystander.answer_.empty())
      natsConnection_PublishString(client, natsMsg_GetReply(message), bystander.answer_.c_str());
    natsMsg_Destroy(message);
  }

  natsConnection* client_ = nullptr;
  natsSubscription* heard_ = nullptr;
  mutable std::mutex mutex_;  ///< Guards all below.
  std::string answer_;
  std::vector<std::string> reply_subjects_;
};

std::string acknowledgement(const std::string& stream, std::uint64_t sequence) {
  return R"({"stream":")" + stream + R"(","seq":)" + std::to_string(sequence) + "}";
}

std::unique_ptr<Sink> open_shared(const std::string& stream) {
  auto sink = make_nats(shared_nats_server().url() + "/" + stream + "?shared=true&timeout_ms=500");
  REQUIRE(sink->open().status == Opened::opened);
  return sink;
}

}  // namespace

TEST_CASE("a second acknowledgement that comes late is none of another event") {
  if (skipped_without_nats()) return;
  const std::string stream = fresh_stream();
  Bystander bystander{stream};
  const auto sink = open_shared(stream);
  REQUIRE(sink->deliver(make_batch(*sink, {}, 3), 0).status == Status::delivered);
  wait_until("the messages", [&] { return bystander.reply_subjects().size() == 3; });
  NatsClient{shared_nats_server().url()}.delete_stream(stream);
  std::uint64_t sequence = 0;
  for (const std::string& subject : bystander.reply_subjects())
    bystander.send(subject, acknowledgement(stream, ++sequence));
  const DeliveryResult result = sink->deliver(make_batch(*sink, tail_of(3), 3), 0);
  CHECK(result.status == Status::retry_later);
  CHECK(result.done == 0);
}

TEST_CASE("what others answer does not count, and does not disturb") {
  if (skipped_without_nats()) return;
  const std::string stream = fresh_stream();
  Bystander bystander{stream};
  SUBCASE("another stream") { bystander.answer_with(acknowledgement("OTHER", 1)); }
  SUBCASE("something with a sequence") { bystander.answer_with(R"({"seq":1})"); }
  SUBCASE("something else") { bystander.answer_with("thank you"); }
  const auto sink = open_shared(stream);
  const Batch batch = make_batch(*sink, {}, 3);
  CHECK(sink->deliver(batch, 0).status == Status::delivered);
  CHECK(positions_in(*sink) == positions_to(3));
  NatsClient{shared_nats_server().url()}.delete_stream(stream);
  const DeliveryResult result = sink->deliver(make_batch(*sink, tail_of(3), 3), 0);
  CHECK(result.status == Status::retry_later);
  CHECK(result.done == 0);
}

}  // namespace outseal::test
