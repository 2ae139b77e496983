// What is known of an operation, and waiting for it.
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "base/owner.h"
#include "conformance/store_helpers.h"
#include "conformance/store_suite.h"
#include "outseal/status.h"
#include "outseal/testing.h"
#include "support/mutant.h"
#include "support/scale.h"

using namespace outseal;
using namespace outseal::test;
using namespace std::chrono_literals;

namespace {

const OperationKey kKey{.scope = "payments", .principal = "shop", .key = "k1"};

/// A store with one session on it, and records of all kinds.
struct Shop {
  std::unique_ptr<StoreUnderTest> store = make_store();
  std::unique_ptr<soci::session> session = store->session();

  void pay(const Reply& reply = {}) const {
    std::ignore = execute(*session, charge("k1"), charging(*session, reply));
  }
  void sql(const std::string& text) const { change(*session, text); }
  OperationStatus seen() const { return status(*session, kKey); }

  /// As an operation with an effect leaves it, with a lease that began now or long ago.
  void open(const std::string& state, const std::string& effect, bool leased = true,
            const std::string& owner = "somebody elsewhere") const {
    pay();
    sql("UPDATE outseal_idempotency SET expires_at = NULL, purge_at = NULL, status = NULL,"
        " body = NULL, content_type = NULL, completed_at = NULL, fence = 1, attempts = 2,"
        " handle = substr(fingerprint, 1, 16), lease_owner = '" +
        owner + "', lease_until = " + (leased ? "created_at + {day}" : "{long_ago}") +
        ", state = '" + state + "'");
    if (!effect.empty()) add_effect("charge", effect);
  }
  void finish() const {
    sql("UPDATE outseal_idempotency SET expires_at = created_at + {day}, purge_at = created_at +"
        " {day}, status = 201, body = fingerprint, content_type = 'x/y', completed_at ="
        " created_at, state = 'succeeded'");
  }
  void add_effect(const std::string& name, const std::string& state) const {
    sql("INSERT INTO outseal_effect (operation, name, request_hash, provider, provider_key,"
        " policies, state, intended_at, external_ref, amount_minor, currency, attempts)"
        " SELECT key_hash, '" +
        name + "', fingerprint, 'p', 'k', 'hand_over', '" + state +
        "', created_at, 'ch_1', 500, 'EUR', 3 FROM outseal_idempotency");
  }
};

/// Opens sessions and counts those that live.
struct Counted {
  const StoreUnderTest& store;
  std::atomic<int> opened = 0;
  std::unique_ptr<soci::session> session = {};

  SessionOpener opener() {
    return [this]() -> Session {
      ++opened;
      session = store.session();
      return *session;
    };
  }
};

auto after(std::chrono::milliseconds time) { return std::chrono::steady_clock::now() + time; }

}  // namespace

TEST_CASE("the status of a key follows its record") {
  const Shop shop;
  CHECK(shop.seen().state == OperationState::absent);
  CHECK(shop.seen().may_begin());
  CHECK_FALSE(shop.seen().safe_new_key);  // It may still be on its way.
  shop.pay({.status = 201, .body = "paid", .headers = {{"Location", "/1"}}});
  const OperationStatus paid = shop.seen();
  CHECK(paid.state == OperationState::succeeded);
  CHECK(paid.scope == "payments");
  CHECK(paid.reply->status == 201);
  CHECK(paid.reply->body == "paid");
  CHECK(paid.reply->headers.at("Location") == "/1");
  CHECK(paid.ended == Verdict::success);
  CHECK(paid.has_ended());
  CHECK_FALSE(paid.safe_new_key);
  CHECK(paid.handle.empty());
  CHECK(paid.since.time_since_epoch() > std::chrono::hours{24 * 365 * 50});
  shop.sql("UPDATE outseal_idempotency SET purge_at = {long_ago}");
  const OperationStatus expired = shop.seen();
  CHECK(expired.state == OperationState::expired);
  CHECK(expired.ended == Verdict::success);
  CHECK_FALSE(expired.reply.has_value());
  std::ignore = purge_operations(*shop.session);
  CHECK(shop.seen().state == OperationState::expired);
  shop.sql("UPDATE outseal_idempotency SET expires_at = {long_ago}");
  CHECK(shop.seen().state == OperationState::absent);
  CHECK(status(*shop.session, {.scope = "payments", .principal = "other", .key = "k1"}).state ==
        OperationState::absent);
  CHECK(code_of([&] { return status(*shop.session, {.scope = "s", .key = ""}); }) ==
        ErrorCode::invalid_argument);
}

