// The front door before operations with effects.
#include <string>
#include <thread>
#include <vector>

#include "conformance/store_front_fixture.h"
#include "outseal/effects.h"

using namespace outseal;
using namespace outseal::test;

TEST_CASE("an operation in progress is 409, 202 on demand, and its location has the answer") {
  Shop shop;
  Client client = shop.client();
  const HttpFields key{{"Idempotency-Key", "\"k\""}};
  CHECK(client.post(key).status == 201);
  shop.open("intended");
  const HttpResponse busy = client.post(key);
  CHECK(busy.status == 409);
  CHECK(!field(busy, "Retry-After").empty());
  const HttpResponse accepted =
      client.post({{"Idempotency-Key", "\"k\""}, {"Prefer", "respond-async, wait=0"}});
  CHECK(accepted.status == 202);
  const std::string location = field(accepted, "Location");
  CHECK(location.starts_with("/operations/"));
  CHECK(field(accepted, "Preference-Applied") == "respond-async");
  CHECK(client.get(location).status == 202);
  CHECK(client.get(location + "x").status == 404);
  CHECK(client.get("/operations/").status == 404);
  HttpFront refunds{{.scope = "refunds"}};  // It knows nothing of who may see payments.
  CHECK(Client{*shop.store, refunds}.get(location).status == 404);
  std::jthread waiting{[&] {
    Client other = shop.client();
    CHECK(other.post({{"Idempotency-Key", "\"k\""}, {"Prefer", "wait=600"}}).status == 201);
  }};
  CHECK(client.get(location, {{"Prefer", "wait=0"}}).status == 202);
  shop.finish();
  waiting.join();
  const HttpResponse done = client.get(location, {{"Prefer", "wait=600"}});
  CHECK(done.status == 201);
  CHECK(done.body == fingerprint("POST /charges\n{\"amount\":5}"));
  CHECK(field(done, "Idempotent-Replayed") == "true");
}

TEST_CASE("whoever may not see an operation is not told where it can be seen") {
  Shop shop{
      {.scope = {}, .may_replay = [](const std::string&, const Operation&) { return false; }}};
  Client client = shop.client();
  CHECK(client.post("\"k\"").status == 201);
  shop.open("intended");
  const HttpResponse busy =
      client.post({{"Idempotency-Key", "\"k\""}, {"Prefer", "respond-async, wait=0"}});
  CHECK(busy.status == 409);
  CHECK(busy.body.find("location") == std::string::npos);
}

TEST_CASE("what nobody knows, what is disputed and what is gone say so, with the effects") {
  Shop shop;
  Client client = shop.client();
  CHECK(client.post("\"k\"").status == 201);
  shop.open("unknown");
  change(*shop.store->session(), "UPDATE outseal_idempotency SET state = 'unknown'");
  const HttpResponse unknown = client.post("\"k\"");
  CHECK(unknown.status == 409);
  CHECK(field(unknown, "Retry-After").empty());
  CHECK(unknown.body.find("ch_1") != std::string::npos);
  CHECK(unknown.body.find("\"safe_new_key\":false") != std::string::npos);
  change(*shop.store->session(), "UPDATE outseal_effect SET state = 'disputed'");
  CHECK(client.post("\"k\"").body.find(":disputed\"") != std::string::npos);
  change(*shop.store->session(), "UPDATE outseal_effect SET state = 'confirmed'");
  shop.finish();
  change(*shop.store->session(), "UPDATE outseal_idempotency SET purge_at = {long_ago}");
  const HttpResponse gone = client.post("\"k\"");
  CHECK(gone.status == 410);
  CHECK(gone.body.find("\"ended\":\"success\"") != std::string::npos);
  CHECK(gone.body.find("ch_1") != std::string::npos);
  CHECK(shop.charged() == 5);
}

TEST_CASE("an operation with an effect is served like any other") {
  Shop shop;
  Client client = shop.client();
  int calls = 0;
  const auto charge_by = [&](CallResult::Verdict verdict) {
    return [&, verdict](Session db, const Operation& operation, const ExecuteOptions& options) {
      const Effect effect{
          .name = "charge",
          .request = "5 EUR",
          .provider = {.name = "psp", .replays = Replays::any, .window = std::chrono::hours{24}},
          .call = [&, verdict](EffectCall&) {
            ++calls;
            return CallResult{.verdict = verdict, .reference = "ch_1"};
          }};
      const auto reply = [&](Transaction&, const EffectOutcome& outcome) {
        return outcome.is_applied() ? Reply{.status = 201, .body = outcome.reference}
                                    : not_applied_reply(shop.options);
      };
      return execute(db, operation, effect, reply, {.execute = options});
    };
  };
  const auto post = [&](const char* key, CallResult::Verdict verdict) {
    return client.post({{"Idempotency-Key", key}}, "{}", charge_by(verdict));
  };
  using Verdict = CallResult::Verdict;
  CHECK(post("\"1\"", Verdict::applied).body == "ch_1");
  const HttpResponse again = post("\"1\"", Verdict::applied);
  CHECK(again.body == "ch_1");
  CHECK(field(again, "Idempotent-Replayed") == "true");
  CHECK(calls == 1);
  const HttpResponse declined = post("\"2\"", Verdict::refused);
  CHECK(declined.status == 409);
  CHECK(declined.body.find("\"safe_new_key\":true") != std::string::npos);
  CHECK(post("\"2\"", Verdict::applied).body == declined.body);
  CHECK(calls == 2);
  // The answer is lost; who comes again learns that nobody knows, and nothing is sent again.
  CHECK(!field(post("\"3\"", Verdict::uncertain), "Retry-After").empty());
  shop.change_beside(
      "UPDATE outseal_idempotency SET lease_until = {long_ago} WHERE state = 'in_progress'");
  for (int i = 0; i < 2; ++i) {
    const HttpResponse unknown = post("\"3\"", Verdict::applied);
    CHECK(unknown.status == 409);
    CHECK(field(unknown, "Retry-After").empty());
    CHECK(unknown.body.find("\"state\":\"unknown\"") != std::string::npos);
  }
  CHECK(calls == 3);
  CHECK(shop.decisions.seen == std::vector<std::string>{"executed", "replayed", "executed",
                                                        "replayed", "in_progress", "unknown",
                                                        "unknown"});
}
