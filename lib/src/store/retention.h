// Retention: removes what is published, acknowledged and old; nothing else, and a little at a time.
//
// Small deletes, not partitions that are dropped. Measured on PostgreSQL 15, 2 cores, fsync on, 2
// writers at full speed on a log of 1.5 million events: steps of 500, 2,000 and 5,000 rows with 20
// ms between them removed 19,000, 63,000 and 92,000 rows a second, and the writers' throughput and
// p99 stayed within the noise of those without retention. The vacuum afterwards took 0.3 to 1.5 s,
// its space was used again and the table did not grow. 450 bytes of write-ahead log a row, most of
// them full pages after a checkpoint. Dropping a partition costs next to no log, but it waits for
// every transaction that has written, and all writers wait behind it: 1,004 ms, the lock timeout,
// beside one long transaction, where deletes had 34 ms at most. Nor could partitions keep event ids
// unique.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/number_range.h"
#include "outseal/ids.h"
#include "sql/connection.h"

namespace outseal::store {

struct RetentionOptions {
  using Range = NumberRange<std::chrono::milliseconds>;
  static constexpr std::chrono::hours kDay{24};
  static constexpr std::chrono::milliseconds kNever{0};
  static constexpr std::chrono::milliseconds kAgeMax = 100 * 366 * kDay;
  static constexpr Range kEvents{7 * kDay, kNever, kAgeMax};
  static constexpr Range kJournal{90 * kDay, kNever, kAgeMax};
  static constexpr NumberRange<std::uint32_t> kStepRows{5'000, 1, 50'000};

  /// Events that are older than this go once every subscription has passed them. 0 keeps them for
  /// ever. They are what a lost sink is rebuilt from.
  std::chrono::milliseconds events = kEvents.fallback;
  /// Journal rows acknowledged longer ago than this go, but none that may be the evidence that an
  /// event in the outbox was bound, however long that one stays. 0 keeps them for ever. They are
  /// what the reconciler compares the sink with.
  std::chrono::milliseconds journal = kJournal.fallback;
  /// Rows per transaction, at most: larger steps hold the write lock longer.
  std::uint32_t step_rows = kStepRows.fallback;
};

/// How far retention has come in its pass over the log, from the oldest event to the first that is
/// too young or not passed yet. Keep one per process.
struct RetentionProgress {
  /// Where the next step begins to look: what it has removed below is not passed again, which on
  /// PostgreSQL would mean to pass every dead row until a vacuum.
  Seq after;
  bool ended = false;  ///< The pass is over: nothing is left to do now. The next step begins anew.
  Seq last_kept;       ///< The last event that it kept.

  // Of this pass: what it kept although it is old, and why.
  std::uint64_t untaken = 0;      ///< No subscription takes their topics.
  std::string untaken_topic;      ///< One of these topics.
  std::uint64_t unproven = 0;     ///< Nothing shows that they were read.
  std::uint64_t passed_over = 0;  ///< They were certainly never read.
  std::uint64_t refused = 0;      ///< The database kept them: a trigger of somebody's.

  std::uint64_t kept() const { return untaken + unproven + passed_over + refused; }
  /// What an operator should know of it; empty if all is well.
  std::string note() const;
};

/// Removes at most `step_rows` events and as many journal rows of `subscription`. Never an event
/// that is unpublished, in flight, parked, of a topic that nobody takes, or not shown to have been
/// passed (passage.h).
/// @returns how many rows went.
/// @throws Error{conflict} if the database stayed busy; what a trigger or a foreign key of
///         somebody's raises.
/// Crash: one transaction; it happened or it did not.
std::uint64_t retain_step(sql::Connection& connection, std::string_view subscription,
                          const RetentionOptions& options, RetentionProgress* progress = nullptr);

}  // namespace outseal::store
