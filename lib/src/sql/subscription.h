// Subscriptions, one row each: what it is, where it stands, who leads it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/subscription.h"
#include "sql/connection.h"

namespace outseal::sql {

/// Topic patterns out of their column.
std::vector<std::string> topics_from_json(std::string_view json);
std::string topics_as_json(const std::vector<std::string>& topics);

/// Inside the caller's transaction: makes the subscription `spec`, if there is none of its name. It
/// begins behind all that is committed now, or with the oldest event. `source` is the database that
/// its cursor means something in; empty if it means the same everywhere.
/// @returns whether it was made.
bool insert_subscription(Connection& connection, const SubscriptionSpec& spec,
                         const SourceIdentity& source, std::int64_t now_ms);
/// Inside the caller's transaction: topics, sink and event source become those of `spec`, as long
/// as no position and no cursor rests on what they were.
void redeclare_subscription(Connection& connection, const SubscriptionSpec& spec,
                            std::int64_t now_ms);
/// Inside the caller's transaction: its sink is at `address`, and what it is; "" if it cannot tell.
void set_sink(Connection& connection, std::string_view subscription, std::string_view address,
              std::string_view identity);

/// The subscription as it was declared; nothing if there is none.
std::optional<SubscriptionSpec> find_subscription(Connection& connection, std::string_view name);
/// All names, in order (PostgreSQL).
std::vector<std::string> list_subscriptions(Connection& connection);

/// What is on record of a subscription's start.
struct StartNote {
  std::optional<std::string> detail;  ///< Of the last act of that name about it.
  std::string
      system;  ///< The cluster that its cursor is of; empty if it means the same everywhere.
};
/// Nothing if there is no such subscription.
std::optional<StartNote> find_start(Connection& connection, std::string_view act,
                                    std::string_view subscription);

/// A subscription's row.
struct SubscriptionRow {
  std::vector<std::string> topics;
  Cursor cursor;
  Position bound;
  Tail acked;
  Epoch epoch;
  std::uint64_t version = 0;
  std::optional<std::string> lease_owner;
  std::int64_t lease_until_ms = 0;
  std::optional<SourceIdentity> source;
  bool paused = false;
};
/// Nothing if there is no such subscription. PostgreSQL: locks it up to the end of the transaction,
/// so that two relays take turns, and a relay and an operator.
std::optional<SubscriptionRow> read_subscription(Connection& connection, std::string_view name);

/// Locks the row, so that nothing that its relay writes comes between.
/// @returns whether there is such a subscription.
bool lock_subscription(Connection& connection, std::string_view name);

// Inside the caller's transaction:

/// Nobody leads any more: the next thing that its leader writes is refused, and so is what comes
/// late from any relay before it.
void fence_subscription(Connection& connection, std::string_view name);
/// Pauses one that runs, and fences it. @returns whether it did run.
bool pause_subscription(Connection& connection, std::string_view name, std::int64_t now_ms);
/// @returns whether it was paused.
bool resume_subscription(Connection& connection, std::string_view name, std::int64_t now_ms);

/// Removes the row, which nothing else may hang on any more.
void delete_subscription(Connection& connection, std::string_view name);
/// Removes its journal; what was parked for it.
void delete_journal_of(Connection& connection, std::string_view subscription);
void delete_parked_of(Connection& connection, std::string_view subscription);

}  // namespace outseal::sql
