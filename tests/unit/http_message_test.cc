#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/webhook_signature.h"
#include "outseal/error.h"
#include "sinks/http/message.h"
#include "sinks/http/options.h"
#include "support/secret_file.h"
#include "support/temp_folder.h"

namespace outseal::sinks {
namespace {

constexpr std::string_view kId = "0190a5d0-1111-7222-8333-444455556666";
constexpr std::size_t kBodyMax = 1'000;

EventRow sample_row() {
  EventRow row;
  row.id = *EventId::parse(kId);
  row.topic = "orders";
  row.key = "order-1";
  row.type = "order.paid";
  row.headers = "{}";
  row.payload = R"({"amount":100})";
  row.content_type = "application/json";
  row.created_at_ms = 1'769'903'999'999;
  return row;
}

HttpMessageEncoder encoder(bool structured = false) {
  return {"/outseal/main", "/outseal/main#hooks", {structured, kBodyMax}};
}

std::string encode(const EventRow& row, bool structured = false) {
  std::string out;
  const auto reason = encoder(structured).encode(row, Position{42}, out);
  CHECK_MESSAGE(!reason, *reason);
  return out;
}

std::string refusal(const EventRow& row, bool structured = false) {
  std::string out = "as before";
  const auto reason = encoder(structured).encode(row, Position{42}, out);
  CHECK(out == "as before");
  return reason.value_or("");
}

std::string field(const HttpMessage& message, std::string_view name) {
  const auto found = std::find_if(message.fields.begin(), message.fields.end(),
                                  [&](const auto& one) { return one.first == name; });
  return found == message.fields.end() ? "(none)" : std::string{found->second};
}

TEST_CASE("binary mode: attributes are header fields, the body is the payload") {
  CHECK(encode(sample_row()) ==
        "order-1\r\n"
        "webhook-id: 0190a5d0-1111-7222-8333-444455556666\r\n"
        "idempotency-key: \"0190a5d0-1111-7222-8333-444455556666\"\r\n"
        "outseal-stream: /outseal/main#hooks\r\n"
        "outseal-position: 42\r\n"
        "ce-specversion: 1.0\r\n"
        "ce-id: 0190a5d0-1111-7222-8333-444455556666\r\n"
        "ce-source: /outseal/main\r\n"
        "ce-type: order.paid\r\n"
        "ce-subject: order-1\r\n"
        "ce-time: 2026-01-31T23:59:59.999Z\r\n"
        "ce-topic: orders\r\n"
        "content-type: application/json\r\n"
        "\r\n"
        "{\"amount\":100}");
}

TEST_CASE("structured mode: the body is one CloudEvents document") {
  EventRow row = sample_row();
  row.headers = R"({"traceparent":"00-1"})";
  const std::string bytes = encode(row, true);
  const auto message = HttpMessage::parse(bytes);
  CHECK(message.key == "order-1");
  CHECK(field(message, "content-type") == "application/cloudevents+json; charset=utf-8");
  CHECK(field(message, "ce-id") == "(none)");
  CHECK(field(message, "webhook-id") == kId);
  CHECK(field(message, "ce-traceparent") == "(none)");
  CHECK(field(message, "traceparent") == "00-1");
  const auto document = nlohmann::json::parse(message.body);
  CHECK(document.at("specversion") == "1.0");
  CHECK(document.at("id") == kId);
  CHECK(document.at("subject") == "order-1");
  CHECK(document.at("data").at("amount") == 100);
  CHECK(document.at("traceparent") == "00-1");
  CHECK_FALSE(document.contains("headers"));
  CHECK_FALSE(document.contains("sequence"));
}

TEST_CASE("an event at another position is the same request, but for that header field") {
  EventRow row = sample_row();
  row.headers = R"({"traceparent":"00-1"})";
  for (const bool structured : {false, true}) {
    const auto at = [&](Position position) {
      std::string bytes;
      REQUIRE_FALSE(encoder(structured).encode(row, position, bytes));
      return bytes;
    };
    std::string here = at(Position{7});
    const std::string there = at(Position{1'000'000});
    CHECK(HttpMessage::parse(here).body == HttpMessage::parse(there).body);
    const std::string_view field = "outseal-position: ";
    here.replace(here.find(field) + field.size(), 1, "1000000");
    CHECK(here == there);
  }
}

TEST_CASE("attributes are percent-encoded as the HTTP binding says, and only they") {
  EventRow row = sample_row();
  row.key = "Euro \xe2\x82\xac \"50%\"\n~!";
  row.type = "\xf0\x9f\x98\x80";
  row.payload = std::string_view{"\0\r\n\r\n%", 6};
  row.content_type = "text/x; charset=\"utf-8\"";
  row.headers = R"({"note":"50 % off","traceparent":"00-1"})";
  const std::string bytes = encode(row);
  const auto message = HttpMessage::parse(bytes);
  CHECK(field(message, "ce-subject") == "Euro%20%E2%82%AC%20%2250%25%22%0A~!");
  CHECK(field(message, "ce-type") == "%F0%9F%98%80");
  CHECK(field(message, "content-type") == "text/x; charset=\"utf-8\"");
  CHECK(field(message, "ce-note") == "50%20%25%20off");
  CHECK(field(message, "ce-traceparent") == "00-1");
  CHECK(field(message, "traceparent") == "00-1");
  CHECK(message.body == row.payload);
  CHECK(key_of_message(bytes) == message.key);
}

TEST_CASE("an event without a key has no subject and no key") {
  EventRow row = sample_row();
  row.key = "";
  const std::string bytes = encode(row);
  CHECK(key_of_message(bytes).empty());
  CHECK(field(HttpMessage::parse(bytes), "ce-subject") == "(none)");
}

TEST_CASE("different keys stay different, in both modes") {
  for (const bool structured : {false, true}) {
    EventRow row = sample_row();
    row.key = "a b";
    const std::string one = encode(row, structured);
    row.key = "a%20b";
    const std::string other = encode(row, structured);
    CHECK(key_of_message(one) != key_of_message(other));
  }
}

TEST_CASE("no header of an event changes the request: they are all attributes") {
  for (const std::string name :
       {"Host", "content-type", "Content-Length", "Transfer-Encoding", "ce-id", "webhook-id",
        "Webhook-Signature", "Idempotency-Key", "outseal-position", "Authorization",
        "Proxy-Authorization", "User-Agent", "id", "subject", "", "a b", "a\r\nb", "\u00e4"}) {
    for (const std::string value : {"x", "", " x", "x\r\ny: z"}) {
      EventRow row = sample_row();
      const std::string headers = nlohmann::json{{name, value}}.dump();
      row.headers = headers;
      for (const bool structured : {false, true}) {
        const std::string bare = encode(sample_row(), structured);
        const std::string bytes = encode(row, structured);
        HttpMessage message = HttpMessage::parse(bytes);
        const std::string text = field(message, "ce-headers");
        CHECK((text == "(none)") == structured);
        if (!structured) message.fields.pop_back();
        CHECK(message.fields == HttpMessage::parse(bare).fields);
      }
    }
  }
}

TEST_CASE("headers that are no JSON object are refused") {
  for (const std::string headers : {"[]", "nonsense", "", "{", R"({"a":"\xff"})"}) {
    CAPTURE(headers);
    EventRow row = sample_row();
    row.headers = headers;
    CHECK_FALSE(refusal(row).empty());
    CHECK_FALSE(refusal(row, true).empty());
  }
}

TEST_CASE("what is too long or no text is refused") {
  const std::string too_long(kBodyMax + 1, 'x');
  EventRow row = sample_row();
  row.content_type = "application/octet-stream";
  row.payload = too_long;
  CHECK(refusal(row).find("longer than") != std::string::npos);
  std::string out;
  row.payload = std::string_view{too_long}.substr(1);
  CHECK_FALSE(encoder().encode(row, Position{1}, out));
  CHECK(refusal(row, true).find("longer than") != std::string::npos);
  row = sample_row();
  SUBCASE("key") { row.key = "\xff"; }
  SUBCASE("topic") { row.topic = "\xff"; }
  SUBCASE("type") { row.type = "\xff"; }
  SUBCASE("content type") { row.content_type = "text/plain\r\nx: y"; }
  SUBCASE("no content type") { row.content_type = ""; }
  SUBCASE("time") { row.created_at_ms = -1; }
  CHECK_FALSE(refusal(row).empty());
}

TEST_CASE("bytes that the encoder did not make are an error, not a request") {
  CHECK_THROWS_AS(HttpMessage::parse(""), Error);
  CHECK_THROWS_AS(HttpMessage::parse("key\r\n"), Error);
  CHECK_THROWS_AS(HttpMessage::parse("key\r\nno colon\r\n\r\n"), Error);
}

// The example that Standard Webhooks 1.0.0 publishes.
constexpr std::string_view kSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
constexpr std::string_view kSignature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

TEST_CASE("the signature is that of the standard's example") {
  const std::string secret = parse_webhook_secret(kSecret);
  CHECK(secret.size() == 24);
  CHECK(webhook_signature({secret}, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1'614'265'330,
                          R"({"test": 2432232314})") == kSignature);
  const std::string other = parse_webhook_secret("whsec_" + std::string(86, 'A') + "==");
  CHECK(other.size() == 64);
  const std::string both = webhook_signature({secret, other}, "msg_p5jXN8AQM9LWM0D4loKWxJek",
                                             1'614'265'330, R"({"test": 2432232314})");
  CHECK(both == std::string{kSignature} + " " +
                    webhook_signature({other}, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1'614'265'330,
                                      R"({"test": 2432232314})"));
}

TEST_CASE("the signature of a place covers each of its parts, and is none of a body") {
  const std::vector<std::string> secrets{parse_webhook_secret(kSecret)};
  const auto sign = [&](std::string_view id, std::int64_t time, const WebhookPlace& place) {
    return place_signature(secrets, id, time, place);
  };
  const std::string signature = sign("a", 1, {"s.t", "2", "b"});
  CHECK(signature == sign("a", 1, {"s.t", "2", "b"}));
  // The documented content, put together by hand.
  CHECK(signature == webhook_signature(secrets, "outseal.place.a", 1, "2.b.s.t"));
  CHECK(signature != sign("b", 1, {"s.t", "2", "b"}));
  CHECK(signature != sign("a", 2, {"s.t", "2", "b"}));
  CHECK(signature != sign("a", 1, {"s", "2", "b"}));
  CHECK(signature != sign("a", 1, {"s.t", "3", "b"}));
  CHECK(signature != sign("a", 1, {"s.t", "2", ""}));
  CHECK(signature != webhook_signature(secrets, "a", 1, "2.b.s.t"));
}

TEST_CASE("a secret is whsec_ and base64 of 24 to 64 bytes, nothing else") {
  const std::vector<std::string> bad{"",
                                     "whsec_",
                                     std::string{kSecret.substr(6)},
                                     std::string{kSecret} + "=",
                                     std::string{kSecret} + "A",
                                     "whsec_" + std::string(28, 'A'),
                                     "whsec_" + std::string(88, 'A'),
                                     "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2La*aSw",
                                     "WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"};
  for (const std::string& text : bad) {
    CAPTURE(text);
    CHECK(parse_webhook_secret(text).empty());
  }
}

HttpSinkOptions options_of(const std::string& text) {
  return HttpSinkOptions::from(Url::parse("--sink", text));
}

TEST_CASE("parameters without our prefix are the endpoint's, and are not shown") {
  const auto options = options_of(
      "https://h:8443/a%20b?token=a%26b%20c&outseal.in_flight=3&outseal.mode=structured");
  CHECK(options.endpoint == "https://h:8443/a%20b?token=a%26b%20c");
  CHECK(options.shown == "https://h:8443/a%20b");
  CHECK(options.in_flight == 3);
  CHECK(options.structured);
  CHECK(options_of("http://[::1]/").endpoint == "http://[::1]/");
  CHECK(options_of("http://h/?b=1&outseal.in_flight=3&a=x+y&b").endpoint ==
        "http://h/?b=1&a=x+y&b");
  CHECK_THROWS_AS(options_of("http://h/?a=b#part"), Error);
  CHECK_THROWS_AS(options_of("http://h/?a=b c"), Error);
}

TEST_CASE("an option without its prefix is noticed, whatever stands around it") {
  CHECK(options_of("http://h/?in_flight=1&outseal.mode=structured").without_prefix ==
        "outseal.in_flight");
  CHECK(options_of("http://h/?x=1&mode&timeout_ms=").without_prefix ==
        "outseal.mode, outseal.timeout_ms");
  for (const std::string query :
       {"", "?", "?=1", "?in_flights=1", "?x=in_flight", "?outseal=1", "?outseal.in_flight=1",
        "?&&", "?x_in_flight=1&token=in_flight"}) {
    CAPTURE(query);
    CHECK(options_of("http://h/" + query).without_prefix.empty());
  }
}

TEST_CASE("a URL that cannot be used says why") {
  for (const std::string text : {"http:",
                                 "http:x",
                                 "http://",
                                 "http:///path",
                                 "http://user:pass@h/",
                                 "http://user@h/",
                                 "http://h/#part",
                                 "http://h/ x",
                                 "http://h:99999/",
                                 "http://h:0/",
                                 "http://h:x/",
                                 "http://h/?outseal.mode=odd",
                                 "http://h/?outseal.in_flight=0",
                                 "http://h/?outseal.in_flight=257",
                                 "http://h/?outseal.timeout_ms=x",
                                 "http://h/?outseal.verify=0",
                                 "http://h/?outseal.cert_file=/dev/null",
                                 "http://h/?outseal.ca_file=/nonexistent",
                                 "http://h/?outseal.secrets_file=/",
                                 "http://h/?outseal.proxy=socks5://p:1",
                                 "http://h/?outseal.proxy=http://u:p@p:1",
                                 "http://h/?outseal.proxy=http://p",
                                 "http://h/?outseal.proxy=http://p:1/path?token=x"}) {
    CAPTURE(text);
    CHECK_THROWS_AS(options_of(text), Error);
  }
}

TEST_CASE("files of secrets and headers are read line by line, and faults told by line") {
  const test::TempFolder folder;
  const auto write = [&](const std::string& name, const std::string& text) {
    return test::write_secret(folder.file(name), text);
  };
  const std::string secrets =
      write("secrets", "# new\n" + std::string{kSecret} + "\r\n\n  " + std::string{kSecret} + "\n");
  const std::string headers = write("headers", "Authorization: Bearer a:b \nX-Env:test\n");
  const auto options =
      options_of("http://h/?outseal.secrets_file=" + secrets + "&outseal.headers_file=" + headers);
  CHECK(options.secrets.size() == 2);
  CHECK(options.headers ==
        std::vector<HttpHeader>{{"Authorization", "Bearer a:b"}, {"X-Env", "test"}});

  for (const char* text : {"", "# nothing\n", "hunter2\n", "whsec_short\n"}) {
    const std::string bad = write("bad", text);
    try {
      options_of("http://h/?outseal.secrets_file=" + bad);
      FAIL("taken: " << text);
    } catch (const Error& error) {
      CHECK(std::string{error.what()}.find("hunter2") == std::string::npos);
      CHECK(std::string{error.what()}.find(bad) != std::string::npos);
    }
  }
  for (const char* text : {"no colon\n", "a b: c\n", "Host: x\n", "ce-id: x\n", "A:\n"}) {
    const std::string bad = write("bad", text);
    CHECK_THROWS_AS(options_of("http://h/?outseal.headers_file=" + bad), Error);
  }
}

TEST_CASE("a file of secrets that every user can read or change is refused, with the way out") {
  const test::TempFolder folder;
  const std::string secrets = test::write_secret(folder.file("secrets"), kSecret);
  const std::string headers = test::write_secret(folder.file("headers"), "A: b");
  const std::string key = test::write_secret(folder.file("key"), "KEY");
  struct Use {
    std::string path;
    std::string query;
  };
  for (const Use& use : {Use{secrets, "outseal.secrets_file=" + secrets},
                         Use{headers, "outseal.headers_file=" + headers},
                         Use{key, "outseal.cert_file=" + key + "&outseal.key_file=" + key}}) {
    CAPTURE(use.query);
    for (const unsigned mode : {0600U, 0400U, 0640U, 0660U}) {
      std::filesystem::permissions(use.path, std::filesystem::perms{mode});
      CHECK_NOTHROW(options_of("http://h/?" + use.query));
    }
    for (const unsigned mode : {0644U, 0604U, 0602U}) {
      std::filesystem::permissions(use.path, std::filesystem::perms{mode});
      try {
        options_of("http://h/?" + use.query);
        FAIL("taken with mode " << mode);
      } catch (const Error& error) {
        CHECK(error.code() == ErrorCode::invalid_config);
        CHECK(error.message().find("every user") != std::string::npos);
        CHECK(error.hint() == "run: chmod 600 " + use.path);
      }
    }
  }
  std::filesystem::permissions(key, std::filesystem::perms{0644});
  CHECK_NOTHROW(options_of("https://h/?outseal.ca_file=" + key));
}

}  // namespace
}  // namespace outseal::sinks
