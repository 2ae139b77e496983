// What identifies and signs a request of the http: sink.
#include <doctest/doctest.h>

#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include "base/webhook_signature.h"
#include "conformance/http_receiver.h"
#include "support/program.h"
#include "support/secret_file.h"
#include "support/temp_folder.h"

namespace outseal::test {
namespace {

using httplib::Request;
using httplib::Response;
using Status = DeliveryResult::Status;

const std::string kSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What a receiver that knows `secrets` expects for what it was asked.
std::string signature_of(const Asked& asked, const std::vector<std::string>& secrets) {
  std::vector<std::string> keys;
  for (const std::string& secret : secrets) keys.push_back(parse_webhook_secret(secret));
  return webhook_signature(keys, asked.header("webhook-id"),
                           std::stoll(asked.header("webhook-timestamp")), asked.body);
}

std::string place_signature_of(const Asked& asked, const std::string& previous_id) {
  return place_signature(
      {parse_webhook_secret(kSecret)}, asked.header("webhook-id"),
      std::stoll(asked.header("webhook-timestamp")),
      {asked.header("outseal-stream"), asked.header("outseal-position"), previous_id});
}

TEST_CASE("a request carries identity, position, time and signature") {
  TempFolder folder;
  write_secret(folder.file("secrets"), kSecret + "\nwhsec_" + std::string(32, 'B') + "\n");
  write_secret(folder.file("headers"), "Authorization: Bearer t0ken\n");
  const HttpReceiver receiver;
  const auto result =
      deliver_to(receiver.url("?tenant=7&outseal.secrets_file=" + folder.file("secrets") +
                              "&outseal.headers_file=" + folder.file("headers")));
  REQUIRE_MESSAGE(result.status == Status::delivered, result.detail);
  CHECK(result.mark == "position 1");
  REQUIRE(receiver.asked().size() == 1);
  const Asked asked = receiver.asked().front();
  const std::string id = event_id_at(Position{1}).to_string();
  CHECK(asked.header("webhook-id") == id);
  CHECK(asked.header("idempotency-key") == '"' + id + '"');
  CHECK(asked.header("outseal-stream") == "/outseal/test#hooks");
  CHECK(asked.header("outseal-position") == "1");
  CHECK(asked.header("ce-id") == id);
  CHECK(asked.header("content-type") == "application/json");
  CHECK(asked.header("authorization") == "Bearer t0ken");
  CHECK(asked.header("user-agent") == "outseal");
  CHECK(asked.header("expect") == "(none)");
  CHECK(std::abs(std::stoll(asked.header("webhook-timestamp")) - std::time(nullptr)) < 60);
  CHECK(asked.body == "{}");
  CHECK(asked.header("webhook-signature") ==
        signature_of(asked, {kSecret, "whsec_" + std::string(32, 'B')}));
}

TEST_CASE("an event's place is signed as well") {
  const TempFolder folder;
  write_secret(folder.file("secrets"), kSecret);
  const HttpReceiver receiver;
  const std::string url =
      receiver.url("?outseal.in_flight=1&outseal.secrets_file=" + folder.file("secrets"));
  REQUIRE(deliver_to(url, 2).status == Status::delivered);
  const auto asked = receiver.asked();
  REQUIRE(asked.size() == 2);
  CHECK(asked[0].header("outseal-previous-id") == "(none)");
  CHECK(asked[0].header("outseal-signature") == place_signature_of(asked[0], ""));
  CHECK(asked[1].header("outseal-signature") ==
        place_signature_of(asked[1], event_id_at(Position{1}).to_string()));
  CHECK(deliver_to(receiver.url()).status == Status::delivered);
  CHECK(receiver.asked().at(2).header("outseal-signature") == "(none)");
}

TEST_CASE("each try is signed anew under the same id") {
  const TempFolder folder;
  write_secret(folder.file("secrets"), kSecret);
  const HttpReceiver receiver{[](const Request&, Response& response) { response.status = 500; }};
  const auto sink = make_http(receiver.url("?outseal.secrets_file=" + folder.file("secrets")));
  const Batch batch = make_keyed_batch(*sink, {}, {"key"});
  REQUIRE(sink->open().status == OpenResult::Status::opened);
  static_cast<void>(sink->deliver(batch, 0));
  const std::string first_time = receiver.asked().at(0).header("webhook-timestamp");
  wait_until("the next second", [&] { return std::to_string(std::time(nullptr)) > first_time; });
  static_cast<void>(sink->deliver(batch, 0));
  const auto asked = receiver.asked();
  REQUIRE(asked.size() == 2);
  CHECK(asked[1].header("webhook-timestamp") > first_time);
  for (const Asked& each : asked)
    CHECK(each.header("webhook-signature") == signature_of(each, {kSecret}));
  CHECK(asked[0].header("webhook-id") == asked[1].header("webhook-id"));
  CHECK(asked[0].header("idempotency-key") == asked[1].header("idempotency-key"));
}

}  // namespace
}  // namespace outseal::test
