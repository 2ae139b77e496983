// Parked events, as a relay sets them aside and passes over them. What operators decide about them:
// sql/parked_decision.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "model/batch.h"
#include "sql/connection.h"

namespace outseal::sql {

/// Numbers of the events that were ever set aside, after `after` and not behind `up_to`, in order.
std::vector<Seq> excluded_seqs(Connection& connection, std::string_view subscription, Seq after,
                               Seq up_to);

/// What stands in parked. By operators' acts never more than at the last look.
struct ParkedState {
  bool open = false;  ///< Some event waits there.
  bool any = false;   ///< Some event was there once.
};
ParkedState look_at_parked(Connection& connection, std::string_view subscription);

/// Whether an event of `key` before `before` waits there.
bool is_key_blocked(Connection& connection, std::string_view subscription, std::string_view key,
                    Seq before);

// Inside the caller's transaction:

/// Sets an event aside that came from the log, or from those that were queued again. What stands
/// behind only queued events of its key is queued with them: else it would be left alone when they
/// are redriven.
/// @returns false if it is not there (any more).
bool park_event(Connection& connection, std::string_view subscription, BatchKind from,
                const ParkedEntry& entry, std::int64_t now_ms);
/// A queued event is bound to `position`. @returns false if it is not queued any more.
[[nodiscard]] bool redrive_event(Connection& connection, std::string_view subscription, Seq seq,
                                 Position position);
/// Events that were bound from `first` on are queued again; those that wait behind a parked one of
/// their key stay parked.
void undo_redrive(Connection& connection, std::string_view subscription, Position first);

/// Events that are queued, at most `rows_max` and not behind `up_to`, in order: none before a
/// parked event of its key. See event_row.h. `subscription` lives until the statement is reset.
Statement& read_queued(Connection& connection, std::string_view subscription, std::size_t rows_max,
                       Seq up_to);
/// Events that were bound to the positions from `first` to `last`, in their order. As read_queued.
Statement& read_redriven(Connection& connection, std::string_view subscription, Position first,
                         Position last);

// Their plans are tested.
extern const Text kExcludedSeqs;
extern const Text kLookAtParked;
extern const Text kIsKeyBlocked;
extern const Text kReadQueued;
extern const Text kReadRedriven;

}  // namespace outseal::sql
