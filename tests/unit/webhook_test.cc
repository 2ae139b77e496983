// verify_webhook(): what a receiver believes of a request.
#include <doctest/doctest.h>

#include <map>
#include <string>
#include <vector>

#include "base/webhook_signature.h"
#include "outseal/outseal.h"
#include "support/mutant.h"

namespace outseal::test {
namespace {

using std::chrono::seconds;

const std::string kSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const std::string kOther = "whsec_" + std::string(32, 'B');
constexpr const char* kId = "00000000-0000-7000-8000-000000000002";
constexpr const char* kPrevious = "00000000-0000-7000-8000-000000000001";
constexpr std::int64_t kTime = 1'790'000'000;
const std::chrono::system_clock::time_point kNow{seconds{kTime + 3}};

/// A request as the sink sends it.
struct Request {
  std::map<std::string, std::string> fields{{"webhook-id", kId},
                                            {"webhook-timestamp", std::to_string(kTime)},
                                            {"outseal-stream", "/shop%22#main"},
                                            {"outseal-position", "2"},
                                            {"outseal-previous-id", kPrevious},
                                            {"content-type", "application/json"},
                                            {"ce-source", "/shop"},
                                            {"ce-topic", "orders"},
                                            {"ce-subject", "a%20key"},
                                            {"ce-type", "paid"}};
  std::string body = "{\"n\": 1}";

  Request() { sign({kSecret}); }

  void sign(const std::vector<std::string>& with, std::int64_t time_s = kTime) {
    std::vector<std::string> keys;
    keys.reserve(with.size());
    for (const std::string& secret : with) keys.push_back(parse_webhook_secret(secret));
    fields["webhook-timestamp"] = std::to_string(time_s);
    fields["webhook-signature"] = webhook_signature(keys, fields["webhook-id"], time_s, body);
    fields["outseal-signature"] = place_signature(
        keys, fields["webhook-id"], time_s,
        {fields["outseal-stream"], fields["outseal-position"], fields["outseal-previous-id"]});
  }

