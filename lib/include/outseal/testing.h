// For unit tests of services.
#pragma once

#include "outseal/session.h"

namespace outseal {

/// Applies the whole schema to the database of `session`, which must not be in a transaction, as
/// `outseal-migrate up` does. For tests: a fresh database for each case. A second call does
/// nothing.
///
/// ```
/// soci::session session{soci::sqlite3, ":memory:"};
/// outseal::migrate(session);
/// ```
///
/// A SQLite database that is still empty gets a write-ahead log, if it is a file.
/// @throws Error{invalid_argument} if the session is in a transaction.
/// @throws Error{denied} if the user may not create the schema (PostgreSQL).
/// @throws Error{schema_mismatch} if the database has another version's schema.
/// Threads: not thread-safe; one session per thread.
/// Crash: each migration is one transaction.
void migrate(Session session);

}  // namespace outseal