TEST_CASE("a new key is safe only after a failure whose effects are known not to be applied") {
  const Shop shop;
  shop.pay({.verdict = Verdict::final_failure, .status = 402});
  CHECK(shop.seen().state == OperationState::failed);
  CHECK(shop.seen().safe_new_key);
  shop.sql("UPDATE outseal_idempotency SET purge_at = {long_ago}");
  CHECK(shop.seen().state == OperationState::expired);
  CHECK(shop.seen().safe_new_key);
  shop.sql("UPDATE outseal_idempotency SET fence = 1");
  shop.add_effect("a", "not_applied");
  shop.add_effect("b", "failed");
  CHECK(shop.seen().safe_new_key);
  for (const char* state :
       {"intended", "confirmed", "unknown", "applied", "abandoned", "disputed"}) {
    CAPTURE(state);
    shop.sql("UPDATE outseal_effect SET state = '" + std::string{state} + "' WHERE name = 'b'");
    CHECK_FALSE(shop.seen().safe_new_key);
  }
  CHECK(shop.seen().state == OperationState::disputed);
  shop.sql("UPDATE outseal_idempotency SET expires_at = {long_ago}");
  CHECK(shop.seen().state == OperationState::disputed);  // What is open keeps its key.
}

TEST_CASE("an operation with effects shows who has it, since when, and its effects") {
  const Shop shop;
  shop.open("in_progress", "confirmed");
  shop.add_effect("refund", "intended");
  const OperationStatus status = shop.seen();
  CHECK(status.state == OperationState::in_progress);
  CHECK(status.attempts == 2);
  CHECK_FALSE(status.owner_gone);
  CHECK((status.retry_after > 0ms && status.retry_after <= ExecuteResult::kRetryAfterDefault));
  CHECK_FALSE(status.may_begin());
  CHECK_FALSE(status.safe_new_key);
  REQUIRE(status.effects.size() == 2);
  CHECK(status.effects[0].name == "charge");
  CHECK(status.effects[0].state == EffectState::confirmed);
  CHECK(status.effects[0].reference == "ch_1");
  CHECK(status.effects[0].amount == Amount{500, "EUR"});
  CHECK(status.effects[0].attempts == 3);
  CHECK(status.effects[1].state == EffectState::intended);
  shop.sql("UPDATE outseal_idempotency SET lease_until = {long_ago}");
  CHECK(shop.seen().may_begin());
  shop.sql("UPDATE outseal_effect SET state = 'unknown' WHERE name = 'refund'");
  CHECK(shop.seen().state == OperationState::unknown);
  shop.sql("UPDATE outseal_idempotency SET state = 'unknown'");
  CHECK(shop.seen().state == OperationState::unknown);
  CHECK_FALSE(shop.seen().may_begin());
  shop.sql("UPDATE outseal_effect SET state = 'applied' WHERE name = 'refund'");
  CHECK(shop.seen().may_begin());  // An operator has decided: whoever comes may finish it.
  shop.sql("UPDATE outseal_effect SET state = 'disputed' WHERE name = 'refund'");
  CHECK(shop.seen().state == OperationState::disputed);
}

TEST_CASE("an owner that has died is seen, and its lease still counts") {
  const Shop shop;
  std::string gone = this_owner();
  gone.replace(gone.find("start="), std::string::npos, "start=1");
  shop.open("in_progress", "intended", true, gone);
  CHECK(shop.seen().owner_gone);
  CHECK(shop.seen().retry_after > 1min);
  shop.sql("UPDATE outseal_idempotency SET lease_owner = '" + this_owner() + "'");
  CHECK_FALSE(shop.seen().owner_gone);
}

TEST_CASE("a handle shows its own operation, and is compared as a whole") {
  const Shop shop;
  shop.open("in_progress", "intended");
  const std::string handle = shop.seen().handle;
  CHECK(handle.size() == 64);
  CHECK(status(*shop.session, handle).state == OperationState::in_progress);
  const auto is_absent = [&](const std::string& text) {
    const OperationStatus seen = status(*shop.session, text);
    return seen.state == OperationState::absent && seen.effects.empty() && seen.handle.empty();
  };
  for (const std::size_t place : {0U, 20U, 44U, 63U}) {
    std::string other = handle;
    other[place] = other[place] == 'A' ? 'Q' : 'A';
    CHECK(is_absent(other));
  }
  CHECK(is_absent(""));
  CHECK(is_absent("k1"));
  CHECK(is_absent(handle + "A"));
  CHECK(is_absent(handle.substr(0, 43)));
  CHECK(is_absent(std::string(64, '\xff')));
  shop.sql("UPDATE outseal_idempotency SET handle = NULL");
  CHECK(is_absent(handle));
}

