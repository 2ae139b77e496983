#include "sinks/common/cloudevents.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "base/text.h"
#include "outseal/error.h"

namespace outseal::sinks {
namespace {

constexpr std::size_t kLineMax = 100'000;
constexpr std::string_view kId = "0190a5d0-1111-7222-8333-444455556666";

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

std::string encode(const EventRow& row, std::optional<Position> position = Position{1}) {
  CloudEventsEncoder encoder{"/outseal/main", kLineMax};
  std::string out;
  const auto reason = encoder.encode(row, position, out);
  CHECK_MESSAGE(!reason, *reason);
  return out;
}

std::optional<std::string> refusal(const EventRow& row) {
  CloudEventsEncoder encoder{"/outseal/main", kLineMax};
  std::string out = "as before";
  auto reason = encoder.encode(row, Position{1}, out);
  CHECK(out == "as before");
  return reason;
}

/// How a payload is rendered: from ",\"data" to the closing brace of the line.
std::string rendered(std::string_view content_type, std::string_view payload) {
  EventRow row = sample_row();
  row.content_type = content_type;
  row.payload = payload;
  const std::string line = encode(row);
  JsonCheck json{JsonCheck::kLineLevelsMax};
  CHECK_MESSAGE(json.is_object(line), line);
  CHECK(line.find('\n') == line.size() - 1);
  CHECK(line.find('\r') == std::string::npos);
  const auto begin = line.find(",\"data", line.find("\"datacontenttype\"") + 10);
  return line.substr(begin + 1, line.size() - begin - 3);
}

}  // namespace

TEST_CASE("an event is one line with its attributes in a fixed order") {
  EventRow row = sample_row();
  CHECK(encode(row, Position{42}) ==
        R"({"specversion":"1.0","sequence":"00000000000000000042",)"
        R"("id":"0190a5d0-1111-7222-8333-444455556666","source":"/outseal/main",)"
        R"("type":"order.paid","subject":"order-1",)"
        R"("time":"2026-01-31T23:59:59.999Z","topic":"orders",)"
        R"("datacontenttype":"application/json","data":{"amount":100}})"
        "\n");
  row.key = "";
  row.headers = R"({"zone":"b","traceparent":"00-1"})";
  row.payload = "7";
  CHECK(encode(row, Position{18'446'744'073'709'551'615U}) ==
        R"({"specversion":"1.0","sequence":"18446744073709551615",)"
        R"("id":"0190a5d0-1111-7222-8333-444455556666","source":"/outseal/main",)"
        R"("type":"order.paid","time":"2026-01-31T23:59:59.999Z","topic":"orders",)"
        R"("datacontenttype":"application/json","traceparent":"00-1","zone":"b","data":7})"
        "\n");
}

TEST_CASE("a document without a position is the line without that member") {
  std::string line = encode(sample_row(), Position{42});
  const std::string_view member = R"("sequence":"00000000000000000042",)";
  line.erase(line.find(member), member.size());
  CHECK(encode(sample_row(), std::nullopt) == line);
}

TEST_CASE("a JSON payload stays as it is, on one line") {
  for (const std::string type : {"application/json", "Application/JSON ; charset=utf-8",
                                 "application/vnd.x+json", "application/cloudevents+JSON;v=1"}) {
    CAPTURE(type);
    CHECK(rendered(type, R"({"b":1,"a":[1.50,"x\ny",null]})") ==
          R"("data":{"b":1,"a":[1.50,"x\ny",null]})");
    CHECK(rendered(type, "{\r\n  \"a\" :\t1\n}\n") == "\"data\":{    \"a\" :\t1 } ");
  }
  CHECK(rendered("application/json", "\"\u20ac\"") == "\"data\":\"\u20ac\"");
  CHECK(rendered("application/json", "null") == "\"data\":null");
}

TEST_CASE("a number that fits no machine type is JSON all the same") {
  for (const std::string number : {"123456789012345678901234567890", "-1e999", "0.1E+400",
                                   R"({"wei":[1000000000000000000000,"-1\"2"],"b":-0})"})
    CHECK(rendered("application/json", number) == "\"data\":" + number);
  for (const std::string number : {"01", "1.", "-", "+1", "1e", ".5", "[99999999999999999999,01]"})
    CHECK(rendered("application/json", number).starts_with("\"data_base64\":\""));
}

