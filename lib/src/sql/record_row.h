// The row of an idempotency record on its way in, for statements of several areas.
#pragma once

#include <string_view>
#include <tuple>

#include "sql/operation.h"
#include "sql/typed.h"

namespace outseal::sql {

// PostgreSQL's INSERT of a record. As parameters: key hash, scope, fingerprint, state, status,
// body, content type, retention in ms.
#define OUTSEAL_INSERT_RECORD(hash, scope, fingerprint, state, status, body, type, retention)      \
  "INSERT INTO outseal.idempotency (key_hash, scope, fingerprint, state, status, body,"            \
  " content_type, created_at, completed_at, expires_at) VALUES (" hash ", " scope ", " fingerprint \
  ", " state ", " status ", " body ", " type                                                       \
  ", now(), clock_timestamp(), clock_timestamp() + " retention                                     \
  "::bigint::float8 * interval '1 ms')"

inline std::string_view text_of(OperationState state) {
  switch (state) {
    case OperationState::succeeded:
      return "succeeded";
    case OperationState::failed:
      return "failed";
    case OperationState::open:
      break;
  }
  return "in_progress";
}

/// Its parameters. Views into `record`.
inline auto values_of(const NewRecord& record) {
  return std::tuple{Bytes{record.key_hash},
                    record.scope,
                    Bytes{record.fingerprint},
                    text_of(record.state),
                    record.status,
                    Bytes{record.body},
                    record.content_type,
                    record.retention.count()};
}

}  // namespace outseal::sql
