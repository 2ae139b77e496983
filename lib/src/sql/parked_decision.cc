#include "sql/parked_decision.h"

#include "sql/typed.h"

namespace outseal::sql {

// subscription, state or NULL, key or NULL
const Text kListParked{
    .name = "list_parked",
    .sqlite =
        "SELECT event_id, topic, key, cause, state, reason, attempts, position, parked_at,"
        " decided_by, decision FROM outseal_parked WHERE subscription = ?1"
        " AND (?2 IS NULL OR state = ?2) AND (?3 IS NULL OR key = ?3) ORDER BY seq",
    .postgres =
        "SELECT event_id, topic, key, cause, state, reason, attempts, position, parked_at,"
        " decided_by, decision FROM outseal.parked WHERE subscription = $1"
        " AND ($2::text IS NULL OR state = $2) AND ($3::text IS NULL OR key = $3)"
        " ORDER BY seq"};

void list_parked(Connection& connection, const ParkedFilter& filter,
                 const std::function<void(const ParkedEvent&)>& show) {
  Bound rows{connection, kListParked, filter.subscription, filter.state, filter.key};
  while (rows.step()) {
    ParkedEvent event;
    rows.columns() >> event.event_id >> event.topic >> event.key >> event.cause >> event.state >>
        event.reason >> event.attempts >> event.position >> event.parked_at_ms >>
        event.decided_by >> event.decision;
    show(event);
  }
}

// subscription, event id
const Text kFindParked{.name = "find_parked",
                       .sqlite =
                           "SELECT seq, key, state FROM outseal_parked WHERE subscription = ?1"
                           " AND event_id = ?2",
                       .postgres =
                           "SELECT seq, key, state FROM outseal.parked WHERE subscription = $1"
                           " AND event_id = $2"};

std::optional<ParkedPlace> find_parked(Connection& connection, std::string_view subscription,
                                       EventId event) {
  const auto read = [](Columns& columns) {
    ParkedPlace place;
    columns >> place.seq >> place.key >> place.state;
    return place;
  };
  return find_row(connection, kFindParked, read, subscription, event.to_string());
}

// subscription, key, seq
const Text kFindParkedBefore{
    .name = "find_parked_before",
    .sqlite =
        "SELECT event_id FROM outseal_parked WHERE subscription = ?1 AND key = ?2"
        " AND seq < ?3 AND state = 'parked' ORDER BY seq LIMIT 1",
    .postgres =
        "SELECT event_id FROM outseal.parked WHERE subscription = $1 AND key = $2"
        " AND seq < $3 AND state = 'parked' ORDER BY seq LIMIT 1"};

std::optional<EventId> find_parked_before(Connection& connection, std::string_view subscription,
                                          std::string_view key, Seq seq) {
  return find_row(connection, kFindParkedBefore, column<EventId>, subscription, key, seq);
}

// name, event id
const Text kFindInOutbox{
    .name = "find_in_outbox",
    .sqlite =
        "SELECT o.seq, o.topic, o.seq <= s.after_seq"
        " FROM outseal_outbox o, outseal_subscription s"
        " WHERE s.name = ?1 AND o.event_id = ?2",
    .postgres =
        "SELECT o.seq, o.topic, pg_visible_in_snapshot(o.tx, s.snap_from) OR (s.snap_to IS "
        "NOT NULL"
        "  AND pg_visible_in_snapshot(o.tx, s.snap_to) AND o.seq <= s.after_seq)"
        " FROM outseal.outbox o, outseal.subscription s"
        " WHERE s.name = $1 AND o.event_id = $2"};

std::optional<OutboxPlace> find_in_outbox(Connection& connection, std::string_view subscription,
                                          EventId event) {
  const auto read = [](Columns& columns) {
    OutboxPlace place;
    columns >> place.seq >> place.topic >> place.passed;
    return place;
  };
  return find_row(connection, kFindInOutbox, read, subscription, event.to_string());
}

namespace {

// An operator decides about parked events of a subscription; more conditions may follow.
#define OUTSEAL_LITE_DECIDED(state)           \
  "UPDATE outseal_parked SET state = '" state \
  "', decided_at = ?2, decided_by = ?3,"      \
  " decision = ?4 WHERE subscription = ?1"
#define OUTSEAL_DECIDED(state)                       \
  "UPDATE outseal.parked SET state = '" state        \
  "', decided_at = to_timestamp($2::float8 / 1000)," \
  " decided_by = $3, decision = $4 WHERE subscription = $1"

/// Runs one of the following, which all begin with subscription, now, actor and decision.
template <typename... Values>
std::uint64_t decide(Connection& connection, const Text& text, const Decision& decision,
                     const Values&... values) {
  return static_cast<std::uint64_t>(run(connection, text, decision.subscription, decision.now_ms,
                                        decision.actor, decision.text, values...));
}

}  // namespace

// subscription, now, actor, decision, seq
const Text kQueueOne{.name = "queue_one",
                     .sqlite = OUTSEAL_LITE_DECIDED("queued") " AND seq = ?5 AND state = 'parked'",
                     .postgres = OUTSEAL_DECIDED("queued") " AND seq = $5 AND state = 'parked'"};

std::uint64_t queue_one(Connection& connection, const Decision& decision, Seq seq) {
  return decide(connection, kQueueOne, decision, seq);
}

// subscription, now, actor, decision, key, seq
const Text kQueueBehind{
    .name = "queue_behind",
    .sqlite =
        OUTSEAL_LITE_DECIDED("queued")
        " AND key = ?5 AND key <> '' AND seq > ?6"
        " AND state = 'parked' AND cause = 'behind' AND seq < coalesce((SELECT min(r.seq)"
        "  FROM outseal_parked r WHERE r.subscription = ?1 AND r.key = ?5 AND r.seq > ?6"
        "  AND r.state = 'parked' AND r.cause = 'refused'), 9223372036854775807)",
    .postgres =
        OUTSEAL_DECIDED("queued")
        " AND key = $5 AND key <> '' AND seq > $6"
        " AND state = 'parked' AND cause = 'behind' AND seq < coalesce((SELECT min(r.seq)"
        "  FROM outseal.parked r WHERE r.subscription = $1 AND r.key = $5 AND r.seq > $6"
        "  AND r.state = 'parked' AND r.cause = 'refused'), 9223372036854775807)"};

std::uint64_t queue_behind(Connection& connection, const Decision& decision, std::string_view key,
                           Seq seq) {
  return decide(connection, kQueueBehind, decision, key, seq);
}

// subscription, now, actor, decision, key or NULL
const Text kQueueAll{
    .name = "queue_all",
    .sqlite =
        OUTSEAL_LITE_DECIDED("queued")
        " AND state = 'parked'"
        " AND (?5 IS NULL OR key = ?5)",
    .postgres =
        OUTSEAL_DECIDED("queued")
        " AND state = 'parked' AND ($5::text IS NULL OR key = $5)"};

std::uint64_t queue_all(Connection& connection, const Decision& decision,
                        const std::optional<std::string>& key) {
  return decide(connection, kQueueAll, decision, key);
}

// subscription, now, actor, decision, seq
const Text kDiscardOne{
    .name = "discard_one",
    .sqlite = OUTSEAL_LITE_DECIDED("discarded") " AND seq = ?5 AND state = 'parked'",
    .postgres = OUTSEAL_DECIDED("discarded") " AND seq = $5 AND state = 'parked'"};

std::uint64_t discard_one(Connection& connection, const Decision& decision, Seq seq) {
  return decide(connection, kDiscardOne, decision, seq);
}

// subscription, now, actor, decision, key or NULL
const Text kDiscardRefused{
    .name = "discard_refused",
    .sqlite =
        OUTSEAL_LITE_DECIDED("discarded")
        " AND state = 'parked' AND cause = 'refused'"
        " AND (?5 IS NULL OR key = ?5)",
    .postgres =
        OUTSEAL_DECIDED("discarded")
        " AND state = 'parked' AND cause = 'refused'"
        " AND ($5::text IS NULL OR key = $5)"};

std::uint64_t discard_refused(Connection& connection, const Decision& decision,
                              const std::optional<std::string>& key) {
  return decide(connection, kDiscardRefused, decision, key);
}

}  // namespace outseal::sql
