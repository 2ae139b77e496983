// Binds a subscription's cursor anew after its database was failed over, restored or copied.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/sink.h"
#include "sql/connection.h"

namespace outseal::store {

/// What rebase() found and did.
struct RebaseResult {
  bool needed = false;       ///< False: the cursor belongs to this database; nothing was changed.
  bool translated = false;   ///< The log carried numbers of another cluster and was stamped anew.
  Position acked;            ///< Acknowledged as far as the database knew.
  Position tail;             ///< Where the sink stands, and the subscription now.
  std::uint64_t known = 0;   ///< Events between the two that the database has: not published again.
  std::uint64_t ghosts = 0;  ///< Those that it has lost: published, but not committed here.
  std::vector<std::string> ghost_ids;  ///< The first of them.
};

/// Makes `subscription` go on from where its sink stands. Reads the sink behind the acknowledged
/// position, takes the events that it holds for published, and leaves the others to the relay.
///
/// After a failover the numbers of transactions go on, and only the cursor is moved. After a
/// restore into another cluster they mean nothing: then every row of the outbox is stamped anew,
/// which writes all retained rows once and keeps producers waiting meanwhile; cursors of the other
/// subscriptions are translated too, and each of them has to be rebased before it runs.
///
/// `sink` must be the subscription's; it is opened, so that no relay writes to it meanwhile. Needs
/// the privileges of the schema's owner.
///
/// @throws Error{refused} if a relay leads the subscription, if the sink is behind the database or
///         has another event where the acknowledged one should be, or holds what is none of ours.
/// @throws Error{invalid_argument} if there is no such subscription, or on SQLite.
/// Crash: one transaction; it happened or it did not.
RebaseResult rebase(sql::Connection& connection, const std::string& subscription, Sink& sink,
                    std::string_view actor);

}  // namespace outseal::store
