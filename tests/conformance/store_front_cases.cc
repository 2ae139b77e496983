// The front door on a database: what a client is answered, first and again.
#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "conformance/store_front_fixture.h"
#include "support/mutant.h"
#include "support/scale.h"

using namespace outseal;
using namespace outseal::test;
using namespace std::chrono_literals;

TEST_CASE("a request is executed once, and its repetition gets the same answer") {
  Shop shop;
  Client client = shop.client();
  const HttpResponse first = client.post("\"k\"");
  CHECK(first.status == 201);
  CHECK(first.body == "{\"paid\":5}");
  CHECK(field(first, "Idempotent-Replayed").empty());
  const HttpResponse again = client.post({{"idempotency-KEY", " \"k\" "}}, "{ \"amount\" : 5.0 }");
  CHECK(again.status == 201);
  CHECK(again.body == first.body);
  CHECK(field(again, "Idempotent-Replayed") == "true");
  CHECK(client.post({{"Idempotency-Key", "\"k\""}}, "{\"amount\":6}").status == 422);
  client.principal = "other";
  CHECK(client.post("\"k\"").status == 201);
  CHECK(shop.charged() == 10);
  CHECK(shop.decisions.seen ==
        std::vector<std::string>{"executed", "replayed", "mismatch", "executed"});
}

TEST_CASE("a request without a sound key never reaches the database") {
  Shop shop;
  Client client = shop.client();
  CHECK(client.post(HttpFields{}).status == 400);
  CHECK(client.post("k").status == 400);
  CHECK(client.post("\"k").status == 400);
  CHECK(client.post({{"Idempotency-Key", "\"k\""}, {"idempotency-key", "\"k\""}}).status == 400);
  CHECK(client.opened == 0);
  CHECK(shop.decisions.seen ==
        std::vector<std::string>{"key_missing", "key_malformed", "key_malformed", "key_repeated"});
}

TEST_CASE("where no key is required, a request without one is executed each time") {
  Shop shop{{.scope = {}, .key_required = false}};
  Client client = shop.client();
  CHECK(client.post(HttpFields{}).status == 201);
  CHECK(client.post(HttpFields{}).status == 201);
  CHECK(client.post("\"").status == 400);
  CHECK(shop.charged() == 10);
}

TEST_CASE("failures: final ones are replayed, others leave the key free") {
  Shop shop;
  Client client = shop.client();
  const HttpFields key{{"Idempotency-Key", "\"k\""}};
  const Reply later{.verdict = Verdict::retryable_failure, .status = 503, .body = "later"};
  const Reply declined{.verdict = Verdict::final_failure, .status = 402, .body = "declined"};
  CHECK(client.post(key, "{}", later).status == 503);
  CHECK_THROWS_AS(
      client.post(key, "{}",
                  [](Session, const Operation&, const ExecuteOptions&) -> ExecuteResult {
                    throw std::logic_error{"bug"};
                  }),
      std::logic_error);
  CHECK(client.post(key, "{}", declined).status == 402);
  const HttpResponse again = client.post(key, "{}");
  CHECK(again.status == 402);
  CHECK(again.body == "declined");
  CHECK(shop.charged() == 0);
  CHECK(shop.decisions.seen ==
        std::vector<std::string>{"released", "threw", "executed", "replayed"});
}

TEST_CASE("whether a stored reply may leave is asked each time") {
  bool allowed = false;
  Shop shop{{.scope = {},
             .may_replay =
                 [&](const std::string& principal, const Operation& operation) {
                   CHECK(principal == "shop");
                   CHECK(operation.scope == "payments");
                   return allowed;
                 },
             .cache_bytes_max = 1U << 20U}};
  Client client = shop.client();
  CHECK(client.post("\"k\"").status == 201);
  const HttpResponse denied = client.post("\"k\"");
  CHECK(denied.status == 403);
  CHECK(denied.body.find("paid") == std::string::npos);
  allowed = true;
  CHECK(client.post("\"k\"").status == 201);
  allowed = false;
  shop.open("unknown");
  CHECK(shop.decisions.seen ==
        std::vector<std::string>{"executed", "replay_denied cached", "replayed cached"});
}

TEST_CASE("a reply whose status is none of HTTP's is answered all the same, each time") {
  const auto store = make_store();
  HttpFront front{{.scope = "payments"}};
  Client client{*store, front};
  const auto post = [&](const std::string& key, const Reply& reply) {
    return client.post({{"Idempotency-Key", key}}, "{}", reply);
  };
  for (int turn = 0; turn < 2; ++turn) {
    CHECK(post("\"a\"", {.status = 7, .body = "done"}).status == 200);
    CHECK(post("\"b\"", {.verdict = Verdict::final_failure, .status = 7}).status == 500);
    const HttpResponse empty = post("\"c\"", {.status = 204, .body = "none may be here"});
    CHECK(empty.status == 204);
    CHECK(empty.body.empty());
  }
}

