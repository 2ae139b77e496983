// SQLite behind the seam of sql/connection.h.
#pragma once

#include <memory>
#include <string>

#include "sql/connection.h"

struct sqlite3;

namespace outseal::sql::sqlite {

/// Opens the file at `path` with synchronous=FULL: a commit of ours makes every earlier commit of
/// the file durable, also those of writers with synchronous=NORMAL (same write-ahead log).
///
/// Never checkpoints: that is left to the services. Two processes that checkpoint and write at the
/// wrong moment can corrupt a file before SQLite 3.51.3.
/// Source: sqlite.org, "Write-Ahead Logging", section "The WAL-Reset Bug".
std::unique_ptr<Connection> open(const std::string& path, OpenMode mode);

/// The handle under `session`; null if it is closed or of another backend.
sqlite3* driver_handle(soci::session& session);

/// Wraps a handle that somebody else owns and closes.
std::unique_ptr<Connection> wrap(sqlite3* handle);

}  // namespace outseal::sql::sqlite
