#include "store/pause.h"

#include <chrono>

#include "base/text.h"
#include "outseal/error.h"
#include "sql/subscription.h"
#include "store/audit.h"

namespace outseal::store {
namespace {

constexpr std::chrono::milliseconds kWait{5'000};

using Change = bool (*)(sql::Connection&, std::string_view, std::int64_t);

bool change(sql::Connection& connection, std::string_view word, Change write,
            std::string_view subscription, const Act& act) {
  const std::string operation{word};
  check_act(operation, act);
  return sql::transact(connection, kWait, [&] {
    if (!sql::find_subscription(connection, subscription))
      throw Error{ErrorCode::invalid_argument,
                  operation,
                  "there is no subscription '" + std::string{subscription} + "'",
                  {.hint = "see the names with: outseal-relay status"}};
    if (!write(connection, subscription, connection.now_ms())) return false;
    std::string detail = "{\"reason\":";
    append_json_string(detail, act.reason);
    append_audit(connection, {act.actor, "subscription." + operation, subscription, detail + "}"});
    return true;
  });
}

}  // namespace

bool pause(sql::Connection& connection, std::string_view subscription, const Act& act) {
  return change(connection, "pause", sql::pause_subscription, subscription, act);
}

bool resume(sql::Connection& connection, std::string_view subscription, const Act& act) {
  return change(connection, "resume", sql::resume_subscription, subscription, act);
}

}  // namespace outseal::store