TEST_CASE("hot replies need no connection, and another request is refused as by the database") {
  Shop shop{{.scope = {}, .cache_bytes_max = 1U << 20U}};
  Client client = shop.client();
  CHECK(client.post("\"k\"").status == 201);
  CHECK(client.opened == 1);
  CHECK(field(client.post("\"k\""), "Idempotent-Replayed") == "true");
  CHECK(client.post({{"Idempotency-Key", "\"k\""}}, "{\"amount\":6}").status == 422);
  CHECK(client.opened == 1);
  CHECK(shop.decisions.seen ==
        std::vector<std::string>{"executed", "replayed cached", "mismatch cached"});
}

TEST_CASE("new keys are limited by principal, and repetitions are free") {
  Shop shop{{.scope = {}, .new_keys_per_minute = 1, .new_keys_burst = 2}};
  Client client = shop.client();
  CHECK(client.post("\"1\"").status == 201);
  for (int i = 0; i < 5; ++i) CHECK(client.post("\"1\"").status == 201);
  CHECK(client.post("\"2\"").status == 201);
  const HttpResponse refused = client.post("\"3\"");
  CHECK(refused.status == 429);
  CHECK(!field(refused, "Retry-After").empty());
  CHECK(client.post("\"2\"").status == 201);  // Known.
  CHECK(client.post({{"Idempotency-Key", "\"2\""}}, "{}").status == 422);
  client.principal = "other";
  CHECK(client.post("\"3\"").status == 201);
  CHECK(shop.charged() == 15);
}

TEST_CASE("a database that cannot be used is 503, and nothing is executed without its record") {
  Shop shop;
  Client client = shop.client();
  client.broken = 100;
  const HttpResponse response = client.post("\"k\"");
  CHECK(response.status == 503);
  CHECK(field(response, "Retry-After") == "1");
  CHECK(field(response, "Cache-Control") == "no-store");
  CHECK(client.opened == 3);
  client.broken = 1;
  CHECK(client.post("\"k\"").status == 201);
  CHECK(shop.charged() == 5);
  CHECK(shop.decisions.seen == std::vector<std::string>{"unavailable", "executed"});
}

TEST_CASE("requests that may wait attach to the one that is executed, without a connection") {
  Shop shop;
  const int count = static_cast<int>(scaled(200));
  std::atomic<int> opened = 0;
  std::atomic<int> same = 0;
  std::atomic<int> first = 0;
  std::atomic<bool> go = false;
  std::atomic<int> attached = 0;
  std::vector<std::jthread> threads;
  const auto ask = [&] {
    Client client = shop.client();
    const HttpResponse response = client.post(
        {{"Idempotency-Key", "\"k\""}, {"Prefer", "wait=600"}}, "{}",
        [&](Session db, const Operation& operation, const ExecuteOptions& options) {
          while (!go) std::this_thread::yield();
          return execute(db, operation, charging(client.session(), {.status = 201, .body = "b"}),
                         options);
        });
    opened += client.opened;
    if (response.status == 201 && response.body == "b") ++same;
    if (field(response, "Idempotent-Replayed").empty()) ++first;
  };
  for (int i = 0; i < count; ++i)
    threads.emplace_back([&] {
      ++attached;
      ask();
    });
  while (attached < count) std::this_thread::yield();
  go = true;
  threads.clear();
  CHECK(same == count);
  CHECK(first == 1);
  CHECK(shop.charged() == 5);
  // Those that came when it was over replay over a connection, one at a time.
  CHECK(opened < count / 2 + 2);
}

TEST_CASE("work that loses its lease is in progress elsewhere, and a bug is no answer") {
  Shop shop;
  Client client = shop.client();
  const HttpFields key{{"Idempotency-Key", "\"k\""}};
  const auto failing = [&](ErrorCode code) {
    return client.post(key, "{}",
                       [=](Session, const Operation&, const ExecuteOptions&) -> ExecuteResult {
                         throw Error{code, "work", "fails"};
                       });
  };
  CHECK(failing(ErrorCode::lease_lost).status == 409);
  CHECK(failing(ErrorCode::commit_in_doubt).status == 503);
  CHECK(failing(ErrorCode::schema_missing).status == 503);
  CHECK(code_of([&] { failing(ErrorCode::invalid_argument); }) == ErrorCode::invalid_argument);
  client.principal = std::string(256, 'p');
  CHECK(code_of([&] { client.post(key); }) == ErrorCode::invalid_argument);
}

#ifdef OUTSEAL_FAULTS
TEST_CASE("each guard before a stored reply is missed") {
  CHECK_FALSE(passes_with_mutant("front_replays_to_all",
                                 "whether a stored reply may leave is asked each time"));
  CHECK_FALSE(passes_with_mutant("front_no_rate", "new keys are limited by principal*"));
  CHECK_FALSE(passes_with_mutant("front_mismatch_conflicts", "a request is executed once*"));
}
#endif
