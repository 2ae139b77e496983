#include "sql/outbox.h"

#include <optional>
#include <vector>

#include "sql/postgres/fragments.h"
#include "sql/typed.h"

namespace outseal::sql {
namespace {

// What append() fills, and its events as arrays, `e`.
#define OUTSEAL_NEW_COLUMNS \
  "event_id, topic, key, type, headers, payload, payload_bytes, content_type"
#define OUTSEAL_NEW_EVENTS                                                                  \
  "e.event_id::uuid, e.topic, e.key, e.type, e.headers::json, e.payload, e.payload_bytes,"  \
  " e.content_type FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]," \
  " $6::text[], $7::bytea[], $8::text[]) WITH ORDINALITY AS e (" OUTSEAL_NEW_COLUMNS ", place)"

// `value` of `type`, or an error where a statement must not run: in another transaction than
// `xid`, and, if `ask` is true, behind events of `xid` that are newer than the event `last`.
// Nothing that stands behind such a statement in a pipeline runs, COMMIT least of all. The texts
// depend on the transaction, so that no planner evaluates their casts beforehand.
#define OUTSEAL_PROVEN(type, value, xid, ask, last)                                         \
  "CASE WHEN pg_current_xact_id() <> " xid                                                  \
  "::xid8 THEN"                                                                             \
  " ('" OUTSEAL_ANOTHER_TRANSACTION " ' || pg_current_xact_id()::text)::" type " WHEN " ask \
  "::boolean AND outseal.appended_after(" xid "::xid8, " last                               \
  "::uuid)"                                                                                 \
  " IS NOT FALSE THEN ('" OUTSEAL_OVERTAKEN " ' || pg_current_xact_id()::text)::" type      \
  " ELSE " value "::" type " END"

template <typename Member>
std::vector<std::string_view> column_of(std::span<const NewEvent> events, Member member) {
  std::vector<std::string_view> values;
  values.reserve(events.size());
  for (const NewEvent& event : events) values.push_back(event.*member);
  return values;
}

/// The payloads that are stored as text, or those that are stored as bytes; the others are NULL.
std::vector<std::string_view> payloads_of(std::span<const NewEvent> events, bool as_text) {
  std::vector<std::string_view> values;
  values.reserve(events.size());
  for (const NewEvent& event : events)
    values.push_back(event.payload_is_text == as_text ? std::string_view{event.payload}
                                                      : std::string_view{});
  return values;
}

template <typename... Proof>
Statement& bind_event(Connection& connection, const Text& text, const NewEvent& event,
                      const Proof&... proof) {
  std::optional<std::string_view> payload;
  std::optional<Bytes> payload_bytes;
  if (event.payload_is_text)
    payload = event.payload;
  else
    payload_bytes = Bytes{event.payload};
  return bind_statement(connection, text, event.id, event.topic, event.key, event.type,
                        event.headers, payload, payload_bytes, event.content_type, proof...);
}

template <typename... Proof>
Statement& bind_events(Connection& connection, const Text& text, std::span<const NewEvent> events,
                       const Proof&... proof) {
  return bind_statement(connection, text, column_of(events, &NewEvent::id),
                        column_of(events, &NewEvent::topic), column_of(events, &NewEvent::key),
                        column_of(events, &NewEvent::type), column_of(events, &NewEvent::headers),
                        payloads_of(events, true), BytesArray{payloads_of(events, false)},
                        column_of(events, &NewEvent::content_type), proof...);
}

}  // namespace

// event id, topic, key, type, headers, payload as text or NULL, as bytes or NULL, content type.
// With the name of SQLite's file: a temporary table of the same name would be found first.
const Text kAppendEvent{
    .name = "append_event",
    .sqlite =
        "INSERT INTO main.outseal_outbox (event_id, topic, key, type, headers, payload,"
        " content_type) VALUES (?1, ?2, ?3, ?4, ?5, coalesce(?6, ?7), ?8)",
    .postgres = OUTSEAL_STORED("outseal.outbox", "1",
                               "INSERT INTO outseal.outbox (" OUTSEAL_NEW_COLUMNS
                               ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")};

// The same as arrays. Numbers are drawn in the order of the arrays.
const Text kAppendEvents{
    .name = "append_events",
    .postgres = OUTSEAL_STORED("outseal.outbox", "cardinality($1::text[])",
                               "INSERT INTO outseal.outbox (" OUTSEAL_NEW_COLUMNS
                               ") SELECT " OUTSEAL_NEW_EVENTS " ORDER BY e.place")};

Statement& append_events(Connection& connection, std::span<const NewEvent> events) {
  return events.size() == 1 ? bind_event(connection, kAppendEvent, events.front())
                            : bind_events(connection, kAppendEvents, events);
}

// As kAppendEvent, then the transaction's number, 1 to prove that events come in order, the last
// one of ours that is in the outbox already or NULL.
const Text kAppendOwnEvent{
    .name = "append_own_event",
    .postgres = OUTSEAL_STORED("outseal.outbox", "1",
                               "INSERT INTO outseal.outbox (" OUTSEAL_NEW_COLUMNS
                               ") VALUES (" OUTSEAL_PROVEN("uuid", "$1", "$9", "$10",
                                                           "$11") ", $2, $3, $4, $5, $6, $7, $8)")};

// As kAppendEvents, then the same three.
const Text kAppendOwnEvents{
    .name = "append_own_events",
    .postgres = OUTSEAL_STORED("outseal.outbox", "cardinality($1::text[])",
                               "INSERT INTO outseal.outbox (" OUTSEAL_NEW_COLUMNS
                               ") SELECT " OUTSEAL_NEW_EVENTS " WHERE (SELECT " OUTSEAL_PROVEN(
                                   "boolean", "true", "$9", "$10", "$11") ") ORDER BY e.place")};

Statement& append_own_events(Connection& connection, std::span<const NewEvent> events,
                             const AppendProof& proof) {
  const NullIfEmpty last{proof.last};
  return events.size() == 1 ? bind_event(connection, kAppendOwnEvent, events.front(),
                                         proof.transaction, proof.in_order, last)
                            : bind_events(connection, kAppendOwnEvents, events, proof.transaction,
                                          proof.in_order, last);
}

// the transaction's number, an event's id -> 1 if that is still in it, and others behind it
const Text kAppendedAfter{.name = "appended_after",
                          .postgres =
                              "SELECT a.result IS NOT NULL, coalesce(a.result, false)"
                              " FROM outseal.appended_after($1::xid8, $2::uuid) AS a (result)"};

bool is_appended(Connection& connection, std::string_view transaction, std::string_view event_id) {
  return get_value<bool>(connection, kAppendedAfter, transaction, event_id);
}

}  // namespace outseal::sql
