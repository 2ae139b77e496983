// The log as retention looks at it: what may go, and what shows that it was passed.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "outseal/ids.h"
#include "sql/connection.h"
#include "sql/window.h"

namespace outseal::sql {

// --- Events --------------------------------------------------------------------------------------

/// An event of the log, without its content.
struct LogRow {
  Seq seq;
  std::string topic;
  bool old = false;              ///< Long enough there for retention.
  bool open = false;             ///< Parked: an operator may want it, or its redrive is under way.
  bool behind = false;           ///< Every cursor is behind it.
  std::uint64_t tx = 0;          ///< PostgreSQL: the transaction that it names.
  std::uint64_t written_by = 0;  ///< PostgreSQL: what wrote the row, if that is not tx.
  std::int64_t created_at_ms = 0;
};
/// A page of the log, in its order.
struct LogPart {
  Seq after;
  std::int64_t rows_max = 0;
  std::int64_t old_before_ms = 0;  ///< Old are those that were created before.
};
std::vector<LogRow> list_log(Connection& connection, const LogPart& part);

/// When the event with the lowest number was made; nothing if there is none.
std::optional<std::int64_t> find_oldest_event_time(Connection& connection);

/// @returns how many went: a trigger of somebody's may keep some.
std::uint64_t delete_events(Connection& connection, std::span<const Seq> seqs);
/// How many of them are there.
std::uint64_t count_events(Connection& connection, std::span<const Seq> seqs);

/// SQLite.
std::optional<Seq> find_event_seq(Connection& connection, const EventId& id);

// --- What shows that they were passed ------------------------------------------------------------

/// A subscription, as far as that is about what it has passed.
struct CursorRow {
  std::string name;
  std::vector<std::string> topics;
  std::int64_t created_at_ms = 0;
  Position acked;
};
/// All of them, by name.
std::vector<CursorRow> list_cursors(Connection& connection);

/// Whether the very event that has the number `seq` was set aside once for `subscription`, or for
/// any if there is none.
bool is_decided(Connection& connection, std::optional<std::string_view> subscription, Seq seq);

struct TopicCount {
  std::string topic;
  std::uint64_t events = 0;
};
/// PostgreSQL: the events of a window after `after` and not behind `up_to` that were there at its
/// end and were not set aside for `subscription`.
std::vector<TopicCount> count_bound(Connection& connection, std::string_view subscription,
                                    const WindowSpan& window, Seq after, Seq up_to);

// --- What operators say and are told -------------------------------------------------------------

/// An operator's decision about topics that no subscription takes.
struct TopicAct {
  bool give_up = false;  ///< Else what was said of this pattern before is taken back.
  std::string pattern;
};
/// The act of the audit trail.
std::string_view name_of_topic_act(bool give_up);
/// All of them, in the order in which they were made.
std::vector<TopicAct> list_topic_acts(Connection& connection);

/// Shows `note` in the status of `subscription`; empty: all is well.
void note_retention(Connection& connection, std::string_view subscription, std::string_view note);

// Its plan is tested.
extern const Text kListLog;

}  // namespace outseal::sql