TEST_CASE("a text payload is a JSON string if it is UTF-8") {
  CHECK(rendered("text/plain", "a \"b\"\nc") == R"("data":"a \"b\"\nc")");
  CHECK(rendered("TEXT/csv; charset=utf-8", "") == R"("data":"")");
  CHECK(rendered("text/plain", "\xff") == R"("data_base64":"/w==")");
}

TEST_CASE("every other payload is base64, also one that only claims to be JSON") {
  CHECK(rendered("application/octet-stream", "{}") == R"("data_base64":"e30=")");
  CHECK(rendered("json", "{}") == R"("data_base64":"e30=")");
  CHECK(rendered("+json", "{}") == R"("data_base64":"e30=")");
  CHECK(rendered("application/json", "") == R"("data_base64":"")");
  const std::string deep = std::string(2'000, '[') + std::string(2'000, ']');
  for (const std::string_view bad :
       {std::string_view{"{"}, std::string_view{"{}{}"}, std::string_view{"{} x"},
        std::string_view{"{'a':1}"}, std::string_view{"\"\xff\""}, std::string_view{"\"a\nb\""},
        std::string_view{"{}\0", 3}, std::string_view{"\xef\xbb\xbf{}"}, std::string_view{" \n"},
        std::string_view{"nul"}, std::string_view{deep}})
    CHECK(rendered("application/json", bad).starts_with("\"data_base64\":\""));
}

TEST_CASE("the deepest payload that is taken makes a line that is read back") {
  JsonCheck line_check{JsonCheck::kLineLevelsMax};
  EventRow row = sample_row();
  std::size_t taken = 0;
  for (std::size_t levels = 900; levels < 1'030; ++levels) {
    const std::string payload = std::string(levels, '[') + std::string(levels, ']');
    row.payload = payload;
    const std::string line = encode(row);
    CHECK(line_check.is_json(line));
    if (line.find("data_base64") == std::string::npos) taken = levels;
  }
  CHECK(taken >= JsonCheck::kLevelsMax - 1);
  CHECK(taken <= JsonCheck::kLevelsMax);
}

TEST_CASE("an event that cannot be a line is refused with the reason") {
  EventRow row = sample_row();
  const auto reason_has = [&row](std::string_view part) {
    const auto reason = refusal(row);
    return reason && reason->find(part) != std::string::npos;
  };
  SUBCASE("topic") {
    row.topic = "a\xff";
    CHECK(reason_has("topic"));
  }
  SUBCASE("key") {
    row.key = "a\xff";
    CHECK(reason_has("key"));
  }
  SUBCASE("type") {
    row.type = "a\xff";
    CHECK(reason_has("type"));
  }
  SUBCASE("no type") {
    row.type = "";
    CHECK(reason_has("type"));
  }
  SUBCASE("content type") {
    row.content_type = "a\xff";
    CHECK(reason_has("content type"));
  }
  SUBCASE("headers that are no object") {
    row.headers = "[1]";
    CHECK(reason_has("headers"));
  }
  SUBCASE("headers with bytes behind a NUL") {
    row.headers = {"{}\0\n", 4};
    CHECK(reason_has("headers"));
  }
  SUBCASE("time") {
    row.created_at_ms = 253'402'300'800'000;
    CHECK(reason_has("time"));
  }
  CHECK(refusal(row));
  CHECK_THROWS_AS(CloudEventsEncoder("", kLineMax), Error);
  CHECK_THROWS_AS(CloudEventsEncoder("\xff", kLineMax), Error);
}

TEST_CASE("the limit is on the whole line, to the byte") {
  const EventRow row = sample_row();
  const std::string line = encode(row, Position{9});
  std::string out;
  CHECK_FALSE(CloudEventsEncoder("/outseal/main", line.size()).encode(row, Position{9}, out));
  CHECK(out == line);
  CHECK(CloudEventsEncoder("/outseal/main", line.size() - 1).encode(row, Position{9}, out));
  CHECK(out == line);
}

TEST_CASE("the head of a line is read, and nothing else is taken for one") {
  const std::string line = encode(sample_row(), Position{77});
  const auto head = parse_line_head(line);
  REQUIRE(head);
  CHECK(head->position == Position{77});
  CHECK(head->event_id.to_string() == kId);
  const auto cut = line.find("\"/outseal") + 1;
  for (std::size_t length = 0; length < cut; ++length)
    CHECK_FALSE(parse_line_head(std::string_view{line}.substr(0, length)));
  const std::string rest = R"(","id":"0190a5d0-1111-7222-8333-444455556666","source":"x")";
  const std::string start = R"({"specversion":"1.0","sequence":")";
  const std::string one = "00000000000000000001";
  CHECK(parse_line_head(start + one + rest));
  for (const std::string number :
       {"00000000000000000000", "0000000000000000001", "000000000000000000001", "1", "",
        "-0000000000000000001", "+0000000000000000001", " 0000000000000000001",
        "0000000000000000001 ", "000000000000000001.0", "0000000000000000001e",
        "18446744073709551616"})
    CHECK_FALSE(parse_line_head(start + number + rest));
  CHECK_FALSE(parse_line_head(start + one + R"(","id":"0190A5D0-1111-7222-8333-444455556666",)" +
                              R"("source":"x")"));
  CHECK_FALSE(parse_line_head(" " + line));
}

