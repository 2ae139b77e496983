// An operation with one effect, against two transactions that write the same rows: the intent, and
// the outcome with the business rows, an event and the reply. The provider answers at once.
#include <libpq-fe.h>

#include <array>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/hash.h"
#include "bench/bench.h"
#include "bench/pg_stage.h"
#include "operation/effect_core.h"
#include "operation/record.h"
#include "outseal/ids.h"

namespace outseal::bench {
namespace {

constexpr int kRounds = 5;

struct Prepared {
  const char* name;
  const char* sql;
};
constexpr std::array kStatements{
    Prepared{"record",
             "INSERT INTO outseal.idempotency (created_at, lease_until, fence, key_hash,"
             " fingerprint, handle, scope, state, lease_owner) VALUES (clock_timestamp(),"
             " clock_timestamp() + interval '1 minute', 1, $1, sha256($1),"
             " uuid_send(gen_random_uuid()), 'payments', 'in_progress', 'host/1')"},
    Prepared{"effect",
             "INSERT INTO outseal.effect (amount_minor, fence, intended_at, first_sent_at,"
             " last_sent_at, attempts, operation, request_hash, name, provider, provider_key,"
             " policies, state, currency) VALUES (500, 1, clock_timestamp(), clock_timestamp(),"
             " clock_timestamp(), 1, $1, sha256($1), 'charge', 'test', $2, 'rerun', 'intended',"
             " 'EUR')"},
    Prepared{"confirm",
             "UPDATE outseal.effect SET state = 'confirmed', external_ref = 'ch_1', version ="
             " version + 1, settled_at = clock_timestamp() WHERE operation = $1"
             " AND name = 'charge'"},
    Prepared{"finish",
             "UPDATE outseal.idempotency SET state = 'succeeded', status = 201, body = '{}',"
             " content_type = 'application/json', completed_at = clock_timestamp(), purge_at ="
             " clock_timestamp() + interval '7 days', expires_at = clock_timestamp() + interval"
             " '400 days', lease_until = NULL, lease_owner = NULL"
             " WHERE key_hash = $1"},
    Prepared{"event",
             "INSERT INTO outseal.outbox (topic, key, type, payload)"
             " VALUES ('payments', $1, 'paid', $2)"},
};

/// `hash` is bytes; empty: none.
void run(PGconn* connection, const char* name, const std::string& hash,
         const std::vector<std::string>& texts = {}) {
  std::vector<const char*> values;
  std::vector<int> lengths;
  std::vector<int> formats;
  const auto add = [&](const std::string& value, int format) {
    values.push_back(value.c_str());
    lengths.push_back(static_cast<int>(value.size()));
    formats.push_back(format);
  };
  if (!hash.empty()) add(hash, 1);
  for (const std::string& text : texts) add(text, 0);
  PGresult* const result = PQexecPrepared(connection, name, static_cast<int>(values.size()),
                                          values.data(), lengths.data(), formats.data(), 0);
  const bool done = PQresultStatus(result) == PGRES_COMMAND_OK;
  PQclear(result);
  if (!done) throw std::runtime_error{PQerrorMessage(connection)};
}

/// Under a key that begins with its time, as is recommended.
Operation payment(int turn) {
  return {.scope = "payments",
          .principal = "shop",
          .key = new_idempotency_key(),
          .fingerprint = fingerprint("account " + std::to_string(turn))};
}

double rate_of(const Stage& stage, int clients, void (*turn)(Client&), const Size& size) {
  stage.checkpoint();
  const Clients running{stage, clients, turn};
  running.rate(size.seconds(0.3));  // The first touch of a page after a checkpoint is dear.
  return running.rate(size.seconds(1.2));
}

}  // namespace

void Client::bare_twice() {
  PGconn* const connection = handle();
  if (!std::exchange(twice_is_prepared_, true))
    for (const Prepared& each : kStatements)
      PQclear(PQprepare(connection, each.name, each.sql, 0, nullptr));
  const std::string hash = operation::key_hash(payment(turn_));
  session_.begin();
  run(connection, "record", hash);
  run(connection, "effect", hash, {attempt::provider_key_of(hash, "charge")});
  session_.commit();
  session_.begin();
  charge();
  run(connection, "confirm", hash);
  run(connection, "event", {}, {std::to_string(account_), payload(turn_)});
  run(connection, "finish", hash);
  session_.commit();
}

void Client::with_effect() {
  const Operation operation = payment(turn_);
  const Effect effect{
      .name = "charge",
      .request = "account " + std::to_string(turn_),
      .provider = {.name = "test", .replays = Replays::any, .window = std::chrono::hours{24}},
      .policies = {Policy::rerun},
      .amount = Amount{500, "EUR"},
      .call = [](EffectCall&) {
        return CallResult{.verdict = CallResult::Verdict::applied, .reference = "ch_1"};
      }};
  const ExecuteResult result =
      execute(session_, operation, effect, [&](Transaction& tx, const EffectOutcome&) -> Reply {
        charge();
        append(tx, event());
        return {.status = 201, .body = "{}"};
      });
  if (result.outcome != Outcome::executed) throw std::runtime_error{"a key was not new"};
}

void pg_effect(const Size& size) {
  const Stage stage;
  for (const int clients : {1, 8}) {
    std::vector<double> bare;
    std::vector<double> ratios;
    for (int round = 0; round < kRounds; ++round) {
      bare.push_back(rate_of(
          stage, clients, [](Client& client) { client.bare_twice(); }, size));
      ratios.push_back(rate_of(
                           stage, clients, [](Client& client) { client.with_effect(); }, size) /
                       bare.back());
    }
    std::printf("  %d client%s: two bare transactions %.0f/s; with an effect %.2f of it%s\n",
                clients, clients == 1 ? " " : "s", median(bare), median(ratios),
                at_least(median(ratios), 0.85).c_str());
  }
}

}  // namespace outseal::bench
