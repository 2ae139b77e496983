// What the service's cases of the store suite share.
#pragma once

#include <doctest/doctest.h>
#include <soci/soci.h>

#include <functional>
#include <string>
#include <utility>

#include "outseal/outseal.h"

namespace outseal::test {

inline long count(soci::session& session, const std::string& what) {
  long rows = 0;
  session << "SELECT count(*) FROM " + what, soci::into(rows);
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
