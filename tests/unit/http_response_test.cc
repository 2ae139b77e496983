// What each outcome answers, row by row of the table in http_front.h; and what the front door
// remembers, within its bounds.
#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "operation/front/limits.h"
#include "operation/front/response.h"
#include "outseal/error.h"
#include "support/mutant.h"

using namespace outseal;
using namespace outseal::front;
using namespace std::chrono_literals;
using nlohmann::json;

namespace {

std::string field(const HttpResponse& response, const std::string& name) {
  std::string value;
  int found = 0;
  for (const auto& [each, text] : response.headers)
    if (each == name) {
      value = text;
      ++found;
    }
  CHECK(found <= 1);
  return value;
}

/// What every answer has.
HttpResponse checked(const Answer& answer) {
  CHECK(field(answer.response, "Cache-Control") == "no-store");
  return answer.response;
}

/// A problem of that status and type, with its members.
json problem_of(const Answer& answer, int status) {
  const HttpResponse response = checked(answer);
  CHECK(response.status == status);
  CHECK(field(response, "Content-Type") ==
        (status == 202 ? "application/json" : "application/problem+json"));
  CHECK(field(response, "Idempotent-Replayed").empty());
  json body = json::parse(response.body);
  CHECK(body.at("type") == "urn:outseal:problem:" + std::string{name_of(answer.decision)});
  CHECK(body.at("status") == status);
  CHECK_FALSE(body.at("title").get<std::string>().empty());
  return body;
}

const HttpFrontOptions kOptions{.scope = "s", .location_prefix = "/operations/"};

Answer answered(ExecuteResult result, const OperationStatus* status = nullptr,
                bool respond_async = false) {
  return answer_to(result, status, respond_async, kOptions);
}

ExecuteResult done(Outcome outcome, Reply reply = {.status = 201, .body = "{\"id\":1}"}) {
  return {.outcome = outcome, .reply = std::move(reply), .ended = Verdict::success};
}

Operation operation(const std::string& request = "r", int version = 1) {
  return {.scope = "s",
          .principal = "p",
          .key = "k",
          .fingerprint = fingerprint(request),
          .fingerprint_version = version};
}

}  // namespace

TEST_CASE("a reply leaves as the handler gave it, and a repetition says that it is one") {
  const Reply reply{.status = 201,
                    .body = std::string{"a\0b", 3},
                    .content_type = "text/plain",
                    .headers = {{"Location", "/charges/1"}}};
  const HttpResponse first = checked(answered(done(Outcome::executed, reply)));
  CHECK(first.status == 201);
  CHECK(first.body == reply.body);
  CHECK(field(first, "Content-Type") == "text/plain");
  CHECK(field(first, "Location") == "/charges/1");
  CHECK(field(first, "Idempotent-Replayed").empty());
  const HttpResponse again = checked(answered(done(Outcome::replayed, reply)));
  CHECK(again.status == 201);
  CHECK(again.body == reply.body);
  CHECK(field(again, "Location") == "/charges/1");
  CHECK(field(again, "Idempotent-Replayed") == "true");
  const Answer released = answered(done(Outcome::released, {.status = 503}));
  CHECK(checked(released).status == 503);
  CHECK(released.decision == HttpDecision::released);
}

TEST_CASE("a stored field cannot split the response, nor take the place of ours") {
  const HttpResponse response =
      checked(answered(done(Outcome::replayed, {.headers = {{"X-A", "1\r\nSet-Cookie: x"},
                                                            {"cache-control", "public"},
                                                            {"Idempotent-Replayed", "false"},
                                                            {"Content-Length", "7"},
                                                            {"transfer-encoding", "chunked"},
                                                            {"X-B", "2"}}})));
  CHECK(field(response, "X-B") == "2");
  CHECK(field(response, "Idempotent-Replayed") == "true");
  CHECK(response.headers.size() == 4);
}

TEST_CASE("a reply whose status is none of HTTP's is answered as its verdict says") {
  for (const int status : {0, 42, 101, 600, 999}) {
    CHECK(answered(done(Outcome::executed, {.status = status})).response.status == 200);
    const Reply failed{.verdict = Verdict::final_failure, .status = status};
    CHECK(answered(done(Outcome::executed, failed)).response.status == 500);
  }
}

