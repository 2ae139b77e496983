// Attempts at operations with effects on PostgreSQL: round trips, intents that are durable or in
// doubt, and handlers that end their transaction. What they decide: tests/conformance/effect_*.
#include <cstdlib>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "base/hash.h"
#include "integration/postgres/postgres_fixture.h"
#include "operation/effect_core.h"
#include "sim/random.h"
#include "support/wire_proxy.h"

using namespace outseal;
using namespace outseal::test;
using namespace std::chrono_literals;

namespace {

/// A provider that counts what it is asked to do.
struct Calls {
  int count = 0;

  Effect charge(const std::string& name = "charge") {
    return {.name = name,
            .request = "amount=5",
            .provider = {.name = "test", .replays = Replays::any, .window = 24h},
            .policies = {Policy::rerun},
            .call = [this](EffectCall&) {
              ++count;
              return CallResult{.verdict = CallResult::Verdict::applied, .reference = "ch"};
            }};
  }
};

/// Charges account 1, with an event, after the effect.
ExecuteResult pay(soci::session& session, const std::string& key, Calls& calls,
                  const AttemptOptions& options = {}) {
  return execute(
      session, operation(key), calls.charge(),
      [&](Transaction& tx, const EffectOutcome&) { return charging(session)(tx); }, options);
}

std::string words(const attempt::Command& command, bool was_sent) {
  using namespace attempt;
  if (std::holds_alternative<Ask>(command)) return "ask";
  if (const auto* end = std::get_if<Return>(&command))
    return end->outcome.state == EffectState::intended ? "wait" : "recorded";
  const auto* commit = std::get_if<Commit>(&command);
  REQUIRE(commit != nullptr);
  if (commit->advance.send) return was_sent ? "rerun" : "call";
  if (!commit->advance.sending.empty()) return "cancel";
  return commit->advance.hand_over ? "handed_over" : "ask";
}

/// An effect as it is found, and what its provider promises.
struct Found {
  Effect effect;
  std::optional<EffectRow> row;

  /// What the library's core does about it.
  std::string by_core() const {
    attempt::EffectCore core{{60s, 5s, 1s}, std::string(32, 'k')};
    const Operation operation{.scope = "s", .key = "k", .fingerprint = std::string(32, 'f')};
    const attempt::Milliseconds now = 400 * 24h;
    OperationView view;
    view.state = OperationView::State::in_progress;
    view.fingerprint = operation.fingerprint;
    view.fingerprint_version = 1;
    view.fence = 1;
    view.lease_left = -1h;
    if (row) view.effects.push_back(*row);
    core.begin(operation, now);
    core.on(attempt::Loaded{view}, now);
    view.fence = 2;
    core.on(attempt::TakenOver{view}, now);
    return words(core.effect(effect, now), row && row->last_sent_ago);
  }

  /// The call that asks PostgreSQL the same.
  std::string in_sql() const {
    const auto ago = [](const std::optional<std::chrono::milliseconds>& time) {
      return time ? "t - " + std::to_string(time->count()) + " * interval '1 ms'" : "NULL";
    };
    const auto seconds = [](std::chrono::seconds time) {
      return "'" + std::to_string(time.count()) + " s'";
    };
    std::string policies;
    for (const Policy each : effect.policies)
      policies.append(policies.empty() ? "" : ",").append(name_of(each));
    const ProviderProfile& provider = effect.provider;
    return "outseal.effect_step(t, " +
           (row ? "'" + std::string{name_of(row->outcome.state)} + "'" : "NULL") + ", " +
           (row ? ago(row->first_sent_ago) : "NULL") + ", " +
           (row ? ago(row->last_sent_ago) : "NULL") + ", '{" + policies + "}', '{}', '" +
           std::string{name_of(provider.replays)} + "', '" +
           std::string{name_of(effect.rerun_needs)} + "', " + seconds(provider.window) + ", " +
           seconds(provider.margin) + ", " + seconds(provider.max_in_flight) + ", " +
           (provider.cancels_by_key ? "true" : "false") + ")";
  }
};

Found random_case(sim::Random& random) {
  const auto hours = [&] { return std::chrono::hours{random.below(4)}; };
  Found found{.effect = Calls{}.charge(), .row = std::nullopt};
  Effect& effect = found.effect;
  effect.provider = {.name = "test",
                     .replays = static_cast<Replays>(random.below(3)),
                     .window = hours(),
                     .margin = hours() / 2,
                     .max_in_flight = hours(),
                     .cancels_by_key = random.percent(50)};
  effect.rerun_needs = random.percent(50) ? Replays::any : Replays::success;
  effect.policies.clear();
  for (std::uint64_t count = random.between(1, 3); count > 0; --count)
    effect.policies.push_back(static_cast<Policy>(random.below(4)));
  if (random.percent(5)) return found;
  EffectRow row;
  row.outcome = {.name = effect.name,
                 .state = random.percent(90) ? EffectState::intended : EffectState::confirmed};
  row.request_hash = sha256(effect.request);
  row.provider = "test";
  row.provider_key = "k";
  // Often to the millisecond at which something ends.
  const auto near = [&](std::chrono::milliseconds time) {
    return time + std::chrono::milliseconds{random.below(3)} - 1ms - 1s * random.below(2);
  };
  if (random.percent(90)) {
    row.first_sent_ago = near(hours());
    row.last_sent_ago = near(std::min<std::chrono::milliseconds>(hours(), *row.first_sent_ago));
  }
  found.row = std::move(row);
  return found;
}

}  // namespace

