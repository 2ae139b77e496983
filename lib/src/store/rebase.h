// Binds a subscription's cursor anew after its database was failed over, restored or copied.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/sink.h"
#include "sql/connection.h"

namespace outseal::store {

/// What rebase() found and did.
struct RebaseResult {
  bool needed = false;       ///< False: cursor and sink belong to this database; nothing was done.
  bool unread = false;       ///< The sink cannot say what it holds: what is bound stays bound.
  bool translated = false;   ///< The log carried numbers of another cluster and was stamped anew.
  Position acked;            ///< Acknowledged as far as the database knew.
  Position tail;             ///< Where the sink stands, and the subscription now.
  std::uint64_t known = 0;   ///< Events between the two that the database has: not published again.
  std::uint64_t ghosts = 0;  ///< Those that it has lost: published, but not committed here.
  std::vector<std::string> ghost_ids;  ///< The first of them.
  std::uint64_t renumbered =
      0;  ///< Events that no relay had read: they come behind all others now.
};

/// How long a rebase waits for each lock, for example of the producers.
inline constexpr std::chrono::milliseconds kRebaseWait{30'000};

/// Makes `subscription` go on from where its sink stands. Reads the sink behind the acknowledged
/// position, takes the events that it holds for published, and leaves the others to the relay.
///
/// After a failover the numbers of transactions go on, and only the cursor is moved. So they do
/// when the same cluster, or an SQLite file, was brought back to an older state, which shows by a
/// sink that is ahead of all that was ever bound, or has other events than the batch that was bound
/// and not acknowledged. PostgreSQL: after a restore into another cluster
/// they mean nothing: then every row of the outbox is stamped anew, which writes all retained rows
/// once, keeps producers waiting meanwhile and needs the privileges of the schema's owner; cursors
/// of the other subscriptions are translated too, and each of them has to be rebased before it
/// runs.
///
/// A sink that cannot be read back, such as a webhook's receiver, is taken to hold what it has
/// acknowledged. What was bound comes again, as after a crash. If the database lost commits, other
/// events may get the positions of those: a receiver that keeps a position has to be set back.
///
/// Before that, on both databases, events that no relay has read although the cursors are behind
/// them (passage.h) are put behind all others.
///
/// `sink` must be the subscription's; it is opened, so that no relay writes to it meanwhile.
///
/// @throws Error{refused} if a relay leads the subscription, if the sink is behind the database or
///         has another event where the acknowledged one should be, or holds what is none of ours,
///         or if a prepared transaction has events, of which nobody can say yet what they are.
/// @throws Error{invalid_argument} if there is no such subscription.
/// @throws Error{conflict} naming who held a lock for longer than `wait`.
/// @throws Error{denied} if the log is to be changed and the user does not own it.
/// Crash: one transaction; it happened or it did not.
RebaseResult rebase(sql::Connection& connection, const std::string& subscription, Sink& sink,
                    std::string_view actor, std::chrono::milliseconds wait = kRebaseWait);

}  // namespace outseal::store
