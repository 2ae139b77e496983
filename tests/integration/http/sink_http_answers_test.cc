// What the http: sink makes of answers: good, late, wrong, endless, or none at all.
#include <doctest/doctest.h>

#include <atomic>
#include <ctime>
#include <map>
#include <mutex>

#include "conformance/http_receiver.h"
#include "support/program.h"

namespace outseal::test {
namespace {

using httplib::Request;
using httplib::Response;
using std::chrono::milliseconds;
using Status = DeliveryResult::Status;

DeliveryResult deliver_with(const HttpReceiver::Answer& answer, std::size_t count = 1) {
  const HttpReceiver receiver{answer};
  return deliver_to(receiver.url(), count);
}

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

TEST_CASE("the endpoint's own query arrives byte for byte, ours does not") {
  const HttpReceiver receiver;
  const std::string query = "?b=1&a=x+y&tag=1&tag=%2f&tag=%2F&&empty=&flag&c=d/e:f@g'(,;)=[]%";
  REQUIRE(deliver_to(receiver.url(query + "&outseal.in_flight=2")).status == Status::delivered);
  REQUIRE(deliver_to(receiver.url("?outseal.in_flight=2")).status == Status::delivered);
  CHECK(receiver.asked().at(0).target == "/hook" + query);
  CHECK(receiver.asked().at(1).target == "/hook");
}

TEST_CASE("a sink warns of a parameter that may lack the prefix, and shows no values") {
  const auto warning = make_http("http://h/?in_flight=hunter2&x=hunter2")->open();
  CHECK(warning.status == OpenResult::Status::opened);
  CHECK(has(warning.detail, "without their prefix"));
  CHECK(has(warning.hint, "write outseal.in_flight"));
  CHECK_FALSE(has(warning.detail + warning.hint, "hunter2"));
  CHECK(make_http("http://h/?outseal.in_flight=1&x=1")->open().detail.empty());
}

TEST_CASE("structured mode sends one CloudEvents document") {
  const HttpReceiver receiver;
  const auto result = deliver_to(receiver.url("?outseal.mode=structured"));
  REQUIRE_MESSAGE(result.status == Status::delivered, result.detail);
  REQUIRE(receiver.asked().size() == 1);
  const Asked asked = receiver.asked().front();
  const std::string id = event_id_at(Position{1}).to_string();
  CHECK(asked.header("content-type") == "application/cloudevents+json; charset=utf-8");
  CHECK(asked.header("webhook-id") == id);
  CHECK(asked.header("outseal-position") == "1");
  CHECK(asked.header("ce-id") == "(none)");
  CHECK(asked.body == R"({"specversion":"1.0","id":")" + id +
                          R"(","source":"/outseal/test","type":"order.paid","subject":"key-0",)"
                          R"("time":"2023-11-14T22:13:20.000Z","topic":"orders",)"
                          R"("datacontenttype":"application/json","data":{}})");
}

TEST_CASE("an event that moves to another position is the same to a receiver that compares") {
  std::string mode;
  SUBCASE("binary") { mode = "binary"; }
  SUBCASE("structured") { mode = "structured"; }
  const std::string refused = event_id_at(Position{1}).to_string();
  std::mutex mutex;
  std::map<std::string, std::string> bodies;
  const HttpReceiver receiver{[&](const Request& request, Response& response) {
    const std::lock_guard lock{mutex};
    const std::string key = request.get_header_value("idempotency-key");
    const std::string& first = bodies.try_emplace(key, request.body).first->second;
    if (request.get_header_value("webhook-id") == refused) response.status = 400;
    if (request.body != first) response.status = 422;
  }};
  const std::string url = receiver.url("?outseal.mode=" + mode);
  const auto sink = make_http(url);
  REQUIRE(sink->open().status == OpenResult::Status::opened);
  const auto result = sink->deliver(make_keyed_batch(*sink, {}, {"a", "b", "c"}), 0);
  REQUIRE(result.status == Status::rejected);
  REQUIRE(result.done == 0);

  // The first one is parked and the relay dies; the next one binds the others and sends them.
  const auto next = make_http(url);
  REQUIRE(next->open().status == OpenResult::Status::opened);
  Batch rest;
  rest.first = Position{1};
  append_event(rest, *next, event_id_at(Position{2}), "b");
  append_event(rest, *next, event_id_at(Position{3}), "c");
  CHECK(next->deliver(rest, 0).status == Status::delivered);
  CHECK(receiver.asked().size() == 5);
}

