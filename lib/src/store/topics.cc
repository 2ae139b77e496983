#include "store/topics.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/text.h"
#include "outseal/error.h"
#include "sql/retention.h"

namespace outseal::store {
namespace {

constexpr std::chrono::milliseconds kWait{5'000};

void require_given_up(sql::Connection& connection, const std::string& pattern) {
  const std::vector<std::string> given_up = given_up_topics(connection);
  if (std::find(given_up.begin(), given_up.end(), pattern) != given_up.end()) return;
  std::string known;
  for (const std::string& each : given_up) known += (known.empty() ? "" : ", ") + each;
  throw Error{ErrorCode::invalid_argument,
              "discard",
              "topics '" + pattern + "' are not given up",
              {.hint = known.empty() ? "no topics are" : "take back one of these: " + known}};
}

}  // namespace

std::vector<std::string> given_up_topics(sql::Connection& connection) {
  std::vector<std::string> given_up;
  for (sql::TopicAct& act : sql::list_topic_acts(connection)) {
    std::erase(given_up, act.pattern);
    if (act.give_up) given_up.push_back(std::move(act.pattern));
  }
  return given_up;
}

void decide_topic(sql::Connection& connection, const TopicDecision& decision) {
  check_act("discard", decision.act);
  std::string detail = "{\"reason\":";
  append_json_string(detail, decision.act.reason);
  const std::string_view act = sql::name_of_topic_act(decision.give_up);
  sql::transact(connection, kWait, [&] {
    if (!decision.give_up) require_given_up(connection, decision.pattern);
    append_audit(connection, {decision.act.actor, act, decision.pattern, detail + "}"});
  });
}

}  // namespace outseal::store
