#include "support/nats_client.h"

#include <nats/nats.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace outseal::test {
namespace {

using nlohmann::json;

/// Servers that are choosing a leader do not answer at all: who asks again learns it sooner.
constexpr std::int64_t kPatienceMs = 2'000;
constexpr int kAttempts = 5;

void check(natsStatus status, const std::string& what) {
  if (status != NATS_OK) throw std::runtime_error{what + ": " + natsStatus_GetText(status)};
}

std::string text_of(natsMsg* message) {
  std::string text{natsMsg_GetData(message),
                   static_cast<std::size_t>(natsMsg_GetDataLength(message))};
  natsMsg_Destroy(message);
  return text;
}

/// The reply, which must be none of an error.
std::string without_error(const std::string& reply, const std::string& what) {
  const json parsed = json::parse(reply);
  if (parsed.contains("error")) throw std::runtime_error{what + ": " + parsed["error"].dump()};
  return reply;
}

}  // namespace

struct NatsClient::Connection {
  natsConnection* client = nullptr;
};

NatsClient::NatsClient(const std::string& url) : connection_{std::make_unique<Connection>()} {
  check(natsConnection_ConnectTo(&connection_->client, url.c_str()), "connect to " + url);
}

NatsClient::~NatsClient() { natsConnection_Destroy(connection_->client); }

std::string NatsClient::ask(const std::string& what, const std::string& body) const {
  natsMsg* reply = nullptr;
  natsStatus status = NATS_TIMEOUT;
  for (int attempt = 0; status == NATS_TIMEOUT && attempt < kAttempts; ++attempt)
    status = natsConnection_Request(&reply, connection_->client, ("$JS.API." + what).c_str(),
                                    body.data(), static_cast<int>(body.size()), kPatienceMs);
  check(status, what);
  return without_error(text_of(reply), what);
}

void NatsClient::create_stream(const std::string& name, const std::string& settings) const {
  json config{{"name", name},
              {"subjects", json::array({name + ".>"})},
              {"storage", "file"},
              {"retention", "limits"},
              {"num_replicas", 1}};
  config.update(json::parse(settings));
  ask("STREAM.CREATE." + name, config.dump());
}

NatsClient::State NatsClient::state_of(const std::string& stream) const {
  const json info = json::parse(ask("STREAM.INFO." + stream));
  State state{.messages = info["state"]["messages"], .last_sequence = info["state"]["last_seq"]};
  if (info.contains("cluster") && info["cluster"].contains("leader"))
    state.leader = info["cluster"]["leader"];
  for (const json& replica : info.value("/cluster/replicas"_json_pointer, json::array()))
    if (replica.value("current", false) && replica.value("lag", 0) == 0)
      state.followers.push_back(replica["name"]);
  return state;
}

std::map<std::string, std::string> NatsClient::headers_of(const std::string& stream,
                                                          std::uint64_t sequence) const {
  jsCtx* streams = nullptr;
  check(natsConnection_JetStream(&streams, connection_->client, nullptr), "ask for JetStream");
  natsMsg* message = nullptr;
  const natsStatus status =
      js_GetMsg(&message, streams, stream.c_str(), sequence, nullptr, nullptr);
  jsCtx_Destroy(streams);
  check(status, "read message " + std::to_string(sequence) + " of " + stream);
  const char** names = nullptr;
  int count = 0;
  const natsStatus listed = natsMsgHeader_Keys(message, &names, &count);
  std::map<std::string, std::string> headers;
  for (int i = 0; i < count; ++i) {
    const char* value = nullptr;
    if (natsMsgHeader_Get(message, names[i], &value) == NATS_OK) headers[names[i]] = value;
  }
  std::free(names);  // The array is ours, what it points to is the message's.
  natsMsg_Destroy(message);
  check(listed, "list the headers of a message");
  return headers;
}

std::uint64_t NatsClient::publish(const std::string& subject, const std::string& payload,
                                  const std::map<std::string, std::string>& headers) const {
  natsMsg* message = nullptr;
  check(natsMsg_Create(&message, subject.c_str(), nullptr, payload.data(),
                       static_cast<int>(payload.size())),
        "make a message");
  for (const auto& [name, value] : headers) natsMsgHeader_Set(message, name.c_str(), value.c_str());
  natsMsg* reply = nullptr;
  const natsStatus status =
      natsConnection_RequestMsg(&reply, connection_->client, message, kAttempts * kPatienceMs);
  natsMsg_Destroy(message);
  check(status, "publish to " + subject);
  return json::parse(without_error(text_of(reply), "publish to " + subject))["seq"];
}

}  // namespace outseal::test