TEST_CASE("the start of a line is recognised at any length") {
  const std::string line = encode(sample_row());
  for (std::size_t length = 0; length <= line.size(); ++length)
    CHECK(may_be_cut_line(std::string_view{line}.substr(0, length)));
  CHECK_FALSE(may_be_cut_line("x"));
  CHECK_FALSE(may_be_cut_line("{\"specversion\":\"1.0\",\"id\""));
}

TEST_CASE("random events give one line each that is JSON and has their head") {
  const char* const given = std::getenv("OUTSEAL_SEED");
  const std::uint64_t seed =
      given == nullptr ? std::random_device{}() : std::strtoull(given, nullptr, 10);
  MESSAGE("OUTSEAL_SEED=" << seed);
  std::mt19937_64 random{seed};
  const std::vector<std::string> bits{"{",  "}",  "[",    "]",    "\"", "\\", ",", ":",      "1",
                                      "\n", "\r", "true", "\xff", "a",  " ",  "0", "\u20ac", "-"};
  const std::vector<std::string> types{"application/json", "text/plain", "x/y", "a/b+json;c"};
  const auto text = [&](std::size_t most) {
    std::string out;
    for (std::size_t left = random() % (most + 1); left > 0; --left)
      out += bits[random() % bits.size()];
    return out;
  };
  CloudEventsEncoder encoder{"/outseal/main", kLineMax};
  JsonCheck json{JsonCheck::kLineLevelsMax};
  for (int i = 0; i < 20'000; ++i) {
    const std::string topic = text(3);
    const std::string key = text(3);
    const std::string payload = text(8);
    EventRow row = sample_row();
    row.topic = topic;
    row.key = key;
    row.payload = payload;
    row.content_type = types[random() % types.size()];
    const Position position{random() | 1U};
    std::string out;
    if (encoder.encode(row, position, out)) {
      REQUIRE(out.empty());
      REQUIRE_FALSE((is_utf8(topic) && is_utf8(key)));
      continue;
    }
    REQUIRE_MESSAGE(json.is_object(out), out);
    REQUIRE(out.find('\n') == out.size() - 1);
    REQUIRE(parse_line_head(out)->position == position);
  }
}

}  // namespace outseal::sinks
