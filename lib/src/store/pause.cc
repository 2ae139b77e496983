#include "store/pause.h"

#include <chrono>

#include "base/text.h"
#include "outseal/error.h"
#include "store/audit.h"
#include "store/subscription.h"

namespace outseal::store {
namespace {

constexpr std::chrono::milliseconds kWait{5'000};

bool change(sql::Connection& connection, std::string_view act, sql::Query query,
            std::string_view subscription, const PauseDecision& decision) {
  const std::string operation{act};
  for (const std::string_view text : {std::string_view{decision.actor}, {decision.reason}})
    if (!is_utf8(text))
      throw Error{ErrorCode::invalid_argument,
                  operation,
                  "actor and reason must be UTF-8",
                  {.hint = "give them in UTF-8: they are kept in the audit trail"}};
  return sql::transact(connection, kWait, [&] {
    if (!find_subscription(connection, subscription))
      throw Error{ErrorCode::invalid_argument,
                  operation,
                  "there is no subscription '" + std::string{subscription} + "'",
                  {.hint = "see the names with: outseal-relay status"}};
    {
      const sql::Use update{connection.statement(query)};
      update->bind_text(0, subscription);
      update->bind(1, connection.now_ms());
      update->step();
      if (connection.changes() == 0) return false;
    }
    std::string detail = "{\"reason\":";
    append_json_string(detail, decision.reason);
    append_audit(connection,
                 {decision.actor, "subscription." + operation, subscription, detail + "}"});
    return true;
  });
}

}  // namespace

bool pause(sql::Connection& connection, std::string_view subscription,
           const PauseDecision& decision) {
  return change(connection, "pause", sql::Query::pause_subscription, subscription, decision);
}

bool resume(sql::Connection& connection, std::string_view subscription,
            const PauseDecision& decision) {
  return change(connection, "resume", sql::Query::resume_subscription, subscription, decision);
}

}  // namespace outseal::store