TEST_CASE("PostgreSQL decides about an effect as the library does") {
  const char* given = std::getenv("OUTSEAL_SEED");
  const auto seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  std::cout << "OUTSEAL_SEED=" << seed << std::endl;
  sim::Random random{seed};
  const PostgresDatabase database;
  for (int round = 0; round < 10; ++round) {
    std::string by_core;
    std::string calls;
    for (int i = 0; i < 300; ++i) {
      const Found found = random_case(random);
      by_core += found.by_core() + "\n";
      calls += (calls.empty() ? "" : ",\n") + found.in_sql();
    }
    CHECK(database.value("SELECT array_to_string(ARRAY[" + calls +
                         "], chr(10)) || chr(10) FROM (SELECT now()) AS n (t)") == by_core);
  }
}

TEST_CASE("an operation with one effect takes a look, an intent, and a transaction") {
  const PostgresDatabase database;
  WireProxy wire{shared_server().port()};
  const auto session = database.session(wire.conninfo());
  Calls calls;
  pay(*session, "warm", calls);
  wire.take();
  CHECK(pay(*session, "a", calls).outcome == Outcome::executed);
  const WireProxy::Seen seen = wire.take();
  CHECK(seen.round_trips == 5);  // With the handler's own statement.
  CHECK(seen.count("COMMIT") == 1);
  CHECK(pay(*session, "a", calls).outcome == Outcome::replayed);
  CHECK(wire.take().round_trips == 1);
  CHECK(calls.count == 2);
  CHECK(database.balance() == "90");
  CHECK(database.payloads() == "charged charged");
}

TEST_CASE("after an intent that is in doubt nothing is sent, and the next attempt finds out") {
  for (const auto cut : {WireProxy::Cut::before_sync, WireProxy::Cut::after_sync}) {
    const bool happened = cut == WireProxy::Cut::after_sync;
    CAPTURE(happened);
    const PostgresDatabase database;
    WireProxy wire{shared_server().port()};
    const auto session = database.session(wire.conninfo());
    Calls calls;
    pay(*session, "warm", calls);
    {
      Attempt attempt{*session, operation("a")};
      CHECK_FALSE(attempt.begin());
      wire.cut(cut);
      CHECK(code_of([&] { attempt.effect(calls.charge()); }) == ErrorCode::commit_in_doubt);
    }
    CHECK(calls.count == 1);
    session->reconnect();
    CHECK(database.value("SELECT count(*) FROM outseal.effect") == (happened ? "2" : "1"));
    database.value("UPDATE outseal.idempotency SET lease_until = now() WHERE fence > 0");
    CHECK(pay(*session, "a", calls).outcome == Outcome::executed);
    CHECK(calls.count == 2);
  }
}

TEST_CASE("an intent is durable, whatever the session's synchronous_commit") {
  if (skipped_without_postgres()) return;
  PostgresServer server{{.settings = {"wal_writer_delay = 10s"}}};
  const std::string database = server.fresh_database();
  {
    const auto connection = sql::open(Url::parse("--db", server.url(database)));
    store::migrate_up(*connection, store::newest_version(connection->dialect()), {});
    connection->execute("CREATE TABLE note (n int)");
  }
  soci::session session{soci::postgresql, server.conninfo(database)};
  session << "SET synchronous_commit = off";
  Calls calls;
  Effect effect = calls.charge();
  effect.call = [&](EffectCall&) -> CallResult {
    session << "INSERT INTO note VALUES (1)";  // What the session asks for is lost.
    server.kill_hard();
    return {};
  };
  Attempt attempt{session, operation("a")};
  REQUIRE_FALSE(attempt.begin());
  attempt.effect(effect);
  server.start();
  CHECK(server.execute("SELECT string_agg(state, '') FROM outseal.effect", database) == "intended");
  CHECK(server.execute("SELECT count(*) FROM note", database) == "0");
}

