// PostgreSQL behind the seam of sql/connection.h, over libpq.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "sql/connection.h"

struct pg_conn;
typedef struct pg_conn PGconn;

namespace outseal::sql::postgres {

/// @throws Error{invalid_argument} for a URL that libpq cannot read, or would take amiss.
void check_url(const Url& url);

/// Opens a connection of our own. It keeps nothing in the server's session, so that it works
/// through a pooler in transaction mode, and its commits are durable (synchronous_commit = on)
/// whatever the database's default is: a commit of ours is later in the write-ahead log than every
/// event that we have seen, so no event is published that a crash of the server could take back.
std::unique_ptr<Connection> open(const Url& url);

/// The same for a handle that is already open, or failed to; the result closes it.
std::unique_ptr<Connection> adopt(PGconn* handle);

/// Wraps a handle that somebody else owns and closes. `named`: prepares our statements by name,
/// once a connection; worth about a tenth of a transaction.
std::unique_ptr<Connection> wrap(PGconn* handle, bool named);

}  // namespace outseal::sql::postgres
