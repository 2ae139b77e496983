#include "base/url.h"

#include <doctest/doctest.h>

#include <string>

#include "outseal/error.h"

namespace outseal {
namespace {

/// What the error of `call` says, hint included; empty if there is none.
template <typename Call>
std::string error_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::invalid_argument);
    return std::string{error.what()} + " | " + error.hint();
  }
  return {};
}

std::string parse_error(const std::string& text) {
  return error_of([&] { Url::parse("--sink", text); });
}

std::string redacted(const std::string& text) { return Url::parse("--db", text).redacted(); }

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a URL is split into scheme, rest and parameters") {
  const Url path = Url::parse("--db", "sqlite:/var/lib/a b.db");
  CHECK(path.scheme == "sqlite");
  CHECK(path.rest == "/var/lib/a b.db");
  CHECK(path.parameters.empty());
  const Url file = Url::parse("--sink", "FILE:events.ndjson?segment_bytes=4096&x=a%20b%2fc");
  CHECK(file.scheme == "file");
  CHECK(file.rest == "events.ndjson");
  CHECK(file.parameters.size() == 2);
  CHECK(file.parameters.at("segment_bytes") == "4096");
  CHECK(file.parameters.at("x") == "a b/c");
  CHECK(Url::parse("--sink", "stdout:").rest.empty());
  CHECK(Url::parse("--sink", "stdout:?").parameters.empty());
  CHECK(Url::parse("--sink", "rabbitmq-stream://h:5552/s").rest == "//h:5552/s");
  CHECK(Url::parse("--db", "sqlite:a:b").rest == "a:b");
}

TEST_CASE("of a URL of http or https only what has our prefix is ours, the rest stays as it is") {
  const auto query = [](const std::string& text) {
    return Url::parse("--sink", text).endpoint_query;
  };
  for (const std::string text : {"", "?", "?a", "?b=", "?b=1&a=x+y%2B%zz%", "?tag=1&tag=2", "?&&a&",
                                 "?=&==", "?in_flight=1&myoutseal.x=1&outseal=&Outseal.mode=x"}) {
    CAPTURE(text);
    CHECK(query("http://h/p" + text) == text);
    CHECK(query("HTTPS://h/p" + text) == text);
    CHECK(Url::parse("--sink", "http://h/p" + text).parameters.empty());
  }
  const Url mixed =
      Url::parse("--sink", "http://h/?outseal.a=%31&z=1&outseal.b=2&&a=%31&outseal.c=3");
  CHECK(mixed.endpoint_query == "?z=1&&a=%31");
  CHECK(mixed.parameters == std::map<std::string, std::string>{
                                {"outseal.a", "1"}, {"outseal.b", "2"}, {"outseal.c", "3"}});
  CHECK(mixed.redacted() == "http://h/");
  CHECK(query("http://h/?outseal.a=1").empty());
  CHECK(query("file:x?a=1").empty());
  CHECK(contains(parse_error("http://h/?outseal.a"), "name=value"));
  CHECK(contains(parse_error("http://h/?outseal.a="), "is empty"));
  CHECK(contains(parse_error("http://h/?outseal.a=1&x&outseal.a=2"), "given twice"));
}

TEST_CASE("a URL that cannot be understood names the option and the fault") {
  CHECK(contains(parse_error("events.ndjson"), "--sink: \"events.ndjson\" is not a URL"));
  CHECK(contains(parse_error("events.ndjson"), "file:events.ndjson"));
  CHECK(contains(parse_error(""), "--sink"));
  CHECK(contains(parse_error(":x"), "scheme is missing"));
  CHECK(contains(parse_error("/a:b"), "scheme is missing"));
  CHECK(contains(parse_error("file:x?a"), "name=value"));
  CHECK(contains(parse_error("file:x?a="), "is empty"));
  CHECK(contains(parse_error("file:x?=1"), "name=value"));
  CHECK(contains(parse_error("file:x?a=1&&b=2"), "name=value"));
  CHECK(contains(parse_error("file:x?a=1&&"), "name=value"));
  CHECK(contains(parse_error("file:x?&a=1"), "name=value"));
  CHECK(parse_error("file:x?a=1&").empty());
  CHECK(contains(parse_error("file:x?a=%"), "\"a\""));
  CHECK(contains(parse_error("file:x?a=%4"), "\"a\""));
  CHECK(contains(parse_error("file:x?%zz=1"), "hexadecimal"));
  CHECK(contains(parse_error("file:x?a=1&a=2"), "given twice"));
}

TEST_CASE("no error repeats a password") {
  for (const std::string text : {"/u:secret@h", "x y:secret@h", "file:x?password=secret%",
                                 "file:x?a=secret&a=secret", "pg://u:secret@h?secret"}) {
    CHECK_FALSE(parse_error(text).empty());
    CHECK_FALSE(contains(parse_error(text), "secret"));
  }
  const Url url = Url::parse("--db", "pg://h?limit=secret");
  CHECK_FALSE(contains(error_of([&] { url.number("limit", 1, 1, 2); }), "secret"));
  CHECK_FALSE(contains(error_of([&] { url.refuse_parameters_except(""); }), "secret"));
}

TEST_CASE("a redacted URL has no password and no parameters") {
  CHECK(redacted("sqlite:orders.db?x=1") == "sqlite:orders.db");
  CHECK(redacted("postgresql://app:pw@host:5432/db?sslmode=require") ==
        "postgresql://app@host:5432/db");
  CHECK(redacted("postgresql://app@host/db") == "postgresql://app@host/db");
  CHECK(redacted("redis://:pw@host") == "redis://@host");
  CHECK(redacted("nats://host:4222/STREAM") == "nats://host:4222/STREAM");
  CHECK(redacted("postgresql://app:p@ss:w/rd@host/db") == "postgresql://app@host/db");
  CHECK(redacted("file:/srv/a:b@c/events") == "file:/srv/a:b@c/events");
  CHECK(redacted("file:///srv/a:b@c/events") == "file:///srv/a:b@c/events");
  CHECK(redacted("stdout:") == "stdout:");
}

TEST_CASE("a number parameter has a default, a range, and nothing around it") {
  const Url url =
      Url::parse("--sink", "file:x?n=42&low=1&big=99999999999999999999&bad=4k&minus=-1");
  CHECK(url.number("none", 7, 1, 10) == 7);
  CHECK(url.number("n", 7, 42, 42) == 42);
  for (const char* name : {"low", "big", "bad", "minus"}) {
    const std::string error = error_of([&] { url.number(name, 7, 2, 50); });
    CHECK(contains(error, std::string{"\""} + name + "\" must be a whole number from 2 to 50"));
  }
}

TEST_CASE("a port is a number from 1 to 65535 and nothing else") {
  for (const char* const port : {"1", "80", "4222", "65535"}) CHECK(is_port(port));
  for (const char* const text : {"", "0", "65536", "99999", "-1", "+1", " 1", "1 ", "0x1", "abc"})
    CHECK_FALSE(is_port(text));
}

TEST_CASE("an unknown parameter is refused and the known ones are named") {
  const Url url = Url::parse("--sink", "file:x?segment_bytes=1&bytes=2");
  CHECK(error_of([&] { url.refuse_parameters_except("segment_bytes bytes"); }).empty());
  const std::string error = error_of([&] { url.refuse_parameters_except("segment_bytes other"); });
  CHECK(contains(error, "unknown parameter \"bytes\""));
  CHECK(contains(error, "segment_bytes other"));
  CHECK(contains(error_of([&] { url.refuse_parameters_except(""); }), "takes no parameters"));
}

}  // namespace outseal
