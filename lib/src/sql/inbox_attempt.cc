#include "sql/inbox_attempt.h"

#include <algorithm>

#include "outseal/error.h"
#include "sql/postgres/fragments.h"
#include "sql/sqlite/fragments.h"
#include "sql/typed.h"

namespace outseal::sql {
namespace {

using std::chrono::milliseconds;

// That an attempt has begun has to outlive the process, not the database: no commit waits for the
// disk because of it.
#define OUTSEAL_NOTE_ONLY "set_config('synchronous_commit', 'off', true)"

constexpr ParkedState kStates[] = {ParkedState::trying, ParkedState::parked, ParkedState::queued,
                                   ParkedState::discarded};

ParkedState read_state(Columns& columns) {
  const auto name = columns.get<std::string_view>();
  const auto* const state = std::find_if(std::begin(kStates), std::end(kStates),
                                         [&](ParkedState each) { return name_of(each) == name; });
  if (state == std::end(kStates))
    throw Error{ErrorCode::schema_mismatch,
                "inbox",
                "an attempt has an unknown state",
                {.hint = "run outseal-migrate status"}};
  return *state;
}

AttemptedEvent read_attempted(Columns& columns) {
  AttemptedEvent event;
  columns >> event.id >> event.position >> event.key;
  return event;
}

}  // namespace

// stream, event id, how long is recent (ms)
const Text kLockAttempt{
    .name = "lock_attempt",
    .sqlite =
        "SELECT state, cause = 'behind', event_id, position, key, attempts, attempt_id, reason,"
        " changed_at > " OUTSEAL_LITE_NOW
        " - ?3 FROM main.outseal_inbox_attempt WHERE stream = ?1 AND event_id = ?2",
    .postgres =
        "SELECT state, (cause = 'behind')::int, event_id, position, key, attempts, attempt_id,"
        " reason, (changed_at > clock_timestamp() - make_interval(secs => $3::float8 / 1000))::int"
        " FROM outseal.inbox_attempt WHERE stream = $1 AND event_id = $2 FOR UPDATE"};

std::optional<AttemptRow> lock_attempt(Connection& connection, std::string_view stream,
                                       const EventId& event, milliseconds recent) {
  const auto read = [](Columns& columns) {
    AttemptRow row;
    row.state = read_state(columns);
    columns >> row.behind;
    row.event = read_attempted(columns);
    columns >> row.attempts >> row.attempt >> row.reason >> row.is_recent;
    return row;
  };
  return find_row(connection, kLockAttempt, read, stream, event.to_string(), recent.count());
}

// stream, event id, position or NULL, key, attempt
const Text kInsertAttempt{
    .name = "insert_attempt",
    .sqlite =
        "INSERT INTO main.outseal_inbox_attempt (stream, event_id, position, key, state, attempts,"
        " attempt_id, changed_at) VALUES (?1, ?2, ?3, ?4, 'trying', 1, ?5, " OUTSEAL_LITE_NOW
        ") ON CONFLICT DO NOTHING",
    .postgres =
        "INSERT INTO outseal.inbox_attempt (stream, event_id, position, key, state, attempts,"
        " attempt_id, changed_at) VALUES ($1, $2, $3, $4, 'trying', 1, $5, clock_timestamp())"
        " ON CONFLICT DO NOTHING",
    .setting = {OUTSEAL_NOTE_ONLY, true}};

bool insert_attempt(Connection& connection, std::string_view stream, const AttemptedEvent& event,
                    const EventId& attempt) {
  return run(connection, kInsertAttempt, stream, event.id.to_string(), event.position, event.key,
             attempt.to_string()) == 1;
}

// stream, event id, number, attempt
const Text kRenewAttempt{.name = "renew_attempt",
                         .sqlite =
                             "UPDATE main.outseal_inbox_attempt SET attempts = ?3, attempt_id = ?4,"
                             " changed_at = " OUTSEAL_LITE_NOW
                             " WHERE stream = ?1 AND event_id = ?2",
                         .postgres =
                             "UPDATE outseal.inbox_attempt SET attempts = $3, attempt_id = $4,"
                             " changed_at = clock_timestamp() WHERE stream = $1 AND event_id = $2",
                         .setting = {OUTSEAL_NOTE_ONLY, true}};

void renew_attempt(Connection& connection, std::string_view stream, const EventId& event,
                   std::uint32_t number, const EventId& attempt) {
  run(connection, kRenewAttempt, stream, event.to_string(), number, attempt.to_string());
}

// stream, event id, attempt, reason
const Text kFailAttempt{
    .name = "fail_attempt",
    .sqlite =
        "UPDATE main.outseal_inbox_attempt SET attempt_id = '', reason = ?4,"
        " changed_at = " OUTSEAL_LITE_NOW
        " WHERE stream = ?1 AND event_id = ?2 AND attempt_id = ?3",
    .postgres =
        "UPDATE outseal.inbox_attempt SET attempt_id = NULL, reason = $4,"
        " changed_at = clock_timestamp() WHERE stream = $1 AND event_id = $2 AND attempt_id = $3"};

void fail_attempt(Connection& connection, std::string_view stream, const EventId& event,
                  const EventId& attempt, std::string_view reason) {
  run(connection, kFailAttempt, stream, event.to_string(), attempt.to_string(), reason);
}

// stream, event id
const Text kFinishAttempt{
    .name = "finish_attempt",
    .sqlite =
        "DELETE FROM main.outseal_inbox_attempt WHERE stream = ?1 AND event_id = ?2"
        " AND state IN ('trying', 'queued', 'discarded')",
    .postgres = "SELECT FROM outseal.finish_attempt($1, $2)"};

bool finish_attempt(Connection& connection, std::string_view stream, const EventId& event) {
  return run(connection, kFinishAttempt, stream, event.to_string()) == 1;
}

// stream, event id, reason
const Text kParkAttempt{
    .name = "park_attempt",
    .sqlite =
        "UPDATE main.outseal_inbox_attempt SET state = 'parked', cause = 'failed',"
        " attempt_id = '', reason = ?3, changed_at = " OUTSEAL_LITE_NOW
        " WHERE stream = ?1 AND event_id = ?2 AND state IN ('trying', 'queued')",
    .postgres =
        "UPDATE outseal.inbox_attempt SET state = 'parked', cause = 'failed',"
        " attempt_id = NULL, reason = $3, changed_at = clock_timestamp()"
        " WHERE stream = $1 AND event_id = $2 AND state IN ('trying', 'queued')"};

// stream, event id
const Text kParkQueuedBehind{
    .name = "park_queued_behind",
    .sqlite =
        "UPDATE main.outseal_inbox_attempt SET state = 'parked', cause = 'behind'"
        " WHERE stream = ?1 AND key <> '' AND state = 'queued' AND (key, stream) IN"
        " (SELECT key, stream FROM main.outseal_inbox_attempt WHERE stream = ?1 AND event_id = ?2)",
    .postgres =
        "UPDATE outseal.inbox_attempt a SET state = 'parked', cause = 'behind'"
        " FROM outseal.inbox_attempt f WHERE f.stream = $1 AND f.event_id = $2"
        " AND a.stream = $1 AND a.key = f.key AND a.key <> '' AND a.state = 'queued'"};

bool park_attempt(Connection& connection, std::string_view stream, const EventId& event,
                  std::string_view reason) {
  if (run(connection, kParkAttempt, stream, event.to_string(), reason) != 1) return false;
  run(connection, kParkQueuedBehind, stream, event.to_string());
  return true;
}

// stream, position. An attempt at it may have begun before its key was blocked.
const Text kParkBehind{
    .name = "park_behind",
    .sqlite =
        "INSERT INTO main.outseal_inbox_attempt (stream, event_id, position, key, state, cause,"
        " changed_at) SELECT e.stream, e.event_id, e.position, e.key, CASE WHEN EXISTS (SELECT 1"
        "  FROM main.outseal_inbox_attempt a WHERE a.stream = ?1 AND a.key = e.key"
        "  AND a.state IN ('parked', 'queued') AND a.state = 'parked')"
        " THEN 'parked' ELSE 'queued' END, 'behind', " OUTSEAL_LITE_NOW
        " FROM main.outseal_inbox_event e WHERE e.stream = ?1 AND e.position = ?2"
        " ON CONFLICT (stream, event_id) DO UPDATE SET state = excluded.state, cause = 'behind',"
        " attempt_id = '', changed_at = excluded.changed_at",
    .postgres =
        "INSERT INTO outseal.inbox_attempt (stream, event_id, position, key, state, cause,"
        " changed_at) SELECT e.stream, e.event_id, e.position, e.key, CASE WHEN EXISTS (SELECT 1"
        "  FROM outseal.inbox_attempt a WHERE a.stream = $1 AND a.key = e.key"
        "  AND a.state IN ('parked', 'queued') AND a.state = 'parked')"
        " THEN 'parked' ELSE 'queued' END, 'behind', clock_timestamp()"
        " FROM outseal.inbox_event e WHERE e.stream = $1 AND e.position = $2"
        " ON CONFLICT (stream, event_id) DO UPDATE SET state = excluded.state, cause = 'behind',"
        " attempt_id = NULL, changed_at = excluded.changed_at"};

bool park_behind(Connection& connection, std::string_view stream, Position position) {
  return run(connection, kParkBehind, stream, position) == 1;
}

// stream, key
const Text kIsInboxKeyBlocked{
    .name = "is_inbox_key_blocked",
    .sqlite =
        "SELECT EXISTS (SELECT 1 FROM main.outseal_inbox_attempt WHERE stream = ?1 AND key = ?2"
        " AND state IN ('parked', 'queued'))",
    .postgres =
        "SELECT EXISTS (SELECT 1 FROM outseal.inbox_attempt WHERE stream = $1 AND key = $2"
        " AND state IN ('parked', 'queued'))"};

bool is_inbox_key_blocked(Connection& connection, std::string_view stream, std::string_view key) {
  return !key.empty() && get_value<bool>(connection, kIsInboxKeyBlocked, stream, key);
}

// stream. Events that were deleted are due as well: whoever takes them says so.
const Text kIsInboxDue{
    .name = "is_inbox_due",
    .sqlite =
        "SELECT EXISTS (SELECT 1 FROM main.outseal_inbox_tail t WHERE t.stream = ?1"
        "  AND t.position > coalesce((SELECT c.position FROM main.outseal_inbox_cursor c"
        "   WHERE c.stream = ?1), 0))"
        " OR EXISTS (SELECT 1 FROM main.outseal_inbox_event e WHERE e.stream = ?1"
        "  AND e.position > coalesce((SELECT c.position FROM main.outseal_inbox_cursor c"
        "   WHERE c.stream = ?1), 0))"
        " OR EXISTS (SELECT 1 FROM main.outseal_inbox_attempt a WHERE a.stream = ?1"
        "  AND a.position IS NOT NULL AND a.state IN ('parked', 'queued')"
        "  AND a.state = 'queued')",
    .postgres =
        "SELECT (EXISTS (SELECT 1 FROM outseal.inbox_tail t WHERE t.stream = $1"
        "  AND t.position > coalesce((SELECT c.position FROM outseal.inbox_cursor c"
        "   WHERE c.stream = $1), 0))"
        " OR EXISTS (SELECT 1 FROM outseal.inbox_event e WHERE e.stream = $1"
        "  AND e.position > coalesce((SELECT c.position FROM outseal.inbox_cursor c"
        "   WHERE c.stream = $1), 0))"
        " OR EXISTS (SELECT 1 FROM outseal.inbox_attempt a WHERE a.stream = $1"
        "  AND a.position IS NOT NULL AND a.state IN ('parked', 'queued')"
        "  AND a.state = 'queued'))::int"};

bool is_inbox_due(Connection& connection, std::string_view stream) {
  return get_value<bool>(connection, kIsInboxDue, stream);
}

// stream, after position, rows at most -> event id, position, key, last position
const Text kFindNextInbox{
    .name = "find_next_inbox",
    .sqlite =
        "SELECT event_id, position, key, (SELECT max(w.position) FROM (SELECT position"
        "  FROM main.outseal_inbox_event WHERE stream = ?1 AND position > ?2"
        "  ORDER BY position LIMIT ?3) w)"
        " FROM main.outseal_inbox_event WHERE stream = ?1 AND position > ?2"
        " ORDER BY position LIMIT 1",
    .postgres =
        "SELECT event_id, position, key, (SELECT max(w.position) FROM (SELECT position"
        "  FROM outseal.inbox_event WHERE stream = $1 AND position > $2"
        "  ORDER BY position LIMIT $3) w)"
        " FROM outseal.inbox_event WHERE stream = $1 AND position > $2"
        " ORDER BY position LIMIT 1"};

std::optional<NextInbox> find_next_inbox(Connection& connection, std::string_view stream,
                                         Position after, std::int64_t rows_max) {
  const auto read = [](Columns& columns) {
    NextInbox next{read_attempted(columns), {}};
    columns >> next.last;
    return next;
  };
  return find_row(connection, kFindNextInbox, read, stream, after, rows_max);
}

// stream
const Text kFindQueuedInbox{
    .name = "find_queued_inbox",
    .sqlite =
        "SELECT event_id, position, key FROM main.outseal_inbox_attempt WHERE stream = ?1"
        " AND position IS NOT NULL AND state IN ('parked', 'queued') AND state = 'queued'"
        " ORDER BY position LIMIT 1",
    .postgres =
        "SELECT event_id, position, key FROM outseal.inbox_attempt WHERE stream = $1"
        " AND position IS NOT NULL AND state IN ('parked', 'queued') AND state = 'queued'"
        " ORDER BY position LIMIT 1"};

std::optional<AttemptedEvent> find_queued_inbox(Connection& connection, std::string_view stream) {
  return find_row(connection, kFindQueuedInbox, read_attempted, stream);
}

// stream, position
const Text kNoteInboxBatch{
    .name = "note_inbox_batch",
    .sqlite = "UPDATE main.outseal_inbox_cursor SET tried_to = ?2 WHERE stream = ?1",
    .postgres = "UPDATE outseal.inbox_cursor SET tried_to = $2 WHERE stream = $1",
    .setting = {OUTSEAL_NOTE_ONLY, true}};

void note_inbox_batch(Connection& connection, std::string_view stream, Position last) {
  run(connection, kNoteInboxBatch, stream, last);
}

}  // namespace outseal::sql
