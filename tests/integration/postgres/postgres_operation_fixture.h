// Operations with effects by SQL functions, as a service in any language calls them: by a user who
// is a producer and nothing else.
#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <string>

#include "integration/postgres/postgres_site.h"
#include "sql/connection.h"
#include "support/postgres_server.h"

namespace outseal::test {

/// A service's connection.
class Client {
 public:
  explicit Client(const Site& site, const std::string& user = "the_producer")
      : connection_{sql::open(Url::parse("--db", site.url(user)))} {}

  /// The first field as text, or what the server refused it by: a constraint, or an SQLSTATE.
  std::string ask(const std::string& sql) const {
    try {
      const auto statement = connection_->prepare(sql);
      return statement->step() ? std::string{statement->text(0)} : "nothing";
    } catch (const Error& error) {
      CHECK((!error.hint().empty() || error.detail_code().starts_with("2")));
      return error.constraint().empty() ? error.detail_code() : error.constraint();
    }
  }
  /// A field of what `call` of a function of outseal returns.
  std::string field(const std::string& name, const std::string& call) const {
    return ask("SELECT (" + name + ")::text FROM outseal." + call);
  }

 private:
  std::unique_ptr<sql::Connection> connection_;
};

inline std::string key_of(const std::string& key) {
  return "outseal.key_hash('payments', 'shop', '" + key + "')";
}

inline std::string begin(const std::string& key, const std::string& lease = "1 minute",
                         const std::string& request = "amount=5") {
  return "begin_operation('payments', 'shop', '" + key + "', sha256('" + request +
         "'), 'host/1', '" + lease + "')";
}

/// A charge of 5.00 EUR, and what the provider promises.
struct Charge {
  std::string key;
  int fence = 1;
  std::string policies = "rerun,ask,hand_over";
  std::string more = ", replays => 'any', rerun_window => '1 day'";
  std::string request = "amount=5";

  std::string begin() const {
    return "begin_effect(" + key_of(key) + ", " + std::to_string(fence) +
           ", 'host/1', 'charge', sha256('" + request + "'), 'stripe', '{" + policies +
           "}', amount_minor => 500, currency => 'EUR'" + more + ")";
  }
  std::string answer(const std::string& step, const std::string& said,
                     const std::string& with = "") const {
    return "answer_effect(" + key_of(key) + ", " + std::to_string(fence) + ", 'charge', '" + step +
           "', '" + said + "'" + with + ")";
  }
  std::string finish() const {
    return "finish_operation(" + key_of(key) + ", " + std::to_string(fence) +
           ", 'succeeded', 201, 'done')";
  }
};

/// As if `time` had passed since everything of it happened.
inline void age(const Site& site, const std::string& time) {
  site.ask("UPDATE outseal.idempotency SET created_at = created_at - interval '" + time +
           "', lease_until = lease_until - interval '" + time +
           "', completed_at = completed_at - interval '" + time +
           "', purge_at = purge_at - interval '" + time +
           "', expires_at = expires_at - interval '" + time + "'");
  site.ask("UPDATE outseal.effect SET first_sent_at = first_sent_at - interval '" + time +
           "', last_sent_at = last_sent_at - interval '" + time + "'");
}

/// Everything that is recorded.
inline std::string records(const Site& site) {
  return site.ask(
      "SELECT (SELECT string_agg(i::text, '' ORDER BY key_hash)"
      " FROM outseal.idempotency i) || (SELECT string_agg(e::text, '' ORDER BY id)"
      " FROM outseal.effect e)");
}

}  // namespace outseal::test
