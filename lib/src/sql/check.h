// What the reconciler's checks read. Each call is one page of a walk: no read lasts long enough to
// hold back the write-ahead log's checkpoint, or vacuum.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "outseal/ids.h"
#include "sql/connection.h"

namespace outseal::sql {

// --- Subscriptions -------------------------------------------------------------------------------

/// A subscription as the checks need it.
struct CheckedSubscription {
  std::string name;
  std::string sink;
  std::string event_source;
  bool paused = false;
  Seq acked_seq;  ///< No event up to here waits for its acknowledgement.
};
/// All of them, by name.
std::vector<CheckedSubscription> list_checked_subscriptions(Connection& connection);
/// Its topic patterns, in the order in which they were given.
std::vector<std::string> list_topics(Connection& connection, std::string_view subscription);

// --- Operations and their effects ----------------------------------------------------------------

/// An effect that is unknown or disputed; without a name there is none.
struct UndecidedEffect {
  std::string name;
  std::string state;
  std::string provider;
  std::string provider_key;
  std::string external_ref;
};
/// An operation in progress without a live lease, or of which nobody knows how it ended.
struct OpenOperation {
  std::string key_hash;
  std::string scope;
  bool unknown = false;
  std::int64_t created_at_ms = 0;
  std::int64_t attempts = 0;
  std::string lease_owner;
  std::optional<std::int64_t> lease_until_ms;
  UndecidedEffect undecided;  ///< The first one, by name.
};
/// Which of them: `now_ms` tells whose lease has ended.
struct OpenSince {
  std::int64_t now_ms = 0;
  std::int64_t created_until_ms = 0;
};
/// The oldest ones.
std::vector<OpenOperation> list_open_operations(Connection& connection, const OpenSince& since,
                                                std::int64_t rows_max);
/// How many there are.
std::uint64_t count_open_operations(Connection& connection, const OpenSince& since);

/// What became of an operation at an external provider.
struct Effect {
  std::string provider;
  std::string provider_key;
  std::int64_t id = 0;
  bool confirmed = false;
  std::string external_ref;
};
/// At most `rows_max` effects behind `after`, by provider, key and id.
std::vector<Effect> list_effects(Connection& connection, const Effect& after,
                                 std::int64_t rows_max);

// --- Events that wait ----------------------------------------------------------------------------

/// The parked and queued events of one key.
struct ParkedKey {
  std::string key;
  std::uint64_t events = 0;
  std::uint64_t queued = 0;  ///< Of these.
  Seq oldest;
  std::int64_t parked_at_ms = 0;  ///< The first of them.
};
/// At most `keys_max` keys behind `after`, in their order; without it from the first one on.
std::vector<ParkedKey> list_parked_keys(Connection& connection, std::string_view subscription,
                                        std::optional<std::string_view> after,
                                        std::int64_t keys_max);

/// The last of at most `rows` events behind `after`; nothing if there is none.
std::optional<Seq> find_page_end(Connection& connection, Seq after, std::int64_t rows);

/// Events of one topic that are not acknowledged, without parked ones.
struct WaitingTopic {
  std::string topic;
  std::uint64_t events = 0;
  Seq lowest;
  std::int64_t oldest_ms = 0;  ///< When the first of them was created.
};
/// Which events count.
struct WaitingRange {
  Seq after;
  Seq to;
  std::int64_t created_until_ms = 0;
};
/// If there is no such subscription, all events wait.
std::vector<WaitingTopic> count_waiting(Connection& connection, std::string_view subscription,
                                        const WaitingRange& range);

// --- What batches are made of --------------------------------------------------------------------

/// One event of the outbox, without its payload.
struct LogEntry {
  Seq seq;
  EventId id;
  std::string key;
};

/// A part of the log that is read by seq: on PostgreSQL of one window.
struct Stretch {
  std::string_view snap_from;
  std::string_view snap_to;
  Seq after;
  Seq to;
};
/// An event in a stretch of the log.
struct StretchEvent {
  Seq seq;
  EventId id;
  std::string_view key;
  std::string_view topic;
  bool parked = false;  ///< Set aside for the subscription, whatever was decided about it.
};
/// Calls `take` for the first `rows_max` events of the stretch, by seq, until it returns false.
void read_stretch(Connection& connection, std::string_view subscription, const Stretch& stretch,
                  std::int64_t rows_max, const std::function<bool(const StretchEvent&)>& take);

/// The redriven events that were bound to the positions `first` to `last`, in their order.
std::vector<LogEntry> list_redriven(Connection& connection, std::string_view subscription,
                                    Position first, Position last);
/// The keys of all events that were ever redriven.
std::vector<std::string> list_redriven_keys(Connection& connection, std::string_view subscription);

// Their plans are tested.
extern const Text kListCheckedSubscriptions;
extern const Text kCountOpenOperations;
extern const Text kListOpenOperations;
extern const Text kReadStretch;

}  // namespace outseal::sql