TEST_CASE("the status decides") {
  const auto status_for = [](int status) {
    const auto result =
        deliver_with([&](const Request&, Response& response) { response.status = status; });
    CHECK_FALSE(has(result.detail, "0190"));
    if (result.status != Status::delivered) CHECK(has(result.detail, std::to_string(status)));
    return result.status;
  };
  for (const int status : {200, 201, 202, 204, 208}) CHECK(status_for(status) == Status::delivered);
  for (const int status : {401, 403, 408, 409, 425, 429, 500, 501, 502, 503, 504})
    CHECK(status_for(status) == Status::retry_later);
  for (const int status : {404, 405, 421}) CHECK(status_for(status) == Status::retry_later);
  for (const int status : {400, 402, 406, 413, 422}) CHECK(status_for(status) == Status::rejected);
  for (const int status : {300, 301, 302, 303, 304})
    CHECK(status_for(status) == Status::retry_later);
  CHECK(status_for(410) == Status::failed);
}

TEST_CASE("a conflict with a position at or behind ours is a success, before ours a gap") {
  const auto answer = [](const std::string& position) {
    return deliver_with([&](const Request&, Response& response) {
      response.status = 409;
      response.set_header("outseal-position", position);
    });
  };
  CHECK(answer("1").status == Status::delivered);
  CHECK(answer("18446744073709551615").status == Status::delivered);
  const auto gap = answer("0");
  CHECK(gap.status == Status::retry_later);
  CHECK(has(gap.detail, "has position 0 and was sent 1"));
  CHECK(answer("1x").status == Status::retry_later);
  CHECK(answer("-1").status == Status::retry_later);
  CHECK(answer("99999999999999999999").status == Status::retry_later);
}

