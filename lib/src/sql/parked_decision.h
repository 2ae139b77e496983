// What operators see of parked events and decide about them.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "outseal/ids.h"
#include "sql/connection.h"

namespace outseal::sql {

/// One row of outseal_parked. Views are valid inside the callback that gets it.
struct ParkedEvent {
  std::string_view event_id;
  std::string_view topic;
  std::string_view key;
  std::string_view cause;  ///< "refused" or "behind".
  std::string_view state;  ///< "parked", "queued", "redriven" or "discarded".
  std::string_view reason;
  std::uint64_t attempts = 0;
  std::optional<Position> position;  ///< Where a redrive put it.
  std::int64_t parked_at_ms = 0;
  std::string_view decided_by;
  std::string_view decision;
};

/// Which parked events to show.
struct ParkedFilter {
  std::string subscription;
  std::optional<std::string> state = {};
  std::optional<std::string> key = {};
};

/// Shows the parked events that match, in the order of the log.
void list_parked(Connection& connection, const ParkedFilter& filter,
                 const std::function<void(const ParkedEvent&)>& show);

/// A parked event that a decision names.
struct ParkedPlace {
  Seq seq;
  std::string key;
  std::string state;  ///< As ParkedEvent::state.
};
std::optional<ParkedPlace> find_parked(Connection& connection, std::string_view subscription,
                                       EventId event);
/// The earliest event of `key` that is parked before `seq`.
std::optional<EventId> find_parked_before(Connection& connection, std::string_view subscription,
                                          std::string_view key, Seq seq);

/// An event of the outbox, as a subscription stands to it.
struct OutboxPlace {
  Seq seq;
  std::string topic;
  bool passed = false;  ///< The cursor is behind it.
};
std::optional<OutboxPlace> find_in_outbox(Connection& connection, std::string_view subscription,
                                          EventId event);

/// By whose word parked events change their state.
struct Decision {
  std::string_view subscription;
  std::int64_t now_ms = 0;
  std::string_view actor;
  std::string_view text;  ///< Kept with the events.
};

// Inside the caller's transaction. They change events that are parked, and return how many:

/// The relay is to publish the event `seq`.
std::uint64_t queue_one(Connection& connection, const Decision& decision, Seq seq);
/// And those of its key that stand behind it, up to the next one that the sink refused itself. The
/// empty key has no order, so nothing stands behind one of its events.
std::uint64_t queue_behind(Connection& connection, const Decision& decision, std::string_view key,
                           Seq seq);
/// All of them, or those of `key`.
std::uint64_t queue_all(Connection& connection, const Decision& decision,
                        const std::optional<std::string>& key);
/// The event `seq` is given up.
std::uint64_t discard_one(Connection& connection, const Decision& decision, Seq seq);
/// All that the sink refused itself, or those of `key`.
std::uint64_t discard_refused(Connection& connection, const Decision& decision,
                              const std::optional<std::string>& key);

}  // namespace outseal::sql