TEST_CASE("what runs in one transaction is seen on PostgreSQL, and is absent on SQLite") {
  const Shop shop;
  const auto other = shop.store->session();
  OperationState during = OperationState::absent;
  std::ignore = execute(*shop.session, charge("k1"), [&](Transaction&) {
    during = status(*other, kKey).state;
    CHECK(status(*other, {.scope = "payments", .principal = "shop", .key = "k2"}).state ==
          OperationState::absent);
    return Reply{};
  });
  CHECK(during ==
        (shop.store->one_writer() ? OperationState::absent : OperationState::in_progress));
  CHECK(status(*other, kKey).state == OperationState::succeeded);
}

TEST_CASE("any number of threads wait for an operation over one connection") {
  const Shop shop;
  shop.open("in_progress", "intended");
  Counted counted{*shop.store};
  StatusPoller poller{counted.opener()};
  std::atomic<int> waiting = 0;
  std::atomic<int> answered = 0;
  std::vector<std::jthread> threads;
  const auto count = static_cast<int>(scaled(1'000));
  const std::string handle = shop.seen().handle;
  for (int i = 0; i < count; ++i)
    threads.emplace_back([&, i] {
      ++waiting;
      const auto seen =
          i % 2 == 0 ? poller.wait(kKey, after(10min)) : poller.wait(handle, after(10min));
      if (seen.state == OperationState::succeeded && seen.reply->status == 201) ++answered;
    });
  while (waiting < count) std::this_thread::yield();
  shop.finish();
  threads.clear();
  CHECK(answered == count);
  CHECK(counted.opened == 1);
}

TEST_CASE("of those who wait one at a time may begin what nobody does") {
  const Shop shop;
  Counted counted{*shop.store};
  StatusPoller poller{counted.opener(), {.interval_min = 1ms, .interval_max = 1ms}};
  CHECK(poller.wait(kKey, after(10min)).state == OperationState::absent);
  std::atomic<int> begun = 0;
  std::atomic<int> answered = 0;
  std::vector<std::jthread> threads;
  for (int i = 0; i < 20; ++i)
    threads.emplace_back([&] {
      for (;;) {
        const OperationStatus seen = poller.wait(kKey, after(10min));
        if (seen.has_ended()) break;
        if (++begun == 5) shop.pay();  // The first four die.
      }
      ++answered;
    });
  threads.clear();
  CHECK(answered == 20);
  CHECK(begun >= 5);
}

TEST_CASE("a wait ends with its deadline or its stop token, with what was seen") {
  const Shop shop;
  shop.open("in_progress", "intended");
  Counted counted{*shop.store};
  StatusPoller poller{counted.opener()};
  CHECK(poller.wait(kKey, after(0ms)).state == OperationState::in_progress);
  CHECK(poller.wait(kKey, after(30ms)).attempts == 2);
  std::stop_source stop;
  std::jthread waiter{[&] {
    CHECK(poller.wait(kKey, after(10min), stop.get_token()).state == OperationState::in_progress);
  }};
  CHECK(poller.wait(kKey, after(20ms)).state == OperationState::in_progress);
  stop.request_stop();
  waiter.join();
  CHECK(poller.wait("no handle", after(0ms)).state == OperationState::absent);
}

TEST_CASE("a poller replaces what breaks, and tells what it cannot cure") {
  const Shop shop;
  shop.open("in_progress", "intended");
  std::atomic<int> opened = 0;
  std::unique_ptr<soci::session> session;
  const auto flaky = [&]() -> Session {
    if (++opened < 4) throw std::runtime_error{"no route"};
    session = shop.store->session();
    return *session;
  };
  StatusPoller poller{flaky, {.interval_min = 1ms, .interval_max = 5ms}};
  CHECK(code_of([&] { return poller.wait(kKey, after(0ms)); }) == ErrorCode::unreachable);
  std::jthread waiter{[&] { CHECK(poller.wait(kKey, after(10min)).reply->status == 201); }};
  shop.finish();
  waiter.join();
  CHECK(opened == 4);

  shop.sql("DROP TABLE outseal_idempotency");
  CHECK(code_of([&] { return poller.wait(kKey, after(10min)); }) == ErrorCode::schema_missing);
  CHECK(code_of([&] { StatusPoller{{}}; }) == ErrorCode::invalid_argument);
  CHECK(code_of([&] { StatusPoller{flaky, {.interval_min = 0ms}}; }) == ErrorCode::invalid_config);
}

TEST_CASE("migrate makes the schema for a unit test, once or twice") {
  const Shop shop;
  migrate(*shop.session);
  shop.sql("BEGIN");
  CHECK(code_of([&] { migrate(*shop.session); }) == ErrorCode::invalid_argument);
  shop.sql("ROLLBACK");
  shop.pay();
  CHECK(shop.seen().state == OperationState::succeeded);
}

#ifdef OUTSEAL_FAULTS
TEST_CASE("each guard of the status is missed") {
  CHECK_FALSE(passes_with_mutant("no_handle_check", "a handle shows its own operation*"));
}
#endif
