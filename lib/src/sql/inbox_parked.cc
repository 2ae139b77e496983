// What an operator sees and decides of the events that were set aside; see sql/inbox_attempt.h.
#include "sql/inbox_attempt.h"
#include "sql/postgres/fragments.h"
#include "sql/sqlite/fragments.h"
#include "sql/typed.h"

namespace outseal::sql {

// stream, after event id, rows at most
const Text kListParkedInbox{
    .name = "list_parked_inbox",
    .sqlite =
        "SELECT event_id, coalesce(position, 0), key, state, cause = 'behind', attempts, reason,"
        " changed_at FROM main.outseal_inbox_attempt WHERE stream = ?1 AND event_id > ?2"
        " AND state <> 'trying' ORDER BY event_id LIMIT ?3",
    .postgres =
        "SELECT event_id, coalesce(position, 0), key, state, (cause = 'behind')::int, attempts,"
        " reason, (extract(epoch FROM changed_at) * 1000)::bigint FROM outseal.inbox_attempt"
        " WHERE stream = $1 AND event_id > $2 AND state <> 'trying' ORDER BY event_id LIMIT $3"};

std::vector<outseal::ParkedEvent> list_parked_inbox(Connection& connection, std::string_view stream,
                                                    const EventId& after, std::int64_t rows_max) {
  const auto read = [](Columns& columns) {
    outseal::ParkedEvent event;
    std::string state;
    std::int64_t since_ms = 0;
    columns >> event.id >> event.position >> event.key >> state >> event.behind >> event.attempts >>
        event.reason >> since_ms;
    event.state = state == name_of(ParkedState::parked)   ? ParkedState::parked
                  : state == name_of(ParkedState::queued) ? ParkedState::queued
                                                          : ParkedState::discarded;
    event.since =
        std::chrono::sys_time<std::chrono::milliseconds>{std::chrono::milliseconds{since_ms}};
    return event;
  };
  return list_rows(connection, kListParkedInbox, read, stream, after.to_string(), rows_max);
}

// stream, key, before position
const Text kFindParkedBefore{
    .name = "find_parked_before",
    .sqlite =
        "SELECT event_id FROM main.outseal_inbox_attempt WHERE stream = ?1 AND key = ?2"
        " AND key <> '' AND position < ?3 AND state IN ('parked', 'queued') AND state = 'parked'"
        " AND cause = 'failed' ORDER BY position LIMIT 1",
    .postgres =
        "SELECT event_id FROM outseal.inbox_attempt WHERE stream = $1 AND key = $2"
        " AND key <> '' AND position < $3 AND state IN ('parked', 'queued') AND state = 'parked'"
        " AND cause = 'failed' ORDER BY position LIMIT 1"};

std::optional<EventId> find_parked_before(Connection& connection, std::string_view stream,
                                          std::string_view key, Position before) {
  return find_row(connection, kFindParkedBefore, column<EventId>, stream, key, before);
}

// stream, event id
const Text kQueueParked{.name = "queue_parked",
                        .sqlite =
                            "UPDATE main.outseal_inbox_attempt SET state = 'queued', attempts = 0,"
                            " changed_at = " OUTSEAL_LITE_NOW
                            " WHERE stream = ?1 AND event_id = ?2 AND state = 'parked'",
                        .postgres =
                            "UPDATE outseal.inbox_attempt SET state = 'queued', attempts = 0,"
                            " changed_at = clock_timestamp()"
                            " WHERE stream = $1 AND event_id = $2 AND state = 'parked'"};

std::int64_t queue_parked(Connection& connection, std::string_view stream, const EventId& event) {
  return run(connection, kQueueParked, stream, event.to_string());
}

// stream, key, position
const Text kQueueBehind{
    .name = "queue_behind",
    .sqlite =
        "UPDATE main.outseal_inbox_attempt SET state = 'queued', attempts = 0,"
        " changed_at = " OUTSEAL_LITE_NOW
        " WHERE stream = ?1 AND key = ?2 AND key <> '' AND position > ?3 AND state = 'parked'"
        " AND cause = 'behind' AND position < coalesce((SELECT min(f.position)"
        "  FROM main.outseal_inbox_attempt f WHERE f.stream = ?1 AND f.key = ?2"
        "  AND f.position > ?3 AND f.state IN ('parked', 'queued') AND f.state = 'parked'"
        "  AND f.cause = 'failed'), 9223372036854775807)",
    .postgres =
        "UPDATE outseal.inbox_attempt SET state = 'queued', attempts = 0,"
        " changed_at = clock_timestamp()"
        " WHERE stream = $1 AND key = $2 AND key <> '' AND position > $3 AND state = 'parked'"
        " AND cause = 'behind' AND position < coalesce((SELECT min(f.position)"
        "  FROM outseal.inbox_attempt f WHERE f.stream = $1 AND f.key = $2"
        "  AND f.position > $3 AND f.state IN ('parked', 'queued') AND f.state = 'parked'"
        "  AND f.cause = 'failed'), 9223372036854775807)"};

std::int64_t queue_behind(Connection& connection, std::string_view stream, std::string_view key,
                          Position position) {
  return run(connection, kQueueBehind, stream, key, position);
}

// stream
const Text kQueueAllParked{
    .name = "queue_all_parked",
    .sqlite =
        "UPDATE main.outseal_inbox_attempt SET state = 'queued', attempts = 0,"
        " changed_at = " OUTSEAL_LITE_NOW " WHERE stream = ?1 AND state = 'parked'",
    .postgres =
        "UPDATE outseal.inbox_attempt SET state = 'queued', attempts = 0,"
        " changed_at = clock_timestamp() WHERE stream = $1 AND state = 'parked'"};

std::int64_t queue_all_parked(Connection& connection, std::string_view stream) {
  return run(connection, kQueueAllParked, stream);
}

// stream, event id, reason
const Text kDiscardParked{
    .name = "discard_parked",
    .sqlite =
        "UPDATE main.outseal_inbox_attempt SET state = 'discarded', attempt_id = '', reason = ?3,"
        " changed_at = " OUTSEAL_LITE_NOW
        " WHERE stream = ?1 AND event_id = ?2 AND state IN ('parked', 'queued')",
    .postgres =
        "UPDATE outseal.inbox_attempt SET state = 'discarded', attempt_id = NULL, reason = $3,"
        " changed_at = clock_timestamp()"
        " WHERE stream = $1 AND event_id = $2 AND state IN ('parked', 'queued')"};

std::int64_t discard_parked(Connection& connection, std::string_view stream, const EventId& event,
                            std::string_view reason) {
  return run(connection, kDiscardParked, stream, event.to_string(), reason);
}

}  // namespace outseal::sql
