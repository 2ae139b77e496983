// The list of attributes that lines, webhooks and NATS messages have in common.
#include "sinks/common/event_attributes.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "base/text.h"
#include "outseal/error.h"

namespace outseal::sinks {
namespace {

EventRow sample_row() {
  EventRow row;
  row.id = *EventId::parse("0190a5d0-1111-7222-8333-444455556666");
  row.topic = "orders";
  row.key = "order-1";
  row.type = "order.paid";
  row.headers = "{}";
  row.payload = "{}";
  row.content_type = "application/json";
  row.created_at_ms = 1'769'903'999'999;
  return row;
}

using Named = std::vector<std::pair<std::string, std::string>>;

/// The attributes that stand for `headers`.
Named own(const std::string& headers) {
  EventAttributes attributes{"/shop"};
  EventRow row = sample_row();
  row.headers = headers;
  const auto reason = attributes.read(row, Position{1});
  REQUIRE_MESSAGE(!reason, *reason);
  Named own;
  for (const auto& [name, value] : attributes.list()) own.emplace_back(name, value);
  own.erase(own.begin(), own.begin() + 9);
  return own;
}

/// What the list says of the headers, read by the rule that is documented for receivers.
nlohmann::json headers_in(const Named& own) {
  nlohmann::json headers = nlohmann::json::object();
  for (const auto& [name, value] : own) {
    if (name == "headers") return nlohmann::json::parse(value);
    headers[name] = value;
  }
  return headers;
}

}  // namespace

TEST_CASE("an event's attributes are strings in a fixed order; what is empty is left out") {
  EventAttributes attributes{"/shop"};
  EventRow row = sample_row();
  REQUIRE_FALSE(attributes.read(row, Position{42}));
  CHECK(attributes.list() == std::vector<Attribute>{{"specversion", "1.0"},
                                                    {"sequence", "00000000000000000042"},
                                                    {"id", "0190a5d0-1111-7222-8333-444455556666"},
                                                    {"source", "/shop"},
                                                    {"type", "order.paid"},
                                                    {"subject", "order-1"},
                                                    {"time", "2026-01-31T23:59:59.999Z"},
                                                    {"topic", "orders"},
                                                    {"datacontenttype", "application/json"}});
  row.key = row.topic = row.content_type = "";
  REQUIRE_FALSE(attributes.read(row, std::nullopt));
  CHECK(attributes.list().size() == 5);
}

TEST_CASE("a header that can be an attribute is one, and the others are kept as one text") {
  CHECK(own("{}").empty());
  CHECK(own(" { } ").empty());
  CHECK(own(R"({"traceparent":"00-1","a1":"x \u20ac"})") ==
        Named{{"a1", "x \xe2\x82\xac"}, {"traceparent", "00-1"}});
  CHECK(own(R"({"i":"1","X-Id":"2"})") ==
        Named{{"headers", R"({"i":"1","X-Id":"2"})"}, {"i", "1"}});
  CHECK(own("{\n\"A\" :\t\"\\n\\u0000\"\r\n}") ==
        Named{{"headers", "{ \"A\" : \"\\n\\u0000\"  }"}});
}

TEST_CASE("no header can take the name of another attribute or break the rules for one") {
  for (const std::string name : {"specversion",
                                 "sequence",
                                 "id",
                                 "source",
                                 "type",
                                 "subject",
                                 "time",
                                 "topic",
                                 "datacontenttype",
                                 "dataschema",
                                 "data",
                                 "headers",
                                 "sequencetype",
                                 "",
                                 "A",
                                 "a-b",
                                 "a_b",
                                 "a b",
                                 "\u00e4",
                                 "data_base64",
                                 "abcdefghijklmnopqrstu"}) {
    CAPTURE(name);
    const std::string headers = nlohmann::json{{name, "x"}}.dump();
    CHECK(own(headers) == Named{{"headers", headers}});
  }
  CHECK(own(R"({"abcdefghijklmnopqrst":"x"})").front().first == "abcdefghijklmnopqrst");
  for (const std::string value : {R"("")", "1", "true", "null", "[]", "{}", "1e999", R"("\u0000")",
                                  R"("\n")", R"("\u007f")", R"("\u0085")"}) {
    CAPTURE(value);
    const std::string headers = R"({"b":)" + value + R"(,"a":"x"})";
    CHECK(own(headers) == Named{{"a", "x"}, {"headers", headers}});
  }
  CHECK(own(R"({"a":"1","b":"2","a":"3"})") ==
        Named{{"b", "2"}, {"headers", R"({"a":"1","b":"2","a":"3"})"}});
}

TEST_CASE("binary mode: attributes are percent-encoded lines, the trace's stand twice") {
  EventAttributes attributes{"/shop"};
  EventRow row = sample_row();
  row.key = "Euro \xe2\x82\xac \"50%\"\n~!";
  row.headers = R"({"zone":"a b","tracestate":"a=1, b=2","traceparent":"00-\u20ac"})";
  REQUIRE_FALSE(attributes.read(row, std::nullopt));
  std::string out;
  attributes.append_headers(out);
  CHECK(out ==
        "ce-specversion: 1.0\r\n"
        "ce-id: 0190a5d0-1111-7222-8333-444455556666\r\n"
        "ce-source: /shop\r\n"
        "ce-type: order.paid\r\n"
        "ce-subject: Euro%20%E2%82%AC%20%2250%25%22%0A~!\r\n"
        "ce-time: 2026-01-31T23:59:59.999Z\r\n"
        "ce-topic: orders\r\n"
        "content-type: application/json\r\n"
        "ce-traceparent: 00-%E2%82%AC\r\n"
        "ce-tracestate: a=1,%20b=2\r\n"
        "ce-zone: a%20b\r\n"
        "tracestate: a=1, b=2\r\n");
}

TEST_CASE("positions as text are in the order of their numbers") {
  std::string before;
  for (const std::uint64_t number : {std::uint64_t{1}, std::uint64_t{9}, std::uint64_t{10},
                                     std::uint64_t{1} << 33U, UINT64_MAX}) {
    std::string text;
    append_sequence(text, Position{number});
    CHECK(text.size() == kSequenceDigits);
    CHECK(before < text);
    CHECK(parse_sequence(text) == Position{number});
    before = text;
  }
}

TEST_CASE("headers of any kind can be read back from the list, whatever became of them") {
  const char* const given = std::getenv("OUTSEAL_SEED");
  const std::uint64_t seed =
      given == nullptr ? std::random_device{}() : std::strtoull(given, nullptr, 10);
  MESSAGE("OUTSEAL_SEED=" << seed);
  std::mt19937_64 random{seed};
  const std::vector<std::string> names{"a", "zone", "id", "headers", "X-Id", "", "traceparent"};
  const std::vector<nlohmann::json> values{"x", "", "a\nb", "\u20ac ", 1, nullptr, {{"b", 1.5}}};
  for (int i = 0; i < 5'000; ++i) {
    nlohmann::json headers = nlohmann::json::object();
    for (std::size_t left = random() % 5; left > 0; --left)
      headers[names[random() % names.size()]] = values[random() % values.size()];
    const Named list = own(headers.dump(random() % 2 == 0 ? -1 : 1));
    REQUIRE_MESSAGE(headers_in(list) == headers, headers.dump());
    for (std::size_t at = 1; at < list.size(); ++at) REQUIRE(list[at - 1].first < list[at].first);
  }
}

}  // namespace outseal::sinks
