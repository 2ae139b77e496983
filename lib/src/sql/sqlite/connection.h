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

/// An empty database in memory.
std::unique_ptr<Connection> open_scratch();

/// False if `handle` could not be opened, or was closed by sqlite3_close_v2() and is only kept in
/// memory by statements that are left. Then it takes no new work, but those would still run: COMMIT
/// is one.
/// Source: sqlite.org, "Closing A Database Connection", on zombies.
bool is_open(sqlite3* handle) noexcept;

/// Guards the transaction that has just begun on `connection` by the commit and rollback hooks of
/// its handle, of which there is one each: those of the service are lost. A statement of the
/// connection must stay prepared as long, so that the handle cannot be freed.
/// Source: sqlite.org, "Commit And Rollback Notification Callbacks".
std::unique_ptr<OwnTransaction> guard(Connection& connection, sqlite3* handle);

/// Marks the transaction that `handle` is in, by the same hooks; they let every COMMIT pass. The
/// same statement must stay prepared.
std::unique_ptr<JoinedTransaction> mark(sqlite3* handle);

/// Wraps a handle that somebody else owns and closes.
std::unique_ptr<Connection> wrap(sqlite3* handle);

}  // namespace outseal::sql::sqlite
