#include <doctest/doctest.h>

#include "sinks/http/answer.h"

namespace outseal::sinks {
namespace {

using Kind = HttpVerdict::Kind;

constexpr Position kOurs{7};

constexpr std::chrono::milliseconds kNoGrace{0};

Kind kind_of(const HttpAnswer& answer, std::chrono::milliseconds grace_left = kNoGrace) {
  return judge(answer, kOurs, "http://h/", grace_left).kind;
}

TEST_CASE("every status has one meaning") {
  for (long status = 100; status < 1'000; ++status) {
    CAPTURE(status);
    Kind expected = Kind::retry_later;
    if (status >= 200 && status < 300) expected = Kind::delivered;
    if (status >= 400 && status < 500) expected = Kind::rejected;
    if (status == 410) expected = Kind::gone;
    for (const long passing : {401, 403, 407, 408, 409, 425, 429}) {
      if (status == passing) expected = Kind::retry_later;
    }
    CHECK(kind_of({.status = status}) == expected);
    const auto verdict = judge({.status = status}, kOurs, "http://h/", kNoGrace);
    CHECK(verdict.detail.empty() == (expected == Kind::delivered));
    CHECK(verdict.hint.empty() == (expected == Kind::delivered));
  }
}

TEST_CASE("only a status line of HTTP has a status") {
  CHECK(parse_status_line("HTTP/1.1 200 OK\r\n") == 200);
  CHECK(parse_status_line("HTTP/1.0 404\n") == 404);
  CHECK(parse_status_line("HTTP/1.1 204 \r\n") == 204);
  for (const char* const line :
       {"", "HTTP/1.1", "HTTP/1.1 ", "HTTP/1.1 20", "HTTP/1.1 200", "HTTP/1.1 2000 OK\r\n",
        "HTTP/1.1 20x OK\r\n", "HTTP/1.1 -20 OK\r\n", "HTTP/1.1  200 OK\r\n", "HTtP/1200 O\r\n",
        "HTTP/2 200\r\n", "HTTP/1.2 200 OK\r\n", "http/1.1 200 OK\r\n", "ICY 200 OK\r\n"}) {
    CAPTURE(line);
    CHECK(parse_status_line(line) == 0);
  }
}

TEST_CASE("what a gateway may have said is final only when its grace is over") {
  for (long status = 100; status < 1'000; ++status) {
    CAPTURE(status);
    const bool waits = status == 404 || status == 405 || status == 421;
    CHECK(may_be_of_gateway(status) == waits);
    const std::chrono::milliseconds left{1};
    CHECK(kind_of({.status = status}, left) ==
          (waits ? Kind::retry_later : kind_of({.status = status})));
    if (waits) CHECK(kind_of({.status = status}, -left) == Kind::rejected);
  }
}

TEST_CASE("a conflict with the receiver's position is read by it") {
  CHECK(kind_of({.status = 409, .position = Position{6}}) == Kind::retry_later);
  CHECK(kind_of({.status = 409, .position = Position{7}}) == Kind::delivered);
  CHECK(kind_of({.status = 409, .position = Position{8}}) == Kind::delivered);
  const auto gap = judge({.status = 409, .position = Position{3}}, kOurs, "http://h/", kNoGrace);
  CHECK(gap.detail == "http://h/ has position 3 and was sent 7");
  // Only a conflict is about positions.
  CHECK(kind_of({.status = 400, .position = Position{8}}) == Kind::rejected);
  CHECK(kind_of({.status = 500, .position = Position{8}}) == Kind::retry_later);
}

TEST_CASE("what went wrong is told with who and what to do") {
  const auto verdict =
      judge({.retry_after = std::chrono::seconds{2}, .trouble = "it broke", .hint = "mend it"},
            kOurs, "http://h/", kNoGrace);
  CHECK(verdict.kind == Kind::retry_later);
  CHECK(verdict.detail == "http://h/: it broke");
  CHECK(verdict.hint == "mend it");
  CHECK(verdict.retry_after == std::chrono::seconds{2});
}

}  // namespace
}  // namespace outseal::sinks
