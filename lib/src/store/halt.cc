#include "store/halt.h"

#include <algorithm>
#include <chrono>

#include "base/text.h"

namespace outseal::store {
namespace {

/// Short: a relay that halts has nothing better to do, but must end.
constexpr std::chrono::milliseconds kWait{1'000};
/// Of each text. Much of what a sink says came over a network.
constexpr std::size_t kTextBytesMax = 2'000;

}  // namespace

void record_halt(sql::Connection& connection, std::string_view subscription, const Error& error) {
  sql::transact(connection, kWait, [&] {
    sql::record_halt(connection, {.subscription = std::string{subscription},
                                  .at_ms = connection.now_ms(),
                                  .error = std::string{name_of(error.code())},
                                  .message = plain_text(error.what(), kTextBytesMax),
                                  .hint = plain_text(error.hint(), kTextBytesMax)});
  });
}

void clear_halt(sql::Connection& connection, std::string_view subscription) {
  const std::vector<sql::Halt> halts = sql::list_halts(connection);
  if (std::none_of(halts.begin(), halts.end(),
                   [&](const sql::Halt& halt) { return halt.subscription == subscription; }))
    return;
  sql::transact(connection, kWait, [&] { sql::clear_halt(connection, subscription); });
}

}  // namespace outseal::store
