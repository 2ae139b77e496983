// Subjects, headers and the canonical bytes of NATS messages, and what a nats: URL may say.
#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "outseal/error.h"
#include "sinks/nats/message.h"
#include "sinks/nats/options.h"
#include "support/secret_file.h"
#include "support/temp_folder.h"

namespace outseal::sinks {
namespace {

std::string subject_of(const std::string& topic, const std::string& key) {
  std::string out;
  NatsSubject{"S.{topic}.{key}"}.append_to(out, topic, key);
  return out;
}

EventRow plain_row() {
  EventRow row;
  row.id = *EventId::parse("0190b2c4-0000-7000-8000-000000000001");
  row.topic = "orders";
  row.key = "k 1";
  row.type = "order.paid";
  row.headers = "{}";
  row.payload = "{}";
  row.content_type = "application/json";
  row.created_at_ms = 1'700'000'000'000;
  return row;
}

std::string encoded(const EventRow& row, NatsSharing sharing = NatsSharing::alone) {
  NatsEncoder encoder{NatsSubject{"S.{topic}.{key}"}, "/shop", "/shop#main", sharing};
  std::string out;
  const auto reason = encoder.encode(row, Position{7}, out);
  REQUIRE_MESSAGE(!reason, reason.value_or(""));
  return out;
}

std::string refusal_of(const EventRow& row) {
  NatsEncoder encoder{NatsSubject{"S.{topic}.{key}"}, "/shop", "/shop#main"};
  std::string out = "before";
  const auto reason = encoder.encode(row, Position{7}, out);
  CHECK(out == "before");
  return reason.value_or("");
}

NatsSinkOptions options_of(const std::string& url) {
  return NatsSinkOptions::from(Url::parse("sink", url));
}

}  // namespace

TEST_CASE("different topics and keys never share a subject, and every subject is a valid one") {
  CHECK(subject_of("orders", "42") == "S.orders.42");
  CHECK(subject_of("orders.eu/west", "42") == "S.orders.eu/west.42");
  CHECK(subject_of("orders", "") == "S.orders._");
  CHECK(subject_of("orders", "_") == "S.orders.%5F");
  CHECK(subject_of("a..b", "x.y") == "S.a.%2Eb.x%2Ey");
  CHECK(subject_of(".a.", "*>% \x7f") == "S.%2Ea%2E.%2A%3E%25%20%7F");

  const std::string alphabet = "a._*%2E>";
  std::vector<std::string> texts{""};
  for (std::size_t i = 0; texts.size() < 500; ++i)
    for (const char c : alphabet) texts.push_back(texts[i] + c);
  std::map<std::string, std::string> seen;
  for (const std::string& text : texts) {
    for (const auto& [topic, key] : {std::pair{text, std::string{"k"}}, {std::string{"t"}, text}}) {
      const std::string subject = subject_of(topic, key);
      const std::string pair = topic + '\n' + key;
      const auto [at, fresh] = seen.emplace(subject, pair);
      CHECK_MESSAGE((fresh || at->second == pair), subject);
      CHECK(subject.find("..") == std::string::npos);
      CHECK_FALSE(subject.ends_with('.'));
      CHECK(subject.find_first_of("*> ") == std::string::npos);
    }
  }
}

TEST_CASE("a subject pattern says what a stream has to listen to") {
  CHECK(NatsSubject{"S.{topic}.{key}"}.space() == "S.>");
  CHECK(NatsSubject{"a.b.{key}.c"}.space() == "a.b.>");
  CHECK(NatsSubject{"a.b"}.space() == "a.b");
  for (const char* const wrong : {"{topic}", "a..b", "a.*", "a.>", "", "a. b", "a.{other}"})
    CHECK_THROWS_AS(NatsSubject{wrong}, Error);
}

TEST_CASE("subjects with wildcards are compared token by token") {
  CHECK(subject_covers("S.>", "S.>"));
  CHECK(subject_covers(">", "S.>"));
  CHECK(subject_covers("S.*", "S.a"));
  CHECK_FALSE(subject_covers("S.*.*", "S.>"));
  CHECK_FALSE(subject_covers("S.a", "S.b"));
  CHECK_FALSE(subject_covers("S.a.b", "S.a"));
  CHECK(subjects_overlap("S.orders.*", "S.>"));
  CHECK(subjects_overlap("S.*", "*.a"));
  CHECK_FALSE(subjects_overlap("T.>", "S.>"));
  CHECK_FALSE(subjects_overlap("S", "S.>"));
}

TEST_CASE("an event has one form, byte for byte") {
  EventRow row = plain_row();
  row.headers = R"({"zone":"a b","traceparent":"00-1","Trace":"b"})";
  row.payload = "one\r\n\r\ntwo";
  CHECK(encoded(row) ==
        "S.orders.k%201\r\nNATS/1.0\r\n"
        "Nats-Msg-Id: 0190b2c4-0000-7000-8000-000000000001\r\n"
        "outseal-stream: /shop#main\r\n"
        "ce-specversion: 1.0\r\n"
        "ce-sequence: 00000000000000000007\r\n"
        "ce-id: 0190b2c4-0000-7000-8000-000000000001\r\n"
        "ce-source: /shop\r\n"
        "ce-type: order.paid\r\n"
        "ce-subject: k%201\r\n"
        "ce-time: 2023-11-14T22:13:20.000Z\r\n"
        "ce-topic: orders\r\n"
        "content-type: application/json\r\n"
        "ce-headers: {%22zone%22:%22a%20b%22,%22traceparent%22:%2200-1%22,"
        "%22Trace%22:%22b%22}\r\n"
        "ce-traceparent: 00-1\r\n"
        "ce-zone: a%20b\r\n"
        "traceparent: 00-1\r\n"
        "\r\none\r\n\r\ntwo");
}

TEST_CASE("a message is taken apart and put together again from headers in any order") {
  EventRow row = plain_row();
  row.headers = R"({"b":"2","tracestate":"c=1","traceparent":"00-1","A":"1","a":"1"})";
  const std::string bytes = encoded(row);
  NatsMessageView view{bytes};
  CHECK(view.subject == "S.orders.k%201");
  CHECK(view.payload == "{}");
  CHECK(view.wire_bytes() == bytes.size() - view.subject.size() - 2);
  const std::string_view payload = view.payload;
  const std::string_view subject = view.subject;
  std::vector<NatsHeader> headers{{kNatsExpectedStream, "S"}, {kNatsExpectedSequence, "6"}};
  while (!view.headers.empty()) headers.insert(headers.begin(), view.take_header());
  const auto identity = identify(headers, "/shop#main");
  REQUIRE(identity);
  CHECK(identity->position == Position{7});
  CHECK(identity->event_id == row.id);
  CHECK_FALSE(identify(headers, "/shop#other"));
  std::string again;
  append_canonical(again, subject, headers, payload);
  CHECK(again == bytes);
}

TEST_CASE("in a shared stream an event has another message id for each subscription") {
  const EventRow row = plain_row();
  const std::string bytes = encoded(row, NatsSharing::shared);
  NatsMessageView view{bytes};
  std::vector<NatsHeader> headers;
  while (!view.headers.empty()) headers.push_back(view.take_header());
  CHECK(headers.front() ==
        NatsHeader{kNatsMsgId, "0190b2c4-0000-7000-8000-000000000001@/shop#main"});
  const auto identity = identify(headers, "/shop#main");
  REQUIRE(identity);
  CHECK(identity->event_id == row.id);
}

TEST_CASE("no header of an event changes the message: they are all attributes") {
  for (const char* const headers :
       {R"({"Nats-Rollup":"all"})", R"({"CE-id":"1"})", R"({"outseal-stream":"9"})",
        R"({"Content-Type":"a"})", R"({"Status":"503"})", R"({"a:b":"1"})", R"({"":"1"})",
        R"({"a":""})", R"({"a":"b\r\nc: d"})", R"({"a":"b","a":"c"})", R"({"a":1})"}) {
    EventRow row = plain_row();
    row.headers = headers;
    const std::string bytes = encoded(row);
    std::string expected;
    append_attribute(expected, headers);
    const auto line = bytes.find("ce-headers: " + expected + "\r\n");
    REQUIRE(line != std::string::npos);
    CHECK(bytes.substr(0, line) + bytes.substr(line + expected.size() + 14) ==
          encoded(plain_row()));
  }
}

TEST_CASE("what a message cannot carry is refused, with the reason and without the content") {
  EventRow row = plain_row();
  SUBCASE("headers that are no object") { row.headers = "[]"; }
  std::string large;
  SUBCASE("more headers than a stream takes") {
    large = R"({"a":")" + std::string(66'000, 'x') + "\"}";
    row.headers = large;
  }
  SUBCASE("a subject that is too long") {
    large = std::string(4'000, 'x');
    row.key = large;
  }
  SUBCASE("a content type with a line break") { row.content_type = "a\r\nb: c"; }
  SUBCASE("no type") { row.type = ""; }
  SUBCASE("a topic that is not UTF-8") { row.topic = "\xff"; }
  const std::string reason = refusal_of(row);
  CHECK_FALSE(reason.empty());
  CHECK(reason.size() < 200);
}

TEST_CASE("a nats: URL is read with all its parts") {
  const test::TempFolder folder;
  std::ofstream{folder.file("ca.pem")} << "PEM";
  const auto options = options_of(
      "nats://me:p%40ss@one:1,Two,[::1],[::1]:2/EVENTS?subject=x.{topic}&shared=true&in_flight=7"
      "&timeout_ms=900&ca_file=" +
      folder.file("ca.pem"));
  CHECK(options.servers == std::vector<std::string>{"nats://one:1", "nats://two:4222",
                                                    "nats://[::1]:4222", "nats://[::1]:2"});
  CHECK(options.ca_file == folder.file("ca.pem"));
  CHECK(options.user == "me");
  CHECK(options.password == "p@ss");
  CHECK(options.stream == "EVENTS");
  CHECK(options.subject == "x.{topic}");
  CHECK(options.shared);
  CHECK(options.tls);
  CHECK(options.in_flight == 7);
  CHECK(options.timeout == std::chrono::milliseconds{900});
  CHECK(options_of("nats://h/E").subject == "E.{topic}.{key}");
}

TEST_CASE("a nats: URL that says too little or too much is refused, and no password is repeated") {
  for (const char* const wrong : {"nats:h/E",
                                  "nats://h",
                                  "nats://h/",
                                  "nats://h/a.b",
                                  "nats://h/a/b",
                                  "nats:///E",
                                  "nats://h,,i/E",
                                  "nats://me@h/E",
                                  "nats://me:sesame@h/E?password_file=f",
                                  "nats://:sesame@h/E",
                                  "nats://me:ses%ame@h/E",
                                  "nats://h/E?password_file=f",
                                  "nats://h/E?shared=sesame",
                                  "nats://h/E?in_flight=0",
                                  "nats://h/E?replicas=3",
                                  "nats://h/E?cert_file=c",
                                  "nats://h/E?sesame=1",
                                  "nats://h:/E",
                                  "nats://h:0/E",
                                  "nats://h:abc/E",
                                  "nats://h:65536/E",
                                  "nats://h:42x/E",
                                  "nats://a,b:-1/E",
                                  "nats://::1/E",
                                  "nats://:4222/E",
                                  "nats://me:sesame@h:x/E"}) {
    CAPTURE(wrong);
    try {
      options_of(wrong);
      FAIL("not refused");
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::invalid_argument);
      const std::string text = std::string{error.what()} + error.hint();
      if (std::string_view{wrong}.find('@') != std::string_view::npos)
        CHECK(text.find("sesame") == std::string::npos);
    }
  }
}

