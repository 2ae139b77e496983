// What is recorded for a key: how long, what it answers at which age and state, and what a purge
// takes away.
#include <chrono>
#include <memory>
#include <string>
#include <tuple>

#include "conformance/store_helpers.h"
#include "conformance/store_suite.h"
#include "support/mutant.h"

using namespace outseal;
using namespace outseal::test;
using namespace std::chrono_literals;

namespace {

/// A store with one session on it.
struct Shop {
  std::unique_ptr<StoreUnderTest> store = make_store();
  std::unique_ptr<soci::session> session = store->session();

  ExecuteResult pay(const Operation& operation, const Reply& reply = {}) const {
    return execute(*session, operation, charging(*session, reply));
  }
  ExecuteResult pay(const std::string& key) const { return pay(charge(key)); }
  Outcome found(const Operation& operation) const { return find(*session, operation)->outcome; }
  void sql(const std::string& text) const { change(*session, text); }
  long records() const { return count(*session, "outseal_idempotency"); }

  /// Gives each record an effect, as an operation with external effects has.
  void add_effects(const std::string& state) const {
    sql("UPDATE outseal_idempotency SET fence = 1");
    sql("INSERT INTO outseal_effect (operation, name, request_hash, provider, provider_key,"
        " policies, state, intended_at) SELECT key_hash, 'charge', fingerprint, 'p', 'k',"
        " 'hand_over', '" +
        state + "', created_at FROM outseal_idempotency");
  }
};

const std::string kResponseOver = "UPDATE outseal_idempotency SET purge_at = {long_ago}";
const std::string kKeyOver =
    "UPDATE outseal_idempotency SET purge_at = {long_ago}, expires_at = {long_ago}";
const std::string kOpen =
    "UPDATE outseal_idempotency SET expires_at = NULL, purge_at = NULL, status = NULL, body = NULL,"
    " content_type = NULL, completed_at = NULL, handle = substr(fingerprint, 1, 16), fence = 1, "
    "state = ";

Operation in_version(int version, const std::string& request) {
  Operation operation = charge("k1", request);
  operation.fingerprint_version = version;
  return operation;
}

}  // namespace

TEST_CASE("a key whose response has gone is known and never executed again") {
  const Shop shop;
  const Reply declined{.verdict = Verdict::final_failure, .status = 402, .body = "declined"};
  std::ignore = shop.pay("k1");
  std::ignore = shop.pay(charge("k2"), declined);
  shop.sql(kResponseOver);
  const auto check = [&] {
    for (const std::string key : {"k1", "k2"}) {
      const ExecuteResult result = shop.pay(key);
      CHECK(result.outcome == Outcome::expired);
      CHECK_FALSE(result.reply.has_value());
      CHECK(result.ended == (key == "k1" ? Verdict::success : Verdict::final_failure));
      CHECK(result.status == (key == "k1" ? 200 : 402));
      CHECK(result.handle.empty());
      CHECK(shop.found(charge(key)) == Outcome::expired);
    }
    CHECK(shop.pay(charge("k1", "amount=6")).outcome == Outcome::mismatch);
    CHECK(balance(*shop.session, 1) == 95);
  };
  check();  // The same before the purge and after it.
  const Purged purged = purge_operations(*shop.session, {.step_rows = 1});
  CHECK(purged.responses == 2);
  CHECK(purged.records == 0);
  check();
  CHECK(purge_operations(*shop.session).responses == 0);
  shop.sql(kKeyOver);
  CHECK_FALSE(find(*shop.session, charge("k1")).has_value());
  CHECK(shop.pay("k1").outcome == Outcome::executed);
  CHECK(shop.pay("k1").outcome == Outcome::replayed);
  CHECK(balance(*shop.session, 1) == 90);
}

TEST_CASE("without the memory of its key a dropped response would execute again") {
  CHECK_FALSE(passes_with_mutant(
      "expired_executes", "a key whose response has gone is known and never executed again"));
}

TEST_CASE("a response's retention and a key's begin when the operation completes") {
  const Shop shop;
  const auto with = [&](std::chrono::seconds response, std::chrono::seconds key) {
    ExecuteOptions options;
    options.response_retention = response;
    options.key_retention = key;
    return options;
  };
  const auto run = [&](const std::string& key, const ExecuteOptions& options) {
    std::ignore = execute(*shop.session, charge(key), charging(*shop.session, {}), options);
  };
  run("by default", {});
  run("the same", with(60s, 60s));
  run("for ever", with(60s, ExecuteOptions::kForever));
  long days = 0;  // PostgreSQL's clock runs on between the times.
  *shop.session << in_dialect(*shop.session,
                              "SELECT count(*) FROM outseal_idempotency WHERE purge_at >="
                              " completed_at + 7 * {day} AND purge_at < completed_at + 8 * {day}"
                              " AND expires_at >= completed_at + 400 * {day}"
                              " AND expires_at < completed_at + 401 * {day}"),
      soci::into(days);
  CHECK(days == 1);
  *shop.session << in_dialect(*shop.session,
                              "SELECT count(*) FROM outseal_idempotency WHERE expires_at >"
                              " completed_at + 1824999 * {day} AND purge_at < expires_at"),
      soci::into(days);
  CHECK(days == 1);
  CHECK(shop.pay("for ever").outcome == Outcome::replayed);
  CHECK(code_of([&] { with(60s, 59s).validate(); }) == ErrorCode::invalid_config);
  CHECK(code_of([&] { with(59s, 60s).validate(); }) == ErrorCode::invalid_config);
  const auto beyond = ExecuteOptions::kForever + 1s;
  CHECK(code_of([&] { with(beyond, beyond).validate(); }) == ErrorCode::invalid_config);
}