TEST_CASE("Retry-After is honoured as seconds and as a date, up to an hour") {
  const auto wish = [](const std::string& text) {
    const auto result = deliver_with([&](const Request&, Response& response) {
      response.status = 503;
      response.set_header("Retry-After", text);
    });
    CHECK(result.status == Status::retry_later);
    return result.retry_after;
  };
  const auto date = [](std::time_t in_s) {
    const std::time_t then = std::time(nullptr) + in_s;
    std::tm parts{};
    char text[64];
    std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", ::gmtime_r(&then, &parts));
    return std::string{text};
  };
  CHECK(wish("7") == milliseconds{7'000});
  CHECK(wish("999999999") == milliseconds{3'600'000});
  CHECK(wish("99999999999999999999999") <= milliseconds{3'600'000});
  CHECK(wish("0") == milliseconds{0});
  CHECK(wish("-5") == milliseconds{0});
  CHECK(wish("soon") == milliseconds{0});
  CHECK(wish(date(600)) > milliseconds{300'000});
  CHECK(wish(date(600)) <= milliseconds{600'000});
  CHECK(wish(date(-600)) == milliseconds{0});
  CHECK(wish(date(100'000)) == milliseconds{3'600'000});
}

TEST_CASE("a redirect to the same place is followed with the same request, up to five times") {
  int hops = 5;
  SUBCASE("five") { hops = 5; }
  SUBCASE("six") { hops = 6; }
  const HttpReceiver receiver{[&](const Request& request, Response& response) {
    const int hop = request.path == "/hook" ? 0 : std::stoi(request.path.substr(1));
    if (hop == hops) return;
    response.status = hop % 2 == 0 ? 307 : 308;
    response.set_header("Location", "/" + std::to_string(hop + 1));
  }};
  const auto result = deliver_to(receiver.url());
  const auto asked = receiver.asked();
  CHECK(asked.size() == 6);
  for (const Asked& one : asked) {
    CHECK(one.body == "{}");
    CHECK(one.header("webhook-id") == asked.front().header("webhook-id"));
  }
  if (hops == 5) {
    CHECK(result.status == Status::delivered);
  } else {
    CHECK(result.status == Status::retry_later);
    CHECK(has(result.detail, "more than 5 redirects"));
  }
}

TEST_CASE("a redirect to anybody else is not followed") {
  const HttpReceiver elsewhere;
  for (const std::string& location :
       {elsewhere.url(), std::string{"https://127.0.0.1/"}, std::string{"ftp://127.0.0.1/"},
        std::string{"http://localhost:1/"}, std::string{"//example.invalid/"}, std::string{"http:"},
        std::string{}}) {
    CAPTURE(location);
    const auto result = deliver_with([&](const Request&, Response& response) {
      response.status = 308;
      if (!location.empty()) response.set_header("Location", location);
    });
    CHECK(result.status == Status::retry_later);
    CHECK(has(result.detail, "redirect"));
  }
  CHECK(elsewhere.asked().empty());
}

TEST_CASE("a huge body is cut off, and the status counts") {
  const auto result = deliver_with([](const Request&, Response& response) {
    response.set_content(std::string(8U << 20U, 'x'), "text/plain");
  });
  CHECK(result.status == Status::delivered);
  const auto refused = deliver_with([](const Request&, Response& response) {
    response.status = 422;
    response.set_content(std::string(8U << 20U, 'x'), "text/plain");
  });
  CHECK(refused.status == Status::rejected);
  CHECK_FALSE(has(refused.detail, "xx"));
}

TEST_CASE("a huge header is no answer") {
  const RawReceiver receiver{"HTTP/1.1 200 OK\r\nX: " + std::string(80'000, 'x') + "\r\n\r\n",
                             RawReceiver::Then::close};
  const auto result = deliver_to(receiver.url());
  CHECK(result.status == Status::retry_later);
  CHECK(result.detail.size() < 500);
}

TEST_CASE("garbage and broken answers are no answer") {
  for (const std::string bytes :
       {"", "garbage\n", "\xff\xfe\x01\r\n\r\n", "HTTP/1.1\r\n\r\n", "HTTP/1.1 2\r\n\r\n",
        "HTTP/7.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n", "SSH-2.0-OpenSSH\r\n",
        "HTtP/1200 O\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 500 No\r\nContent-Length: 10\r\n\r\nshort",
        "HTTP/1.1 000 Nothing\r\nContent-Length: 0\r\n\r\n"}) {
    CAPTURE(bytes);
    const RawReceiver receiver{bytes, RawReceiver::Then::close};
    const auto result = deliver_to(receiver.url());
    CHECK(result.status == Status::retry_later);
    CHECK(result.done == 0);
    CHECK_FALSE(result.detail.empty());
  }
}

TEST_CASE("a success stands, however its body ends") {
  for (const std::string bytes : {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
                                  "HTTP/1.1 202 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                                  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
                                  "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"}) {
    CAPTURE(bytes);
    const RawReceiver cut{bytes, RawReceiver::Then::close};
    CHECK(deliver_to(cut.url()).status == Status::delivered);
    const RawReceiver held{bytes, RawReceiver::Then::hold};
    CHECK(deliver_to(held.url("?outseal.timeout_ms=300")).status == Status::delivered);
    CHECK(deliver_to(held.url("?outseal.stall_timeout_ms=300")).status == Status::delivered);
  }
}

TEST_CASE("a status that may be a gateway's is final after the grace, for each event alone") {
  int status = 404;
  SUBCASE("not found") { status = 404; }
  SUBCASE("not allowed") { status = 405; }
  SUBCASE("misdirected") { status = 421; }
  std::atomic<bool> deployed = false;
  const std::string lost = event_id_at(Position{2}).to_string();
  const HttpReceiver receiver{[&](const Request& request, Response& response) {
    if (!deployed || request.get_header_value("webhook-id") == lost) response.status = status;
  }};
  const auto sink = make_http(receiver.url("?outseal.grace_ms=400"));
  REQUIRE(sink->open().status == OpenResult::Status::opened);
  const Batch batch = make_keyed_batch(*sink, {}, {"a", "b", "c"});
  DeliveryResult result = sink->deliver(batch, 0);
  CHECK(result.status == Status::retry_later);
  CHECK(result.done == 0);
  CHECK(has(result.hint, "outseal.grace_ms"));
  deployed = true;
  wait_until("the end of the grace", [&] {
    result = sink->deliver(batch, result.done);
    return result.status != Status::retry_later;
  });
  CHECK(result.status == Status::rejected);
  CHECK(result.done == 1);
  CHECK(has(result.detail, std::to_string(status)));
  // The next event begins a time of its own.
  const auto asked = receiver.asked().size();
  CHECK(sink->deliver(make_keyed_batch(*sink, tail_of(1), {"b"}), 0).status == Status::retry_later);
  CHECK(receiver.asked().size() == asked + 1);
  CHECK(deliver_to(receiver.url("?outseal.grace_ms=0"), 2).status == Status::rejected);
}

TEST_CASE("an answer may come after others, in chunks and with trailers") {
  for (const std::string bytes :
       {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nT: y\r\n\r\n",
        "HTTP/1.0 200 OK\n\nto the end"}) {
    CAPTURE(bytes);
    const RawReceiver receiver{bytes, RawReceiver::Then::close};
    CHECK(deliver_to(receiver.url()).status == Status::delivered);
  }
}

TEST_CASE("a receiver that never answers, or not to the end, is given up") {
  std::string parameters;
  SUBCASE("in all") { parameters = "?outseal.timeout_ms=300"; }
  SUBCASE("between two bytes") { parameters = "?outseal.stall_timeout_ms=300"; }
  for (const std::string bytes :
       {"", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 500 No\r\nContent-Length: 10\r\n\r\nx"}) {
    CAPTURE(bytes);
    const RawReceiver receiver{bytes, RawReceiver::Then::hold};
    const auto result = deliver_to(receiver.url(parameters), 20);
    CHECK(result.status == Status::retry_later);
    CHECK(receiver.connections() <= 16);
    CHECK_FALSE(result.hint.empty());
  }
}

TEST_CASE("nobody there, no such name, and a proxy that is not there are told apart") {
  const auto refused = deliver_to("http://127.0.0.1:" + std::to_string(free_port()) + "/");
  CHECK(refused.status == Status::retry_later);
  CHECK(has(refused.detail, "cannot connect"));
  CHECK_FALSE(refused.hint.empty());
  const auto nameless = deliver_to("http://nowhere.invalid/?outseal.connect_timeout_ms=3000");
  CHECK(nameless.status == Status::retry_later);
  CHECK(has(nameless.detail, "nowhere.invalid"));
  const HttpReceiver receiver;
  const auto proxied =
      deliver_to(receiver.url("?outseal.proxy=http://127.0.0.1:" + std::to_string(free_port())));
  CHECK(proxied.status == Status::retry_later);
  CHECK(receiver.asked().empty());
}

TEST_CASE("a URL with a token shows it to the receiver alone") {
  const auto result = deliver_to("http://127.0.0.1:" + std::to_string(free_port()) +
                                 "/x?token=hunter2&outseal.timeout_ms=1000");
  CHECK_FALSE(has(result.detail + result.hint, "hunter2"));
}

TEST_CASE("a sink that is not open asks to be opened") {
  const HttpReceiver receiver;
  const auto sink = make_http(receiver.url());
  CHECK(sink->deliver(make_keyed_batch(*sink, {}, {"a"}), 0).status == Status::retry_later);
}

}  // namespace
}  // namespace outseal::test
