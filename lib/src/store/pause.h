// Pausing a subscription: nobody leads it until it is resumed. Nothing of it is lost meanwhile.
#pragma once

#include <string_view>

#include "sql/connection.h"
#include "store/audit.h"

namespace outseal::store {

/// Pauses `subscription` and fences the relay that leads it, at once: no intent and no
/// acknowledgement of it is written any more. A batch that is on its way to the sink may still
/// arrive; whoever leads after resume() finds it there.
/// @returns false if it was paused already; then nothing is written.
/// @throws Error{invalid_argument} if there is no such subscription, or a text is not UTF-8.
/// Crash: it and its row of the audit trail are one transaction.
bool pause(sql::Connection& connection, std::string_view subscription, const Act& act);

/// Lets `subscription` be led again. As pause() in all other respects.
/// @returns false if it was not paused.
bool resume(sql::Connection& connection, std::string_view subscription, const Act& act);

}  // namespace outseal::store