TEST_CASE("what is no reply is a problem, by the table") {
  CHECK(problem_of(answered({Outcome::mismatch}), 422).at("detail") != "");
  const Answer busy = answered({.outcome = Outcome::in_progress, .retry_after = 1'001ms});
  problem_of(busy, 409);
  CHECK(field(busy.response, "Retry-After") == "2");
  CHECK(field(answered({Outcome::in_progress}).response, "Retry-After") == "1");
  const Answer unknown = answered({Outcome::unknown});
  problem_of(unknown, 409);
  CHECK(unknown.decision == HttpDecision::unknown);
  CHECK(field(unknown.response, "Retry-After").empty());
  problem_of(answered({Outcome::expired}), 410);
  const Answer released = answered({Outcome::released});
  problem_of(released, 503);
  CHECK(field(released.response, "Retry-After") == "1");
  // Whatever has no reply is not taken for a success.
  problem_of(answered({Outcome::executed}), 409);
  problem_of(answered({Outcome::replayed}), 409);
}

TEST_CASE("202 needs a wish, a handle and a place") {
  const ExecuteResult busy{.outcome = Outcome::in_progress, .retry_after = 5s, .handle = "h4ndle"};
  const Answer accepted = answer_to(busy, nullptr, true, kOptions);
  CHECK(problem_of(accepted, 202).at("location") == "/operations/h4ndle");
  CHECK(field(accepted.response, "Location") == "/operations/h4ndle");
  CHECK(field(accepted.response, "Retry-After") == "5");
  const Answer refused = answer_to(busy, nullptr, false, kOptions);
  CHECK(problem_of(refused, 409).at("location") == "/operations/h4ndle");
  CHECK(field(refused.response, "Location").empty());
  problem_of(answer_to(busy, nullptr, true, {.scope = "s"}), 409);
  problem_of(answer_to({Outcome::in_progress}, nullptr, true, kOptions), 409);
}

TEST_CASE("a problem tells what is known of the effects, and whether a new key is safe") {
  const OperationStatus disputed{
      .state = OperationState::disputed,
      .effects = {{.name = "charge", .state = EffectState::disputed, .reference = "ch_\"1"}}};
  const json body = problem_of(answered({Outcome::unknown}, &disputed), 409);
  CHECK(body.at("safe_new_key") == false);
  CHECK(body.at("effects").at(0).at("reference") == "ch_\"1");
  const OperationStatus gone{.state = OperationState::expired,
                             .effects = {{.name = "charge", .state = EffectState::not_applied}},
                             .ended = Verdict::final_failure,
                             .safe_new_key = true};
  const json expired = problem_of(
      answered({.outcome = Outcome::expired, .ended = Verdict::final_failure}, &gone), 410);
  CHECK(expired.at("safe_new_key") == true);
  CHECK(expired.at("ended") == "final_failure");
  CHECK(expired.at("effects").at(0).at("state") == "not_applied");
  const Reply reply = not_applied_reply(kOptions);
  CHECK(reply.verdict == Verdict::final_failure);
  CHECK(reply.status == 409);
  CHECK(json::parse(reply.body).at("safe_new_key") == true);
  CHECK(json::parse(reply.body).at("type") == "urn:outseal:problem:not_applied");
}

TEST_CASE("who asks by a handle gets the same answers") {
  const auto by_handle = [](OperationStatus status) { return answer_to(status, kOptions); };
  problem_of(by_handle({}), 404);
  const Answer busy =
      by_handle({.state = OperationState::in_progress, .handle = "h", .retry_after = 1s});
  problem_of(busy, 202);
  CHECK(field(busy.response, "Location") == "/operations/h");
  problem_of(by_handle({.state = OperationState::unknown}), 409);
  CHECK(by_handle({.state = OperationState::disputed}).decision == HttpDecision::disputed);
  problem_of(by_handle({.state = OperationState::expired}), 410);
  const HttpResponse failed = checked(
      by_handle({.state = OperationState::failed, .reply = Reply{.status = 402, .body = "no"}}));
  CHECK(failed.status == 402);
  CHECK(field(failed, "Idempotent-Replayed") == "true");
  problem_of(by_handle({.state = OperationState::succeeded}), 409);  // Never without a reply.
}

TEST_CASE("a principal gets as many new keys as it may, and others are not concerned") {
  KeyRate rate{{.scope = "s", .new_keys_per_minute = 60, .new_keys_burst = 2, .principals_max = 2}};
  const auto start = front::Clock::now();
  CHECK_FALSE(rate.take("a", start));
  CHECK_FALSE(rate.take("a", start));
  const auto later = rate.take("a", start);
  REQUIRE(later.has_value());
  CHECK((*later > 0ms && *later <= 1'001ms));
  CHECK_FALSE(rate.take("b", start));
  CHECK_FALSE(rate.take("a", start + *later));
  CHECK(rate.take("a", start + *later).has_value());
  rate.give_back("a");
  CHECK_FALSE(rate.take("a", start + *later));
  CHECK(rate.take("a", start - 1h).has_value());  // A clock never gives anything back.
  std::ignore = rate.take("c", start);            // Of two principals, b is forgotten.
  CHECK(rate.take("a", start + *later).has_value());
  rate.give_back("unheard of");
  KeyRate off{HttpFrontOptions{.scope = "s"}};
  for (int i = 0; i < 1'000; ++i) CHECK_FALSE(off.take("a", start));
}

TEST_CASE("hot replies are kept within bounds, for their time, and for the same request") {
  const HttpFrontOptions options{
      .scope = "s", .cache_bytes_max = 10'000, .cache_entries_max = 3, .cache_ttl = 10s};
  ReplyCache cache{options};
  const auto start = front::Clock::now();
  CHECK(cache.is_on());
  CHECK_FALSE(cache.find("k", operation(), start));
  cache.keep("k", operation(), done(Outcome::replayed), start);  // Its time is partly over.
  cache.keep("k", operation(), {Outcome::in_progress}, start);
  CHECK_FALSE(cache.find("k", operation(), start));
  cache.keep("k", operation(), done(Outcome::executed), start);
  const auto hit = cache.find("k", operation(), start + 9s);
  REQUIRE(hit.has_value());
  CHECK(hit->outcome == Outcome::replayed);
  CHECK(hit->reply->body == "{\"id\":1}");
  CHECK(cache.find("k", operation("other"), start)->outcome == Outcome::mismatch);
  CHECK_FALSE(cache.find("k", operation("r", 2), start));  // Only the store can tell.
  Operation newer = operation("new form", 2);
  newer.older_fingerprints = {{1, fingerprint("r")}};
  CHECK(cache.find("k", newer, start)->outcome == Outcome::replayed);
  CHECK_FALSE(cache.find("k", operation(), start + 10s));
  CHECK_FALSE(cache.find("k", operation(), start));  // It is gone.

  for (const char* key : {"1", "2", "3"})
    cache.keep(key, operation(), done(Outcome::executed), start);
  CHECK(cache.find("1", operation(), start).has_value());
  cache.keep("4", operation(), done(Outcome::executed), start);
  CHECK_FALSE(cache.find("2", operation(), start));  // The one that was used longest ago.
  CHECK(cache.find("1", operation(), start).has_value());
  const Reply large{.body = std::string(9'000, 'x')};
  cache.keep("5", operation(), done(Outcome::executed, large), start);
  CHECK(cache.find("5", operation(), start).has_value());
  CHECK_FALSE(cache.find("1", operation(), start));
  cache.keep("6", operation(), done(Outcome::executed, {.body = std::string(10'000, 'x')}), start);
  CHECK_FALSE(cache.find("6", operation(), start));
  CHECK(cache.find("5", operation(), start).has_value());
}

TEST_CASE("those who attach get the answer of the one who leads, if it answers their request") {
  Flights flights;
  const auto never = front::Clock::now() + 1h;
  CHECK(flights.wait("k", operation(), never, {}).in_time);  // Nobody leads.
  std::vector<std::thread> threads;
  std::atomic<int> answered = 0;
  std::atomic<int> empty = 0;
  {
    auto lead = flights.lead("k", operation());
    REQUIRE(lead.has_value());
    CHECK_FALSE(flights.lead("k", operation()).has_value());
    CHECK_FALSE(flights.wait("k", operation(), front::Clock::now(), {}).in_time);
    for (int i = 0; i < 20; ++i)
      threads.emplace_back([&, i] {
        const auto waited = flights.wait("k", operation(i % 2 == 0 ? "r" : "another"), never, {});
        if (!waited.result)
          ++empty;
        else if (waited.result->outcome == Outcome::replayed)
          ++answered;
      });
    lead->give(done(Outcome::executed));
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(answered + empty == 20);
  CHECK(empty >= 10);  // Also those that came after it had landed.
  std::stop_source stop;
  const auto lead = flights.lead("k", operation());
  stop.request_stop();
  CHECK_FALSE(flights.wait("k", operation(), never, stop.get_token()).in_time);
}

TEST_CASE("options out of range are named, all at once") {
  const HttpFrontOptions bad{.scope = "",
                             .key_bytes_max = 256,
                             .wait_max = -1s,
                             .location_prefix = "/a\r\nb",
                             .new_keys_burst = 0,
                             .cache_ttl = 8 * 24h};
  try {
    bad.validate();
    FAIL("accepted");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::invalid_config);
    for (const char* name :
         {"scope", "key_bytes_max", "wait_max", "location_prefix", "new_keys_burst", "cache_ttl"})
      CHECK(error.message().find(name) != std::string::npos);
  }
  HttpFrontOptions{.scope = "s"}.validate();
}

#ifdef OUTSEAL_FAULTS
TEST_CASE("each guard of the front door is missed") {
  CHECK_FALSE(test::passes_with_mutant("front_may_be_cached", "what is no reply is a problem*"));
  CHECK_FALSE(
      test::passes_with_mutant("front_mismatch_conflicts", "what is no reply is a problem*"));
  CHECK_FALSE(
      test::passes_with_mutant("front_no_rate", "a principal gets as many new keys as it may*"));
  CHECK_FALSE(
      test::passes_with_mutant("front_cache_forever", "hot replies are kept within bounds*"));
}
#endif
