// What the service's cases of the store suite share.
#pragma once

#include <doctest/doctest.h>
#include <soci/soci.h>

#include <functional>
#include <string>
#include <utility>

#include "conformance/store_suite.h"
#include "outseal/outseal.h"

namespace outseal::test {

inline std::string in_dialect(const soci::session& session, const std::string& sql) {
  return in_dialect(session.get_backend_name() == "sqlite3" ? "sqlite" : "postgresql", sql);
}

/// Runs SQL of a case; see in_dialect().
inline void change(soci::session& session, const std::string& sql) {
  session << in_dialect(session, sql);
}

inline long count(soci::session& session, const std::string& table) {
  long rows = 0;
  session << in_dialect(session, "SELECT count(*) FROM " + table), soci::into(rows);
  return rows;
}

inline long balance(soci::session& session, int account) {
  long value = 0;
  session << "SELECT balance FROM account WHERE id = :id", soci::into(value), soci::use(account);
  return value;
}

inline Event paid() {
  return {.topic = "payments", .key = "7", .type = "paid", .payload = "{\"n\":1}"};
}

inline Operation charge(std::string key, const std::string& request = "amount=5") {
  return {.scope = "payments",
          .principal = "shop",
          .key = std::move(key),
          .fingerprint = fingerprint(request)};
}

inline Handler charging(soci::session& session, Reply reply) {
  return [&session, reply](Transaction& tx) {
    session << "UPDATE account SET balance = balance - 5 WHERE id = 1";
    append(tx, paid());
    return reply;
  };
}

inline ErrorCode code_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    CHECK_FALSE(error.message().empty());
    return error.code();
  }
  FAIL("no error was thrown");
  return ErrorCode::internal;
}

}  // namespace outseal::test
