#include "sql/refusal.h"

#include <string_view>

#include "sql/postgres/fragments.h"

namespace outseal::sql {
namespace {

constexpr std::string_view kDropped = OUTSEAL_DROPPED;

bool says(const Error& error, std::string_view words) {
  return error.message().find(words) != std::string::npos;
}

}  // namespace

Refusal refusal_of(const Error& error) {
  if (says(error, kDropped)) return Refusal::dropped;
  if (says(error, OUTSEAL_OVERTAKEN)) return Refusal::overtaken;
  return says(error, OUTSEAL_ANOTHER_TRANSACTION) ? Refusal::another_transaction : Refusal::none;
}

std::string dropped_table(const Error& error) {
  const std::string& message = error.message();
  const auto begin = message.find(kDropped) + kDropped.size();
  return message.substr(begin, message.find(' ', begin) - begin);
}

}  // namespace outseal::sql
