// The row of an idempotency record on its way in, for statements of several areas.
#pragma once

#include <string_view>
#include <tuple>

#include "sql/operation.h"
#include "sql/typed.h"

namespace outseal::sql {

// PostgreSQL's INSERT of a record. As parameters: key hash, scope, fingerprint and its version,
// state, status, body, content type, headers, and in ms the retention of the response and of the
// key. The response's end is taken first, so it is never behind the key's.
#define OUTSEAL_INSERT_RECORD(hash, scope, fingerprint, version, state, status, body, type,    \
                              headers, response, key)                                          \
  "INSERT INTO outseal.idempotency (key_hash, scope, fingerprint, fingerprint_version, state," \
  " status, body, content_type, reply_headers, created_at, completed_at, purge_at,"            \
  " expires_at) VALUES (" hash ", " scope ", " fingerprint ", " version ", " state ", " status \
  ", " body ", " type ", " headers                                                             \
  ", now(), clock_timestamp(), " OUTSEAL_IN_MS(response) ", " OUTSEAL_IN_MS(key) ")"
#define OUTSEAL_IN_MS(ms) "clock_timestamp() + " ms "::bigint::float8 * interval '1 ms'"

inline std::string_view text_of(OperationState state) {
  switch (state) {
    case OperationState::succeeded:
      return "succeeded";
    case OperationState::failed:
      return "failed";
    case OperationState::unknown:
      return "unknown";
    case OperationState::in_progress:
      break;
  }
  return "in_progress";
}

/// Its parameters. Views into `record`.
inline auto values_of(const NewRecord& record) {
  return std::tuple{Bytes{record.key_hash},      record.scope,
                    Bytes{record.fingerprint},   record.fingerprint_version,
                    text_of(record.state),       record.status,
                    Bytes{record.body},          record.content_type,
                    NullIfEmpty{record.headers}, record.response_retention.count(),
                    record.key_retention.count()};
}

}  // namespace outseal::sql
