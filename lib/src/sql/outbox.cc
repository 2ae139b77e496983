#include "sql/outbox.h"

#include <optional>
#include <vector>

#include "sql/postgres/fragments.h"
#include "sql/record_row.h"
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

// `value` of `type`, or an error in another transaction than `xid`, and, if `ask` is true, behind
// events of `xid` that are newer than the event `last`.
#define OUTSEAL_PROVEN(type, value, xid, ask, last)                                               \
  "CASE " OUTSEAL_UNLESS_OWN(xid, type) " WHEN " ask "::boolean AND outseal.appended_after(" xid  \
                                        "::xid8, " last                                           \
                                        "::uuid)"                                                 \
                                        " IS NOT FALSE THEN ('" OUTSEAL_OVERTAKEN                 \
                                        " ' || pg_current_xact_id()::text)::" type " ELSE " value \
                                        "::" type " END"

// One event, or many, with what proves its place: the transaction's number, 1 to prove that events
// come in order, the last one of ours that is in the outbox already or NULL.
#define OUTSEAL_INSERT_OWN_EVENT                     \
  "INSERT INTO outseal.outbox (" OUTSEAL_NEW_COLUMNS \
  ") VALUES (" OUTSEAL_PROVEN("uuid", "$1", "$9", "$10", "$11") ", $2, $3, $4, $5, $6, $7, $8)"
#define OUTSEAL_INSERT_OWN_EVENTS                                                   \
  "INSERT INTO outseal.outbox (" OUTSEAL_NEW_COLUMNS ") SELECT " OUTSEAL_NEW_EVENTS \
  " WHERE (SELECT " OUTSEAL_PROVEN("boolean", "true", "$9", "$10", "$11") ") ORDER BY e.place"

// Unless the statement stores its one event, or all.
#define OUTSEAL_UNLESS_EVENT OUTSEAL_UNLESS_STORED("stored", "outseal.outbox")
#define OUTSEAL_UNLESS_EVENTS \
  OUTSEAL_UNLESS_ALL_STORED("stored", "cardinality($1::text[])", "outseal.outbox")

// A record, then events. The record first: what a duplicate is told is that, whatever becomes of
// its events.
#define OUTSEAL_RECORD_AND(insert, unless)                                                      \
  "WITH record AS (" OUTSEAL_INSERT_RECORD(                                                     \
      "$12", "$13", "$14", "$15", "$16", "$17", "$18", "$19", "$20", "$21",                     \
      "$22") " RETURNING 1), stored AS (" insert                                                \
             " RETURNING 1) SELECT CASE" OUTSEAL_UNLESS_STORED("record", "outseal.idempotency") \
                 unless " END"

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
    .postgres = OUTSEAL_STORED("INSERT INTO outseal.outbox (" OUTSEAL_NEW_COLUMNS
                               ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                               OUTSEAL_UNLESS_EVENT)};

// The same as arrays. Numbers are drawn in the order of the arrays.
const Text kAppendEvents{
    .name = "append_events",
    .postgres = OUTSEAL_STORED("INSERT INTO outseal.outbox (" OUTSEAL_NEW_COLUMNS
                               ") SELECT " OUTSEAL_NEW_EVENTS " ORDER BY e.place",
                               OUTSEAL_UNLESS_EVENTS)};

Statement& append_events(Connection& connection, std::span<const NewEvent> events) {
  return events.size() == 1 ? bind_event(connection, kAppendEvent, events.front())
                            : bind_events(connection, kAppendEvents, events);
}

// As kAppendEvent or kAppendEvents, then the proof.
const Text kAppendOwnEvent{
    .name = "append_own_event",
    .postgres = OUTSEAL_STORED(OUTSEAL_INSERT_OWN_EVENT, OUTSEAL_UNLESS_EVENT)};
const Text kAppendOwnEvents{
    .name = "append_own_events",
    .postgres = OUTSEAL_STORED(OUTSEAL_INSERT_OWN_EVENTS, OUTSEAL_UNLESS_EVENTS)};

// The same, then a record's.
const Text kCompleteWithEvent{
    .name = "complete_with_event",
    .postgres = OUTSEAL_RECORD_AND(OUTSEAL_INSERT_OWN_EVENT, OUTSEAL_UNLESS_EVENT)};
const Text kCompleteWithEvents{
    .name = "complete_with_events",
    .postgres = OUTSEAL_RECORD_AND(OUTSEAL_INSERT_OWN_EVENTS, OUTSEAL_UNLESS_EVENTS)};

Statement& append_own_events(Connection& connection, std::span<const NewEvent> events,
                             const AppendProof& proof, const NewRecord* record) {
  const auto bind = [&](const Text& one, const Text& many, const auto&... more) -> Statement& {
    const NullIfEmpty transaction{proof.transaction};
    const NullIfEmpty last{proof.last};
    return events.size() == 1
               ? bind_event(connection, one, events.front(), transaction, proof.in_order, last,
                            more...)
               : bind_events(connection, many, events, transaction, proof.in_order, last, more...);
  };
  if (record == nullptr) return bind(kAppendOwnEvent, kAppendOwnEvents);
  const auto bind_both = [&](const auto&... values) -> Statement& {
    return bind(kCompleteWithEvent, kCompleteWithEvents, values...);
  };
  return std::apply(bind_both, values_of(*record));
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