TEST_CASE("a handler that commits by itself keeps its rows, its events, and the effect's outcome") {
  ServiceFixture f;
  Calls calls;
  const auto once = [&] {
    return execute(*f.session, operation("a"), calls.charge(),
                   [&](Transaction& tx, const EffectOutcome&) {
                     Reply reply = charging(*f.session)(tx);
                     f.run("COMMIT");
                     return reply;
                   });
  };
  CHECK(code_of(once) == ErrorCode::foreign_commit);
  CHECK(f.database.balance() == "95");
  CHECK(f.database.payloads() == "charged");
  CHECK(f.database.value("SELECT state FROM outseal.effect") == "confirmed");
  CHECK(once().outcome == Outcome::replayed);
  CHECK(calls.count == 1);
}

TEST_CASE("a handler that commits by itself and fails for good leaves the compensation") {
  for (const bool throws : {false, true}) {
    ServiceFixture f;
    Calls calls;
    Effect effect = calls.charge();
    effect.compensation = [](const EffectOutcome&) { return event("refund"); };
    const auto once = [&] {
      return execute(*f.session, operation("a"), effect,
                     [&](Transaction& tx, const EffectOutcome&) -> Reply {
                       charging (*f.session)(tx);
                       f.run("COMMIT");
                       if (throws) throw std::runtime_error{"no"};
                       return {.verdict = Verdict::final_failure, .status = 402};
                     });
    };
    CHECK(code_of(once) == ErrorCode::foreign_commit);
    CHECK(f.database.balance() == "95");
    CHECK(f.database.payloads() == "charged refund");
    CHECK(once().ended == Verdict::final_failure);
  }
}

TEST_CASE("a finish whose operation was taken over commits nothing") {
  ServiceFixture f;
  Calls calls;
  Attempt attempt{*f.session, operation("a")};
  REQUIRE_FALSE(attempt.begin());
  attempt.effect(calls.charge());
  f.database.value("UPDATE outseal.idempotency SET lease_until = now()");
  const auto other = f.database.session();
  CHECK(pay(*other, "a", calls).outcome == Outcome::executed);
  CHECK(calls.count == 2);  // The same key: the provider replays its answer.
  CHECK(code_of([&] { attempt.finish(charging(*f.session)); }) == ErrorCode::lease_lost);
  CHECK(f.database.balance() == "95");
  CHECK(f.database.payloads() == "charged");
}

TEST_CASE("a finish whose commit is in doubt is found out by the same key") {
  for (const auto cut : {WireProxy::Cut::before_commit, WireProxy::Cut::after_commit}) {
    const bool happened = cut == WireProxy::Cut::after_commit;
    CAPTURE(happened);
    const PostgresDatabase database;
    WireProxy wire{shared_server().port()};
    const auto session = database.session(wire.conninfo());
    Calls calls;
    wire.cut(cut);
    CHECK(code_of([&] { pay(*session, "a", calls); }) == ErrorCode::commit_in_doubt);
    session->reconnect();
    database.value("UPDATE outseal.idempotency SET lease_until = now() WHERE state <> 'succeeded'");
    CHECK(pay(*session, "a", calls).outcome == (happened ? Outcome::replayed : Outcome::executed));
    CHECK(database.balance() == "95");
    CHECK(database.payloads() == "charged");
  }
}

TEST_CASE("a conflict that the handler swallows commits nothing, and the effect is not repeated") {
  ServiceFixture f;
  Calls calls;
  Attempt attempt{*f.session, operation("a")};
  REQUIRE_FALSE(attempt.begin());
  attempt.effect(calls.charge());
  const auto conflicting = [&](Transaction&) {
    try {
      f.run("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END $$");
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
    }
    return Reply{.verdict = Verdict::final_failure};
  };
  CHECK(code_of([&] { attempt.finish(conflicting); }) == ErrorCode::conflict);
  CHECK(pay(*f.session, "a", calls).outcome == Outcome::executed);
  CHECK(f.database.value("SELECT state FROM outseal.effect") == "confirmed");
  CHECK(calls.count == 1);
}
