// Topics that no subscription takes: their events stay, until an operator gives them up.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "sql/connection.h"
#include "store/audit.h"

namespace outseal::store {

/// What an operator said of topics.
struct TopicDecision {
  std::string pattern;  ///< `*` stands for any characters.
  bool give_up = true;  ///< False: takes back what was said of this pattern before.
  Act act;
};

/// Lets retention remove events, present and future ones, that match `pattern` and that no
/// subscription takes. Those that one takes are not touched. Recorded in the audit trail, which is
/// also where retention looks it up.
/// @throws Error{invalid_argument} if actor or reason are not UTF-8, or to take back a pattern that
///         is not given up, naming those that are.
/// Crash: one transaction; it happened or it did not.
void decide_topic(sql::Connection& connection, const TopicDecision& decision);

/// The patterns that are given up now.
std::vector<std::string> given_up_topics(sql::Connection& connection);

}  // namespace outseal::store
