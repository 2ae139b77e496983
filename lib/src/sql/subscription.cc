#include "sql/subscription.h"

#include <nlohmann/json.hpp>

#include "sql/typed.h"

namespace outseal::sql {

std::vector<std::string> topics_from_json(std::string_view json) {
  return nlohmann::json::parse(json).get<std::vector<std::string>>();
}

std::string topics_as_json(const std::vector<std::string>& topics) {
  return nlohmann::json(topics).dump();
}

// name, topics, sink, event source, now, 'now' or 'beginning', source system, source timeline, sink
// identity or ''.
const Text kInsertSubscription{
    .name = "insert_subscription",
    // All that is in the log was committed before: there is one writer, and it is us.
    .sqlite =
        "INSERT INTO outseal_subscription (name, topics, sink, event_source, created_at,"
        " updated_at, after_seq, acked_seq, source_system, source_timeline, sink_identity)"
        " SELECT ?1, ?2, ?3, ?4, ?5, ?5, h.seq, h.seq, ?7, ?8, nullif(?9, '') FROM (SELECT "
        "CASE ?6"
        " WHEN 'now' THEN coalesce((SELECT max(seq) FROM outseal_outbox), 0) ELSE 0 END AS seq"
        ") h WHERE true ON CONFLICT (name) DO NOTHING",
    // What is visible in the statement's own snapshot is passed, whatever commits later is not. Our
    // commit is durable before anything is read on from there, and with it all that was visible.
    .postgres =
        "INSERT INTO outseal.subscription (name, topics, sink, event_source, created_at,"
        " updated_at, snap_from, acked_snap, source_system, source_timeline, sink_identity)"
        " SELECT $1, $2, $3, $4, to_timestamp($5::float8 / 1000),"
        " to_timestamp($5::float8 / 1000), h.snap, h.snap, $7, $8, nullif($9, '') FROM "
        "(SELECT CASE $6::text WHEN 'now' THEN pg_current_snapshot()"
        " ELSE '3:3:'::pg_snapshot END AS snap) h ON CONFLICT (name) DO NOTHING"};

bool insert_subscription(Connection& connection, const SubscriptionSpec& spec,
                         const SourceIdentity& source, std::int64_t now_ms) {
  return run(connection, kInsertSubscription, spec.name, topics_as_json(spec.topics), spec.sink,
             spec.event_source, now_ms, spec.start == Start::now ? "now" : "beginning",
             NullIfEmpty{source.system}, source.known_timeline(), spec.sink_identity) != 0;
}

// name, topics, sink, event source, now
const Text kRedeclareSubscription{
    .name = "redeclare_subscription",
    .sqlite =
        "UPDATE outseal_subscription SET topics = ?2, sink = ?3, event_source = ?4,"
        " sink_identity = NULL,"
        " updated_at = ?5 WHERE name = ?1 AND bound_position = 0 AND after_seq = 0"
        " AND lease_owner IS NULL",
    .postgres =
        "UPDATE outseal.subscription SET topics = $2, sink = $3, event_source = $4,"
        " sink_identity = NULL,"
        " updated_at = to_timestamp($5::float8 / 1000) WHERE name = $1"
        " AND bound_position = 0 AND snap_from::text = '3:3:' AND snap_to IS NULL"
        " AND lease_owner IS NULL"};

void redeclare_subscription(Connection& connection, const SubscriptionSpec& spec,
                            std::int64_t now_ms) {
  run(connection, kRedeclareSubscription, spec.name, topics_as_json(spec.topics), spec.sink,
      spec.event_source, now_ms);
}

// name, sink, identity or ''
const Text kSetSink{.name = "set_sink",
                    .sqlite =
                        "UPDATE outseal_subscription SET sink = ?2, sink_identity = nullif(?3, '')"
                        " WHERE name = ?1",
                    .postgres =
                        "UPDATE outseal.subscription SET sink = $2, sink_identity = nullif($3, '')"
                        " WHERE name = $1"};

void set_sink(Connection& connection, std::string_view subscription, std::string_view address,
              std::string_view identity) {
  run(connection, kSetSink, subscription, address, identity);
}

// name
const Text kFindSubscription{.name = "find_subscription",
                             .sqlite =
                                 "SELECT topics, sink, event_source, coalesce(sink_identity, '')"
                                 " FROM outseal_subscription WHERE name = ?1",
                             .postgres =
                                 "SELECT topics, sink, event_source, coalesce(sink_identity, '')"
                                 " FROM outseal.subscription WHERE name = $1"};

std::optional<SubscriptionSpec> find_subscription(Connection& connection, std::string_view name) {
  const auto read = [name](Columns& columns) {
    SubscriptionSpec spec{.name = std::string{name},
                          .topics = topics_from_json(columns.get<std::string_view>()),
                          .sink = {},
                          .event_source = {}};
    columns >> spec.sink >> spec.event_source >> spec.sink_identity;
    return spec;
  };
  return find_row(connection, kFindSubscription, read, name);
}

const Text kListSubscriptions{.name = "list_subscriptions",
                              .postgres = "SELECT name FROM outseal.subscription ORDER BY name"};

std::vector<std::string> list_subscriptions(Connection& connection) {
  return list_rows(connection, kListSubscriptions, column<std::string>);
}

// act, subscription
const Text kFindStart{
    .name = "find_start",
    .sqlite =
        "SELECT a.detail, coalesce(s.source_system, '') FROM outseal_subscription s"
        " LEFT JOIN outseal_audit a ON a.act = ?1 AND a.subject = s.name WHERE s.name = ?2"
        " ORDER BY a.id DESC LIMIT 1",
    .postgres =
        "SELECT a.detail, coalesce(s.source_system, '') FROM outseal.subscription s"
        " LEFT JOIN outseal.audit a ON a.act = $1 AND a.subject = s.name WHERE s.name = $2"
        " ORDER BY a.id DESC LIMIT 1"};

std::optional<StartNote> find_start(Connection& connection, std::string_view act,
                                    std::string_view subscription) {
  const auto read = [](Columns& columns) {
    StartNote note;
    columns >> note.detail >> note.system;
    return note;
  };
  return find_row(connection, kFindStart, read, act, subscription);
}

// name
const Text kReadSubscription{
    .name = "read_subscription",
    .sqlite =
        "SELECT topics, after_seq, bound_position, acked_position,"
        " acked_event_id, epoch, version, lease_owner, lease_until,"
        " snap_from, snap_to, source_system, source_timeline, state"
        " FROM outseal_subscription WHERE name = ?1",
    .postgres =
        "SELECT topics, after_seq, bound_position, acked_position, acked_event_id, epoch,"
        " version, lease_owner, lease_until, snap_from::text, snap_to::text, source_system,"
        " source_timeline, state FROM outseal.subscription WHERE name = $1 FOR UPDATE"};

std::optional<SubscriptionRow> read_subscription(Connection& connection, std::string_view name) {
  const auto read = [](Columns& columns) {
    SubscriptionRow row;
    row.topics = topics_from_json(columns.get<std::string_view>());
    columns >> row.cursor.after_seq >> row.bound >> row.acked.position >> row.acked.event_id >>
        row.epoch >> row.version >> row.lease_owner >> row.lease_until_ms >> row.cursor.snap_from >>
        row.cursor.snap_to;
    auto system = columns.get<std::optional<std::string>>();
    const auto timeline = columns.get<std::int64_t>();
    if (system) row.source = {.system = std::move(*system), .timeline = timeline};
    row.paused = columns.get<std::string_view>() == "paused";
    return row;
  };
  return find_row(connection, kReadSubscription, read, name);
}

// name
const Text kLockSubscription{
    .name = "lock_subscription",
    .sqlite = "SELECT 1 FROM outseal_subscription WHERE name = ?1",
    .postgres = "SELECT 1 FROM outseal.subscription WHERE name = $1 FOR UPDATE"};

bool lock_subscription(Connection& connection, std::string_view name) {
  return find_row(connection, kLockSubscription, column<bool>, name).has_value();
}

// name
const Text kFenceSubscription{
    .name = "fence_subscription",
    .sqlite =
        "UPDATE outseal_subscription SET epoch = epoch + 1, version = version + 1,"
        " lease_owner = NULL, lease_until = 0 WHERE name = ?1",
    .postgres =
        "UPDATE outseal.subscription SET epoch = epoch + 1, version = version + 1,"
        " lease_owner = NULL, lease_until = 'epoch' WHERE name = $1"};

void fence_subscription(Connection& connection, std::string_view name) {
  run(connection, kFenceSubscription, name);
}

// name, now
const Text kPauseSubscription{
    .name = "pause_subscription",
    .sqlite =
        "UPDATE outseal_subscription SET state = 'paused', epoch = epoch + 1,"
        " version = version + 1, lease_owner = NULL, lease_until = 0,"
        " updated_at = ?2 WHERE name = ?1 AND state = 'running'",
    .postgres =
        "UPDATE outseal.subscription SET state = 'paused', epoch = epoch + 1,"
        " version = version + 1, lease_owner = NULL, lease_until = 'epoch',"
        " updated_at = to_timestamp($2::float8 / 1000) WHERE name = $1 AND state = 'running'"};

bool pause_subscription(Connection& connection, std::string_view name, std::int64_t now_ms) {
  return run(connection, kPauseSubscription, name, now_ms) != 0;
}

// name, now
const Text kResumeSubscription{
    .name = "resume_subscription",
    .sqlite =
        "UPDATE outseal_subscription SET state = 'running', version = version + 1,"
        " updated_at = ?2 WHERE name = ?1 AND state = 'paused'",
    .postgres =
        "UPDATE outseal.subscription SET state = 'running', version = version + 1,"
        " updated_at = to_timestamp($2::float8 / 1000) WHERE name = $1 AND state = 'paused'"};

bool resume_subscription(Connection& connection, std::string_view name, std::int64_t now_ms) {
  return run(connection, kResumeSubscription, name, now_ms) != 0;
}

// name
const Text kDeleteSubscription{.name = "delete_subscription",
                               .sqlite = "DELETE FROM outseal_subscription WHERE name = ?1",
                               .postgres = "DELETE FROM outseal.subscription WHERE name = $1"};

void delete_subscription(Connection& connection, std::string_view name) {
  run(connection, kDeleteSubscription, name);
}

// name
const Text kDeleteJournalOf{.name = "delete_journal_of",
                            .sqlite = "DELETE FROM outseal_journal WHERE subscription = ?1",
                            .postgres = "DELETE FROM outseal.journal WHERE subscription = $1"};

void delete_journal_of(Connection& connection, std::string_view subscription) {
  run(connection, kDeleteJournalOf, subscription);
}

// name
const Text kDeleteParkedOf{.name = "delete_parked_of",
                           .sqlite = "DELETE FROM outseal_parked WHERE subscription = ?1",
                           .postgres = "DELETE FROM outseal.parked WHERE subscription = $1"};

void delete_parked_of(Connection& connection, std::string_view subscription) {
  run(connection, kDeleteParkedOf, subscription);
}

}  // namespace outseal::sql
