// The outbox: events on their way in.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "sql/connection.h"
#include "sql/operation.h"

namespace outseal::sql {

/// One row of the outbox on its way there.
struct NewEvent {
  std::string id;
  std::string topic;
  std::string key;
  std::string type;
  std::string headers;
  std::string payload;
  bool payload_is_text = false;  ///< Else it is stored as bytes.
  std::string content_type;
};

/// The statement that inserts `events`, bound; they must outlive its use. More than one only where
/// the database pipelines: their numbers are drawn in the order of `events`.
Statement& append_events(Connection& connection, std::span<const NewEvent> events);

/// What append_own_events() proves before it stores anything.
struct AppendProof {
  /// The one that must be at hand: OwnTransaction::identity(). If empty, any.
  std::string_view transaction;
  bool in_order = false;       ///< Also that nobody else has appended in it after `last`.
  std::string_view last = {};  ///< Id of the last event of ours in the outbox; empty if none is.
};
/// As append_events(), where others may use the session (PostgreSQL). Fails if the proof does.
/// `record`: as complete_operation(), in the same statement and before the events.
Statement& append_own_events(Connection& connection, std::span<const NewEvent> events,
                             const AppendProof& proof, const NewRecord* record = nullptr);

/// Whether the event that `transaction` has appended is still in the outbox (PostgreSQL).
bool is_appended(Connection& connection, std::string_view transaction, std::string_view event_id);

}  // namespace outseal::sql
