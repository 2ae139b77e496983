#include "sinks/http_answer.h"

#include <doctest/doctest.h>

namespace outseal::sinks {
namespace {

using Kind = HttpVerdict::Kind;

constexpr Position kOurs{7};

Kind kind_of(const HttpAnswer& answer) { return judge(answer, kOurs, "http://h/").kind; }

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
    const auto verdict = judge({.status = status}, kOurs, "http://h/");
    CHECK(verdict.detail.empty() == (expected == Kind::delivered));
    CHECK(verdict.hint.empty() == (expected == Kind::delivered));
  }
}

TEST_CASE("a conflict with the receiver's position is read by it") {
  CHECK(kind_of({.status = 409, .position = Position{6}}) == Kind::retry_later);
  CHECK(kind_of({.status = 409, .position = Position{7}}) == Kind::delivered);
  CHECK(kind_of({.status = 409, .position = Position{8}}) == Kind::delivered);
  const auto gap = judge({.status = 409, .position = Position{3}}, kOurs, "http://h/");
  CHECK(gap.detail == "http://h/ has position 3 and was sent 7");
  // Only a conflict is about positions.
  CHECK(kind_of({.status = 400, .position = Position{8}}) == Kind::rejected);
  CHECK(kind_of({.status = 500, .position = Position{8}}) == Kind::retry_later);
}

TEST_CASE("what went wrong is told with who and what to do") {
  const auto verdict =
      judge({.retry_after = std::chrono::seconds{2}, .trouble = "it broke", .hint = "mend it"},
            kOurs, "http://h/");
  CHECK(verdict.kind == Kind::retry_later);
  CHECK(verdict.detail == "http://h/: it broke");
  CHECK(verdict.hint == "mend it");
  CHECK(verdict.retry_after == std::chrono::seconds{2});
}

}  // namespace
}  // namespace outseal::sinks