  WebhookCheck check(const std::string& secrets = kSecret,
                     std::chrono::system_clock::time_point now = kNow) const {
    const WebhookFields field = [this](std::string_view name) {
      const auto found = fields.find(std::string{name});
      return found == fields.end() ? std::string{} : found->second;
    };
    return verify_webhook(field, body, WebhookSecrets::parse(secrets), now);
  }
  int status(const std::string& secrets = kSecret,
             std::chrono::system_clock::time_point now = kNow) const {
    const WebhookCheck checked = check(secrets, now);
    CHECK(checked.event.has_value() == (checked.status == 200));
    CHECK(checked.reason.empty() == (checked.status == 200));
    return checked.status;
  }
};

}  // namespace

TEST_CASE("A signed request is the event that it says") {
  const WebhookCheck checked = Request{}.check();
  REQUIRE_MESSAGE(checked.event, checked.reason);
  const WebhookEvent& event = *checked.event;
  CHECK(event.id.to_string() == kId);
  CHECK(event.previous_id.to_string() == kPrevious);
  CHECK(event.position == Position{2});
  CHECK(event.stream == "/shop\"#main");
  CHECK(event.sent_at.time_since_epoch() == seconds{kTime});
  CHECK_FALSE(event.structured);
  CHECK(event.source == "/shop");
  CHECK(event.topic == "orders");
  CHECK(event.key == "a key");
  CHECK(event.type == "paid");
  CHECK(event.content_type == "application/json");
  CHECK(event.place().previous_id == event.previous_id);
}

TEST_CASE("A structured request has its attributes in the body alone") {
  Request request;
  request.fields["content-type"] = "application/cloudevents+json; charset=utf-8";
  const auto checked = request.check();
  REQUIRE(checked.event);
  CHECK(checked.event->structured);
  CHECK(checked.event->topic.empty());
}

TEST_CASE("Guard: another body, id or time is not signed") {
  Request request;
  SUBCASE("body") { request.body += ' '; }
  SUBCASE("id") { request.fields["webhook-id"] = kPrevious; }
  SUBCASE("time") { request.fields["webhook-timestamp"] = std::to_string(kTime + 1); }
  SUBCASE("no signature") { request.fields["webhook-signature"] = ""; }
  SUBCASE("half a signature") { request.fields["webhook-signature"].resize(20); }
  // A signature of the place proves nothing about the body.
  SUBCASE("the other one's") {
    request.fields["webhook-signature"] = request.fields["outseal-signature"];
  }
  CHECK(request.status() == 401);
}

TEST_CASE("Guard: another stream, position or predecessor is not signed") {
  Request request;
  SUBCASE("stream") { request.fields["outseal-stream"] = "/shop#other"; }
  SUBCASE("position") { request.fields["outseal-position"] = "3"; }
  SUBCASE("previous") { request.fields["outseal-previous-id"] = kId; }
  SUBCASE("no previous") { request.fields["outseal-previous-id"] = ""; }
  SUBCASE("no signature") { request.fields["outseal-signature"] = ""; }
  CHECK(request.status() == 401);
}

TEST_CASE("Guard: a request is too old or too new by more than five minutes") {
  Request request;
  request.sign({kSecret}, kTime + 3 - 300);
  CHECK(request.status() == 200);
  request.sign({kSecret}, kTime + 3 + 300);
  CHECK(request.status() == 200);
  request.sign({kSecret}, kTime + 3 - 301);
  CHECK(request.status() == 401);
  request.sign({kSecret}, kTime + 3 + 301);
  CHECK(request.status() == 401);
}

TEST_CASE("While a secret is replaced either side may have both") {
  Request request;
  CHECK(request.status(kOther) == 401);
  CHECK(request.status(kOther + "\n" + kSecret) == 200);
  request.sign({kOther, kSecret});
  CHECK(request.status(kSecret) == 200);
  CHECK(request.status(kOther) == 200);
  // Both signatures may be by different secrets: each of them is known.
  request.sign({kOther});
  request.fields["webhook-signature"] = Request{}.fields["webhook-signature"];
  CHECK(request.status(kOther + "\n" + kSecret) == 200);
}

TEST_CASE("What is signed and no webhook of a relay is told from what is forged") {
  const auto with = [](const std::string& name, const std::string& value) {
    Request request;
    request.fields[name] = value;
    request.sign({kSecret}, kTime);
    if (name == "webhook-timestamp") request.fields[name] = value;
    return request.status();
  };
  for (const std::string id : {"", "msg_1", "00000000-0000-0000-0000-000000000000",
                               "00000000-0000-7000-8000-000000000002.1"})
    CHECK(with("webhook-id", id) == 400);
  for (const std::string position : {"", "0", "02", "-1", "2 ", "99999999999999999999999"})
    CHECK(with("outseal-position", position) == 400);
  for (const std::string time : {"", "now", "1e9", "01790000000", "18446744073709551615"})
    CHECK(with("webhook-timestamp", time) == 401);
  CHECK(with("outseal-stream", "") == 400);
  CHECK(with("outseal-previous-id", "x") == 400);
}

TEST_CASE("A field of very many signatures costs no more than a few") {
  Request request;
  const std::string good = request.fields["webhook-signature"];
  std::string many;
  for (int i = 0; i < 1'000; ++i) many += "v1,AAAA ";
  request.fields["webhook-signature"] = many + good;
  CHECK(request.status() == 401);
  request.fields["webhook-signature"] = "v2,AAAA " + good;
  CHECK(request.status() == 200);
}

TEST_CASE("A bad secret is named by its line and not shown") {
  for (const std::string& text : {std::string{}, std::string{"# nothing\n\n"},
                                  kSecret + "\nwhsec_short", kSecret.substr(6)}) {
    try {
      static_cast<void>(WebhookSecrets::parse(text));
      FAIL("it was taken");
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::invalid_config);
      CHECK(std::string{error.what()}.find("short") == std::string::npos);
    }
  }
  std::string nine;
  for (int i = 0; i < 9; ++i) nine += kSecret + "\n";
  CHECK_THROWS_AS(static_cast<void>(WebhookSecrets::parse(nine)), Error);
  CHECK(WebhookSecrets::parse("# ours\r\n  " + kSecret + " \r\n").keys().size() == 1);
  const Request request;
  CHECK_THROWS_AS(static_cast<void>(verify_webhook([](std::string_view) { return std::string{}; },
                                                   "", WebhookSecrets::parse(kSecret), kNow,
                                                   {.tolerance = seconds{0}})),
                  Error);
}

TEST_CASE("guards of webhooks that are switched off are missed") {
  CHECK_FALSE(passes_with_mutant("no_webhook_signature", "Guard: another body*"));
  CHECK_FALSE(passes_with_mutant("no_place_signature", "Guard: another stream*"));
  CHECK_FALSE(passes_with_mutant("no_webhook_age", "Guard: a request is too old*"));
}

}  // namespace outseal::test
