// Why a relay stopped working on a subscription: the last error, until one works on it again.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "outseal/error.h"
#include "sql/connection.h"
#include "sql/halt.h"

namespace outseal::store {

/// Notes that `error` ended a relay's work on `subscription`.
/// Crash: one transaction.
void record_halt(sql::Connection& connection, std::string_view subscription, const Error& error);

/// A relay has compared database and sink, and leads: forgets the last halt. Writes nothing if
/// there is none.
void clear_halt(sql::Connection& connection, std::string_view subscription);

}  // namespace outseal::store