TEST_CASE("where a nats: URL lacks its host, what may be a password is not repeated") {
  try {
    options_of("nats://me:sesame/EVENTS");
    FAIL("not refused");
  } catch (const Error& error) {
    CHECK(std::string_view{error.what()}.find("sesame") == std::string_view::npos);
  }
}

TEST_CASE("a file that a nats: URL names has to be there from the start") {
  const test::TempFolder folder;
  const std::string there = test::write_secret(folder.file("there"), "x");
  std::ofstream{folder.file("empty")};
  for (const std::string& path : {folder.file("absent"), folder.file("empty"), folder.file("")}) {
    for (const std::string& rest :
         {"nats://h/E?creds=" + path, "nats://me@h/E?password_file=" + path,
          "nats://h/E?ca_file=" + path, "nats://h/E?key_file=" + there + "&cert_file=" + path,
          "nats://h/E?cert_file=" + there + "&key_file=" + path}) {
      CAPTURE(rest);
      try {
        options_of(rest);
        FAIL("not refused");
      } catch (const Error& error) {
        CHECK(error.code() == ErrorCode::invalid_config);
        CHECK(error.message().find(path) != std::string::npos);
        CHECK_FALSE(error.hint().empty());
      }
    }
  }
}

TEST_CASE("a secret that every user can read is refused, a certificate is not") {
  const test::TempFolder folder;
  const std::string file = test::write_secret(folder.file("file"), "x");
  const std::vector<std::string> secrets{"nats://h/E?creds=" + file,
                                         "nats://me@h/E?password_file=" + file,
                                         "nats://h/E?cert_file=" + file + "&key_file=" + file};
  for (const std::string& url : secrets) CHECK_NOTHROW(options_of(url));
  std::filesystem::permissions(file, std::filesystem::perms{0644});
  CHECK_NOTHROW(options_of("nats://h/E?ca_file=" + file));
  for (const std::string& url : secrets) {
    CAPTURE(url);
    try {
      options_of(url);
      FAIL("not refused");
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::invalid_config);
      CHECK(error.hint() == "run: chmod 600 " + file);
    }
  }
}

TEST_CASE("two nats: URLs are of one stream if they have a server in common") {
  const auto same = [](const char* one, const char* other) {
    return is_same_stream(Url::parse("sink", one), Url::parse("sink", other));
  };
  CHECK(same("nats://h/E", "nats://h:4222/E"));
  CHECK(same("nats://H/E", "nats://me@h/E?password_file=f"));
  CHECK(same("nats://a,b,c/E", "nats://d:1,c:4222/E"));
  CHECK(same("nats://[::1]/E", "nats://[::1]:4222/E"));
  CHECK_FALSE(same("nats://h/E", "nats://h:4223/E"));
  CHECK_FALSE(same("nats://h/E", "nats://h/F"));
  CHECK_FALSE(same("nats://h/E", "nats://h/e"));
  CHECK_FALSE(same("nats://a,b/E", "nats://c,d/E"));
}

}  // namespace outseal::sinks
