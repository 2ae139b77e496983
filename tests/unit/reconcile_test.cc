// The checks of the database alone, the life of findings, and one run at a time.
#include <doctest/doctest.h>

#include "base/owner.h"
#include "outseal/error.h"
#include "reconcile_shop.h"
#include "store/audit.h"

using namespace std::chrono_literals;
using outseal::Error;
using outseal::ErrorCode;
using outseal::reconcile::FindingDecision;
using outseal::reconcile::read_finding;
using outseal::reconcile::resolve_finding;
using outseal::test::Lines;
using outseal::test::Shop;

namespace {

std::string state_of(Shop& shop, std::int64_t id) {
  return read_finding(shop.connection(), id).state;
}

template <typename Body>
ErrorCode code_of(Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.code();
  }
  FAIL("no error was thrown");
  return ErrorCode::internal;
}

constexpr auto kOperation =
    "INSERT INTO outseal_idempotency (key_hash, scope, fingerprint, state, created_at, lease_until)"
    " VALUES (randomblob(32), 'payments', zeroblob(32), ";

}  // namespace

TEST_CASE("an operation is stuck when its lease has ended or its outcome is unknown") {
  Shop shop;
  const std::string now = std::to_string(shop.connection().now_ms());
  shop.sql(std::string{kOperation} + "'in_progress', " + now + " - 600000, " + now + " - 1000)");
  shop.sql(std::string{kOperation} + "'in_progress', " + now + " - 600000, " + now + " + 60000)");
  shop.sql(std::string{kOperation} + "'unknown', " + now + " - 1000, NULL)");
  shop.options.grace_stuck = 5min;
  CHECK(shop.reconcile({"stuck_operations"}).open == 1);
  shop.options.grace_stuck = 0ms;
  CHECK(shop.reconcile({"stuck_operations"}).open == 2);
  for (const std::string& subject : shop.open_subjects()) CHECK(subject.size() == 32);
}

TEST_CASE("a stuck operation names the effect that waits for a person, and what to do") {
  Shop shop;
  shop.sql(
      "INSERT INTO outseal_idempotency (key_hash, scope, fingerprint, state, created_at,"
      " lease_until) VALUES (zeroblob(32), 'payments', zeroblob(32), 'unknown', 1, NULL),"
      " (CAST(printf('%032d', 0) AS BLOB), 'payments', zeroblob(32), 'in_progress', 2, 3)");
  shop.sql(
      "INSERT INTO outseal_effect (operation, name, request_hash, provider, provider_key, policies,"
      " state, external_ref, intended_at) SELECT key_hash, n.column1, zeroblob(32), 'stripe',"
      " 'key', 'ask', n.column2, n.column3, 1 FROM outseal_idempotency, (VALUES"
      " ('a', 'confirmed', 'ch_1'), ('b', 'disputed', 'ch_2'), ('c', 'unknown', NULL)) n"
      " WHERE state = 'unknown'");
  const auto result = shop.reconcile({"stuck_operations"});
  const auto& findings = result.checks[0].report.findings();
  REQUIRE(findings.size() == 2);
  const auto has = [](const std::string& text, const std::string& words) {
    CHECK_MESSAGE(text.find(words) != std::string::npos, text);
  };
  CHECK(findings[0].subject.kind == "undecided");
  has(findings[0].detail, "; effect 'b' at 'stripe' is disputed, provider key key, reference ch_2");
  has(outseal::reconcile::hint_for("stuck_operations", "undecided"),
      "outseal-reconcile effects decide");
  CHECK(findings[1].subject.kind.empty());
  has(findings[1].detail, "1 attempt, given back ");
  has(outseal::reconcile::hint_for("stuck_operations", ""), "Retry with the same key");
}

