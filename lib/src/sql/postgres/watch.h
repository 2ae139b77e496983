// What a service does by itself on the connection that it shares with us.
#pragma once

#include <libpq-fe.h>

#include <bitset>

#include "sql/connection.h"

namespace outseal::sql::postgres {

/// What we know of a connection that services use as well: libpq tells us of each result on it.
struct Watch {
  std::bitset<kQueryCount> prepared;
  Connection::Watched seen;
  bool any_rollback = false;  ///< As seen.rolled_back, which is forgotten now and then.
};

/// The watch over `handle`; begins with the first call and ends with the connection.
Watch& watch_of(PGconn* handle);

}  // namespace outseal::sql::postgres
