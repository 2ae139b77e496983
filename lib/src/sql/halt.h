// Why a relay stopped working on a subscription: the last error, until one works on it again.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sql/connection.h"

namespace outseal::sql {

/// The last halt of a subscription, which may not even exist yet.
struct Halt {
  std::string subscription;
  std::int64_t at_ms = 0;
  std::string error;  ///< name_of() the code.
  std::string message;
  std::string hint;
};

/// Inside the caller's transaction: replaces the last one of halt.subscription.
void record_halt(Connection& connection, const Halt& halt);
void clear_halt(Connection& connection, std::string_view subscription);
/// All of them, by name.
std::vector<Halt> list_halts(Connection& connection);

}  // namespace outseal::sql
