// Retention: removes what is published, acknowledged and old; nothing else, and a little at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

#include "outseal/ids.h"
#include "sql/connection.h"

namespace outseal::store {

struct RetentionOptions {
  /// Events older than this go once every subscription has acknowledged them. 0 keeps them for
  /// ever. They are what a lost sink is rebuilt from.
  std::chrono::milliseconds events = std::chrono::hours{24 * 7};
  /// Journal rows acknowledged longer ago than this go. 0 keeps them for ever. They are what the
  /// reconciler compares the sink with.
  std::chrono::milliseconds journal = std::chrono::hours{24 * 90};
  /// Rows per transaction: larger steps hold the write lock longer.
  std::uint32_t step_rows = 500;
};

/// How far retention has come. Keep one per process.
struct RetentionProgress {
  /// Where the next step begins to look: what it has removed below is not passed again, which on
  /// PostgreSQL would mean to pass every dead row until a vacuum.
  Seq after;
};

/// Removes at most `step_rows` events and as many journal rows of `subscription`. Never an event
/// that is unpublished, in flight or parked.
/// @returns how many rows went; less than `step_rows` means that nothing is left to do now.
/// @throws Error{conflict} if the database stayed busy.
/// Crash: one transaction; it happened or it did not.
std::uint64_t retain_step(sql::Connection& connection, std::string_view subscription,
                          const RetentionOptions& options, RetentionProgress* progress = nullptr);

}  // namespace outseal::store