TEST_CASE("what is not final, or has an effect whose end is open, is never purged or forgotten") {
  for (const std::string state : {"in_progress", "unknown"}) {
    const Shop shop;
    std::ignore = shop.pay("k1");
    shop.sql("UPDATE outseal_idempotency SET state = '" + state +
             "', fence = 1, purge_at = NULL, expires_at = NULL");
    CHECK(purge_operations(*shop.session).records == 0);
    CHECK(shop.pay("k1").outcome == (state == "unknown" ? Outcome::unknown : Outcome::in_progress));
    CHECK(shop.records() == 1);
  }
  for (const std::string state : {"intended", "unknown", "disputed"}) {
    CAPTURE(state);
    const Shop shop;
    std::ignore = shop.pay("k1");
    shop.add_effects(state);
    shop.sql(kResponseOver);
    CHECK(purge_operations(*shop.session).responses == 0);
    shop.sql(kKeyOver);
    CHECK(purge_operations(*shop.session).records == 0);
    CHECK(shop.records() == 1);
    CHECK(shop.found(charge("k1")) == Outcome::expired);
    CHECK(shop.pay("k1").outcome == Outcome::expired);
    CHECK(shop.records() == 1);
    CHECK(count(*shop.session, "outseal_effect") == 1);
    CHECK(balance(*shop.session, 1) == 95);
  }
}

TEST_CASE("a record that goes takes its effects along, by a purge or by the next execution") {
  for (const bool by_purge : {true, false}) {
    const Shop shop;
    std::ignore = shop.pay("k1");
    std::ignore = shop.pay("k2");
    shop.add_effects("confirmed");
    shop.sql(kResponseOver);
    CHECK(purge_operations(*shop.session).responses == 2);
    CHECK(count(*shop.session, "outseal_effect") == 2);
    shop.sql(kKeyOver);
    if (by_purge) {
      CHECK(purge_operations(*shop.session, {.steps_max = 1}).records == 2);
      CHECK(count(*shop.session, "outseal_effect") == 0);
    } else {
      CHECK(shop.pay("k1").outcome == Outcome::executed);
      CHECK(count(*shop.session, "outseal_effect") == 1);
    }
  }
}

TEST_CASE("a purge works off responses and records together, in steps") {
  const Shop shop;
  for (int i = 0; i < 12; ++i) std::ignore = shop.pay("k" + std::to_string(i));
  shop.sql(kResponseOver);
  shop.sql(
      "UPDATE outseal_idempotency SET expires_at = {long_ago} WHERE key_hash IN"
      " (SELECT key_hash FROM outseal_idempotency ORDER BY key_hash LIMIT 7)");
  const Purged some = purge_operations(*shop.session, {.step_rows = 2, .steps_max = 2});
  CHECK(some.responses + some.records == 4);
  const Purged rest = purge_operations(*shop.session, {.step_rows = 2});
  CHECK(some.responses + rest.responses == 5);
  CHECK(some.records + rest.records == 7);
  CHECK(shop.records() == 5);
}

