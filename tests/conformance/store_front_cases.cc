// The front door on a database: what a client is answered, first and again.
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "conformance/store_helpers.h"
#include "conformance/store_suite.h"
#include "outseal/http_front.h"
#include "support/mutant.h"
#include "support/scale.h"

using namespace outseal;
using namespace outseal::test;
using namespace std::chrono_literals;

namespace {

std::string field(const HttpResponse& response, const std::string& name) {
  for (const auto& [each, value] : response.headers)
    if (each == name) return value;
  return {};
}

/// One request's connection, and what its handler does.
class Client {
 public:
  Client(const StoreUnderTest& store, HttpFront& front) : store_{store}, front_{front} {}

  HttpResponse post(HttpFields headers, const std::string& body = "{\"amount\":5}",
                    Reply reply = {.status = 201, .body = "{\"paid\":5}"}) {
    return post(std::move(headers), body,
                [&](Session db, const Operation& operation, const ExecuteOptions& options) {
                  return execute(db, operation, charging(*session_, reply), options);
                });
  }
  HttpResponse post(HttpFields headers, const std::string& body, const HttpFront::Work& work) {
    return front_.serve(
        opener(),
        {.target = "/charges", .headers = std::move(headers), .body = body, .principal = principal},
        work);
  }
  HttpResponse post(const std::string& key) { return post({{"Idempotency-Key", key}}); }
  HttpResponse get(const std::string& location, HttpFields headers = {}) {
    return front_.serve_status(
        opener(), {.method = "GET", .headers = std::move(headers), .principal = principal},
        location.substr(location.rfind('/') + 1));
  }

  std::string principal = "shop";
  int broken = 0;  ///< How often no connection can be had.
  int opened = 0;

  SessionOpener opener() {
    return [this]() -> Session {
      ++opened;
      if (broken-- > 0) throw std::runtime_error{"no route"};
      session_ = store_.session();
      return *session_;
    };
  }
  soci::session& session() { return *session_; }

 private:
  const StoreUnderTest& store_;
  HttpFront& front_;
  std::unique_ptr<soci::session> session_;
};

/// What an observer is told of answers. Thread-safe as far as it is told.
struct Decisions {
  std::mutex mutex;
  std::vector<std::string> seen;

  Observer observer() {
    return [this](const Observation& what) {
      const std::lock_guard lock{mutex};
      if (const auto* call = std::get_if<HttpCall>(&what))
        seen.push_back(
            std::string{call->decision ? name_of(*call->decision) : std::string_view{"threw"}} +
            (call->from_cache ? " cached" : "") + (call->waited ? " waited" : ""));
    };
  }
};

const RetryPolicy kQuick{.attempts_max = 3,
                         .backoff = std::chrono::milliseconds{1},
                         .backoff_max = std::chrono::milliseconds{2}};

struct Shop {
  explicit Shop(HttpFrontOptions given = {.scope = {}}) : options{std::move(given)} {
    options.scope = "payments";
    options.retry = kQuick;
    options.execute.wait = 100ms;
    options.execute.observer = decisions.observer();
    options.location_prefix = "/operations/";
    front = std::make_unique<HttpFront>(options);
  }

  const std::unique_ptr<StoreUnderTest> store = make_store();
  Decisions decisions;
  HttpFrontOptions options;
  std::unique_ptr<HttpFront> front;

  Client client() const { return {*store, *front}; }
  long charged() const { return 100 - balance(*store->session(), 1); }
  /// Makes of the record of "k" one with an effect.
  void open(const std::string& effect) const {
    const auto session = store->session();
    change(*session,
           "UPDATE outseal_idempotency SET expires_at = NULL, purge_at = NULL, status = NULL,"
           " body = NULL, content_type = NULL, completed_at = NULL, fence = 1,"
           " handle = substr(fingerprint, 1, 16), lease_until = created_at + {day},"
           " state = 'in_progress'");
    change(*session,
           "INSERT INTO outseal_effect (operation, name, request_hash, provider, provider_key,"
           " policies, state, intended_at, external_ref) SELECT key_hash, 'charge', fingerprint,"
           " 'p', 'k', 'hand_over', '" +
               effect + "', created_at, 'ch_1' FROM outseal_idempotency");
  }
  void finish() const {
    change(*store->session(),
           "UPDATE outseal_idempotency SET expires_at = created_at + {day}, purge_at = created_at"
           " + {day}, status = 201, body = fingerprint, content_type = 'x/y', completed_at ="
           " created_at, state = 'succeeded'");
  }
};

}  // namespace

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
  CHECK(code_of([&] { client.post(key, "{}", Reply{.status = 42}); }) ==
        ErrorCode::invalid_argument);
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
