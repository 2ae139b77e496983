// An event of the log in full.
#pragma once

#include <optional>
#include <string>

#include "base/failpoint.h"
#include "model/batch.h"
#include "model/limits.h"
#include "outseal/error.h"
#include "sql/event_row.h"

namespace outseal::store {

/// Reads what of `event`, which is row.event(), did not come with the others, payload or headers;
/// it lives in `large`.
/// @returns why the event cannot be published, and stays unread: its payload has more than
///         `bytes_max` bytes, its headers more than is allowed, or it cannot be read whatever is
///         done.
inline std::optional<std::string> complete(sql::Connection& connection,
                                           const sql::EventColumns& row, std::uint64_t bytes_max,
                                           EventRow& event, std::optional<sql::LargeEvent>& large) {
  const bool has_headers = row.has_headers();
  if (!has_headers && row.headers_bytes().value_or(UINT64_MAX) > kHeaderJsonBytesMax)
    return "its headers are longer than any constraint allows";
  const bool has_payload = row.has_payload();
  std::uint64_t bytes = event.payload.size();
  if (!has_payload) {
    auto known = row.payload_bytes();
    if (!known) known = connection.payload_bytes(event.seq.value());
    if (!known) return "it has no payload: somebody has erased it";
    bytes = *known;
  }
  if (bytes > bytes_max && !mutant("no_length_check"))
    return "its payload of " + std::to_string(bytes) +
           " bytes is longer than the sink's limit of " + std::to_string(bytes_max);
  if (has_headers && has_payload) return std::nullopt;
  try {
    large.emplace(connection, event.seq);
  } catch (const Error& error) {
    // Damaged in the database: so it is each time. Other trouble may pass.
    const bool stays = error.code() == ErrorCode::storage && error.detail_code().starts_with("XX");
    if (!stays && error.code() != ErrorCode::invalid_argument) throw;
    return "its payload cannot be read: " + error.message();
  }
  if (!large->found())
    throw Error{ErrorCode::refused,
                "read",
                "event " + event.id.to_string() + " has left the outbox while it was read",
                {.hint = "somebody deleted it by hand"}};
  event.payload = large->payload();
  event.headers = large->headers();
  return std::nullopt;
}

}  // namespace outseal::store