TEST_CASE("an operation with effects is answered at once, with a handle and when to come again") {
  const Shop shop;
  std::ignore = shop.pay("k1");
  shop.sql(kOpen + "'in_progress'");
  const auto attempt = [&] {
    return execute(*shop.session, charge("k1"), charging(*shop.session, {}), {.wait = 600'000ms});
  };
  ExecuteResult result = attempt();
  CHECK(result.outcome == Outcome::in_progress);
  CHECK(result.retry_after == ExecuteResult::kRetryAfterDefault);  // It has no lease.
  CHECK(result.handle.size() == 64);
  CHECK_FALSE(result.reply.has_value());
  CHECK_FALSE(result.ended.has_value());
  shop.sql("UPDATE outseal_idempotency SET lease_until = created_at + {day}");
  result = attempt();
  CHECK(result.retry_after > 23h);
  CHECK(result.retry_after <= 24h);
  CHECK(find(*shop.session, charge("k1"))->retry_after > 23h);
  shop.sql("UPDATE outseal_idempotency SET lease_until = {long_ago}");
  CHECK(attempt().retry_after == ExecuteResult::kRetryAfterDefault);
  shop.sql("UPDATE outseal_idempotency SET state = 'unknown'");
  result = attempt();
  CHECK(result.outcome == Outcome::unknown);
  CHECK(result.retry_after == 0ms);
  CHECK(result.handle == find(*shop.session, charge("k1"))->handle);
  CHECK(shop.found(charge("k1")) == Outcome::unknown);
  CHECK(shop.found(charge("k1", "amount=6")) == Outcome::mismatch);
  CHECK(balance(*shop.session, 1) == 95);
}

TEST_CASE("a reply's headers are replayed as they were stored, within their bounds") {
  const Shop shop;
  const std::map<std::string, std::string> headers{
      {"location", "/payments/7"}, {"x", "\"\\\n\x01 \xe2\x82\xac"}, {"y", ""}};
  const ExecuteResult first = shop.pay(charge("k1"), {.status = 201, .headers = headers});
  CHECK(first.outcome == Outcome::executed);
  CHECK(first.ended == Verdict::success);
  CHECK(first.status == 201);
  const ExecuteResult second = shop.pay("k1");
  CHECK(second.reply->headers == headers);
  CHECK(second.ended == Verdict::success);
  CHECK(second.status == 201);
  CHECK(find(*shop.session, charge("k1"))->reply->headers == headers);
  std::ignore = shop.pay("k2");
  CHECK(shop.pay("k2").reply->headers.empty());
  const auto refused = [&](const std::string& name, const std::string& value) {
    return code_of([&] {
             return shop.pay(charge("k3"), {.headers = {{name, value}}});
           }) == ErrorCode::invalid_argument;
  };
  CHECK(refused("", "x"));
  CHECK(refused("x", "\xff"));
  CHECK(refused("x", std::string(16'385, 'x')));
  CHECK(refused("x", std::string(11'000, '\x01')));  // 66,000 bytes as JSON.
  CHECK(shop.records() == 2);
  if (shop.session->get_backend_name() != "sqlite3") return;  // PostgreSQL refuses what follows.
  shop.sql("UPDATE outseal_idempotency SET reply_headers = '[1]'");
  CHECK(code_of([&] { return shop.pay("k1"); }) == ErrorCode::storage);
}

TEST_CASE("a fingerprint is compared with the one of its own version") {
  const Shop shop;
  CHECK(shop.pay(in_version(1, "amount=5")).outcome == Outcome::executed);
  // Another form of the same request, and of another one: without the old form the key decides.
  CHECK(shop.pay(in_version(2, "5 EUR")).outcome == Outcome::replayed);
  CHECK(shop.pay(in_version(2, "6 EUR")).outcome == Outcome::replayed);
  Operation both = in_version(2, "5 EUR");
  both.older_fingerprints = {{3, fingerprint("later")}, {1, fingerprint("amount=5")}};
  CHECK(shop.pay(both).outcome == Outcome::replayed);
  CHECK(shop.found(both) == Outcome::replayed);
  both.older_fingerprints = {{1, fingerprint("amount=6")}};
  CHECK(shop.pay(both).outcome == Outcome::mismatch);
  CHECK(shop.found(both) == Outcome::mismatch);
  CHECK(shop.pay(in_version(1, "amount=6")).outcome == Outcome::mismatch);
  CHECK(balance(*shop.session, 1) == 95);
}

TEST_CASE("a service that ignored the version would refuse the retries of the version before") {
  CHECK_FALSE(passes_with_mutant("no_fingerprint_version",
                                 "a fingerprint is compared with the one of its own version"));
}

TEST_CASE("versions of fingerprints are checked before anything is written") {
  const Shop shop;
  const auto refused = [&](Operation operation) {
    return code_of([&] { return shop.pay(operation); }) == ErrorCode::invalid_argument &&
           code_of([&] { return find(*shop.session, operation); }) == ErrorCode::invalid_argument;
  };
  CHECK(refused(in_version(0, "x")));
  Operation operation = in_version(2, "x");
  operation.older_fingerprints = {{2, fingerprint("x")}};
  CHECK(refused(operation));
  operation.older_fingerprints = {{1, "short"}};
  CHECK(refused(operation));
  operation.older_fingerprints = {{-1, fingerprint("x")}};
  CHECK(refused(operation));
  operation.older_fingerprints.clear();
  for (int version = 3; version < 20; ++version)
    operation.older_fingerprints.push_back({version, fingerprint("x")});
  CHECK(refused(operation));
  CHECK(shop.records() == 0);
}

TEST_CASE("keys that begin with a time are as good as others, and stand in its order") {
  const Shop shop;
  const std::string ulid = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
  std::string last;
  for (const std::string& key : {new_idempotency_key(), ulid, std::string{"random"}}) {
    CHECK(shop.pay(key).outcome == Outcome::executed);
    CHECK(shop.pay(key).outcome == Outcome::replayed);
    CHECK(shop.pay(charge(key, "amount=6")).outcome == Outcome::mismatch);
  }
  long with_time = 0;
  *shop.session << in_dialect(*shop.session,
                              "SELECT count(*) FROM outseal_idempotency WHERE length(key_hash) ="
                              " 38"),
      soci::into(with_time);
  CHECK(with_time == 2);
  CHECK(balance(*shop.session, 1) == 85);
}