TEST_CASE("beyond the limit stuck operations are counted, once") {
  Shop shop;
  shop.sql(
      "INSERT INTO outseal_idempotency (key_hash, scope, fingerprint, state, created_at)"
      " WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)"
      " SELECT randomblob(32), 'payments', zeroblob(32), 'unknown', 5 FROM n");
  const auto result = shop.reconcile({"stuck_operations"});
  CHECK(result.checks[0].report.findings().size() == 100);
  CHECK(result.checks[0].report.beyond() == 2'400);
  CHECK(result.open == 2'500);

  // Older ones take the names; those that have one already are among the others.
  shop.sql(
      "INSERT INTO outseal_idempotency (key_hash, scope, fingerprint, state, created_at)"
      " WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60)"
      " SELECT randomblob(32), 'payments', zeroblob(32), 'unknown', 4 FROM n");
  const auto again = shop.reconcile({"stuck_operations"});
  CHECK(again.checks[0].life.opened == 60);
  CHECK(again.checks[0].life.open == 160);
  CHECK(again.checks[0].life.unnamed == 2'400);
  CHECK(again.open == 2'560);
}

TEST_CASE("events wait beyond their time, by subscription and topic") {
  Shop shop;
  SUBCASE("without any subscription") {
    shop.append(2);
    CHECK(shop.reconcile({"unpublished_events"}).open == 1);
    CHECK(shop.open_subjects() == Lines{"no_subscription"});
    shop.publish();
    CHECK(shop.reconcile({"unpublished_events"}).open == 0);
  }
  SUBCASE("behind the acknowledged ones") {
    shop.append(2);
    shop.publish();
    shop.append(3);
    shop.append(4, "k", "invoices");
    const auto result = shop.reconcile({"unpublished_events"});
    CHECK(shop.open_subjects() == Lines{"main"});
    CHECK(result.checks[0].report.findings()[0].detail.starts_with("3 events not acknowledged"));
    shop.options.grace_unpublished = 1h;
    CHECK(shop.reconcile({"unpublished_events"}).open == 0);
  }
}

TEST_CASE("two outcomes of one provider key are a duplicate, and the key is not shown") {
  Shop shop;
  const auto effect = [&](const std::string& key, const std::string& state,
                          const std::string& reference) {
    shop.sql(
        "INSERT INTO outseal_effect (operation, name, request_hash, policies, provider,"
        " provider_key, state, external_ref, intended_at) VALUES (randomblob(32), 'charge',"
        " zeroblob(32), 'hand_over', 'stripe', '" +
        key + "', '" + state + "', " + reference + ", 1)");
  };
  effect("secret-1", "confirmed", "'ch_1'");
  effect("secret-1", "failed", "NULL");
  effect("secret-2", "confirmed", "'ch_2'");
  CHECK(shop.reconcile({"duplicate_outcomes"}).open == 0);
  effect("secret-2", "confirmed", "'ch_3'");
  effect("secret-3", "unknown", "'ch_4'");
  effect("secret-3", "confirmed", "'ch_5'");
  CHECK(shop.reconcile({"duplicate_outcomes"}).open == 2);
  shop.sql("DELETE FROM outseal_effect WHERE external_ref IN ('ch_3', 'ch_4')");
  const auto result = shop.reconcile({"duplicate_outcomes"});
  CHECK(result.checks[0].life.closed == 2);
  outseal::reconcile::list_findings(shop.connection(), {.any_state = true}, [](const auto& one) {
    CHECK((one.subject.text() + one.detail).find("secret") == std::string::npos);
  });
}

TEST_CASE("parked events are a warning by key, and an error after their time") {
  Shop shop{{.event_bytes_max = 400}};
  for (const char* key : {"a", "a", "b", ""})
    shop.sql("INSERT INTO outseal_outbox (topic, key, type, payload) VALUES ('orders', '" +
             std::string{key} + "', 'made', '\"' || printf('%.600c', 'x') || '\"')");
  shop.publish();
  shop.options.grace_parked = 1h;
  shop.reconcile({"parked_events"});
  CHECK(shop.open_subjects() == Lines{"main@no-key", "main@key:a", "main@key:b"});
  CHECK(read_finding(shop.connection(), 2).severity == "warning");
  shop.sql("UPDATE outseal_parked SET parked_at = 1");
  shop.reconcile({"parked_events"});
  CHECK(read_finding(shop.connection(), 2).severity == "error");
  shop.sql("UPDATE outseal_parked SET state = 'discarded'");
  CHECK(shop.reconcile({"parked_events"}).open == 0);
}

TEST_CASE("an edited audit trail is found") {
  Shop shop;
  outseal::sql::transact(shop.connection(), 1s, [&] {
    for (const char* subject : {"one", "two", "three"})
      outseal::store::append_audit(
          shop.connection(), {.actor = "me", .act = "test", .subject = subject, .detail = "{}"});
  });
  CHECK(shop.reconcile({"audit_chain"}).open == 0);
  shop.sql(
      "DROP TRIGGER outseal_audit_no_update; UPDATE outseal_audit SET actor = 'you'"
      " WHERE subject = 'two'");
  CHECK(shop.reconcile({"audit_chain"}).open == 1);
}

TEST_CASE("a finding lives across runs: open, seen again, closed, open again") {
  Shop shop;
  shop.append(1);
  CHECK(shop.reconcile().checks[2].life.opened == 1);
  CHECK(shop.reconcile().checks[2].life.seen == 1);
  auto finding = read_finding(shop.connection(), 1);
  CHECK(finding.state == "open");
  CHECK(finding.first_run == 1);
  CHECK(finding.last_run == 2);

  shop.publish();
  CHECK(shop.reconcile().open == 0);
  finding = read_finding(shop.connection(), 1);
  CHECK(finding.state == "closed");
  CHECK(finding.closed_at_ms);

  shop.sql("DELETE FROM outseal_journal; DELETE FROM outseal_subscription");
  const auto again = shop.reconcile({"unpublished_events"});
  CHECK(again.checks[0].life.opened == 1);
  finding = read_finding(shop.connection(), 1);
  CHECK(finding.state == "open");
  CHECK_FALSE(finding.closed_at_ms);
  CHECK(shop.number("SELECT count(*) FROM outseal_finding") == 1);
}

TEST_CASE("what an operator decided stays decided while it is seen") {
  Shop shop;
  shop.append(1);
  shop.reconcile();
  SUBCASE("accepted or false alarm: not open, and closed when it is gone") {
    for (const char* state : {"accepted", "false_alarm"}) {
      resolve_finding(shop.connection(), 1,
                      {.state = state, .actor = "me", .reason = "no relay on purpose"});
      const auto result = shop.reconcile();
      CHECK(result.open == 0);
      CHECK(result.checks[2].life.decided == 1);
      CHECK(state_of(shop, 1) == state);
    }
    shop.publish();
    shop.reconcile();
    CHECK(state_of(shop, 1) == "closed");
  }
  SUBCASE("repaired: open again if it is still there") {
    resolve_finding(shop.connection(), 1, {.state = "repaired", .actor = "me", .reason = "done"});
    CHECK(shop.reconcile().open == 1);
    CHECK(state_of(shop, 1) == "open");
  }
  CHECK(shop.number("SELECT count(*) FROM outseal_audit WHERE act = 'finding.resolve'") > 0);
}

TEST_CASE("a decision needs a known finding, state and reason") {
  Shop shop;
  shop.append(1);
  shop.reconcile();
  const auto resolve = [&](std::int64_t id, const FindingDecision& decision) {
    return code_of([&] { resolve_finding(shop.connection(), id, decision); });
  };
  const FindingDecision good{.state = "accepted", .actor = "me", .reason = "why"};
  CHECK(resolve(7, good) == ErrorCode::invalid_argument);
  CHECK(resolve(1, {.state = "closed", .actor = "me", .reason = "why"}) ==
        ErrorCode::invalid_argument);
  CHECK(resolve(1, {.state = "accepted", .actor = "me", .reason = ""}) ==
        ErrorCode::invalid_argument);
  CHECK(shop.number("SELECT count(*) FROM outseal_audit") == 0);
}

TEST_CASE("a run closes only what it looked at") {
  Shop shop;
  shop.append(2);
  shop.publish();
  shop.append(1);
  shop.reconcile();
  REQUIRE(shop.open_subjects() == Lines{"main"});
  shop.publish();
  shop.reconcile({"stuck_operations"});
  CHECK(shop.open_subjects() == Lines{"main"});
  shop.sql(
      "INSERT INTO outseal_subscription (name, topics, sink, event_source, created_at,"
      " updated_at) VALUES ('other', '[\"none\"]', 'stdout:', '/x', 1, 1)");
  shop.reconcile({}, {"other"});
  CHECK(shop.open_subjects() == Lines{"main"});
  shop.reconcile({}, {"main"});
  CHECK(shop.open_subjects().empty());
}

TEST_CASE("a run over some subscriptions closes what is about the whole database") {
  Shop shop;
  shop.append(1);
  shop.publish();
  shop.sql(std::string{kOperation} + "'unknown', 1, NULL)");
  shop.reconcile({}, {"main"});
  REQUIRE(shop.open_subjects("stuck_operations").size() == 1);
  shop.sql("DELETE FROM outseal_idempotency");
  shop.reconcile({}, {"main"});
  CHECK(shop.open_subjects().empty());
}

TEST_CASE("one run at a time") {
  Shop shop;
  const auto open_run = [&](const std::string& owner, std::int64_t age_ms) {
    shop.sql("INSERT INTO outseal_run (started_at, owner, checks) VALUES (" +
             std::to_string(shop.connection().now_ms() - age_ms) + ", '" + owner + "', '[]')");
  };
  const auto unfinished = "SELECT count(*) FROM outseal_run WHERE finished_at IS NULL";
  SUBCASE("a living one is respected") {
    open_run(outseal::this_owner(), 1'000);
    CHECK(code_of([&] { shop.reconcile(); }) == ErrorCode::refused);
    CHECK(shop.number(unfinished) == 1);
  }
  SUBCASE("one elsewhere is respected for an hour") {
    open_run("host=elsewhere pidns=1 pid=1 start=1", 1'000);
    CHECK(code_of([&] { shop.reconcile(); }) == ErrorCode::refused);
    shop.sql("UPDATE outseal_run SET started_at = 1");
    shop.reconcile();
    CHECK(shop.number(unfinished) == 0);
  }
  SUBCASE("a dead one is taken over") {
    std::string owner = outseal::this_owner();
    owner.replace(owner.find("pid="), std::string::npos, "pid=1 start=1");
    open_run(owner, 1'000);
    shop.reconcile();
    CHECK(shop.number(unfinished) == 0);
  }
  SUBCASE("one that fails ends all the same") {
    CHECK(code_of([&] { shop.reconcile({}, {"nobody"}); }) == ErrorCode::invalid_argument);
    CHECK(shop.number(unfinished) == 0);
  }
}

TEST_CASE("unknown checks and options out of range are refused") {
  Shop shop;
  CHECK(code_of([&] { shop.reconcile({"everything"}); }) == ErrorCode::invalid_argument);
  shop.options.findings_max = 0;
  shop.options.grace_stuck = -1ms;
  CHECK(code_of([&] { shop.reconcile(); }) == ErrorCode::invalid_config);
  CHECK(shop.number("SELECT count(*) FROM outseal_run") == 0);
}
