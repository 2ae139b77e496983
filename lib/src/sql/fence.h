// What a relay writes while it leads: intent, acknowledgement and settlement. Each is a
// compare-and-set on epoch and version, so that one that has lost its lease changes nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "model/batch.h"
#include "model/subscription.h"
#include "sql/connection.h"

namespace outseal::sql {

/// What a relay knows of the row that it changes, and how long it leads from then on.
struct Fence {
  std::string_view subscription;
  Epoch epoch;
  std::uint64_t version = 0;  ///< As it is; each of these writes raises it by one.
  std::int64_t lease_until_ms = 0;
  std::int64_t now_ms = 0;
};

// All of them inside of the caller's transaction. False: another one has led meanwhile, and nothing
// is changed.

/// Moves the cursor behind `batch`, whose positions are bound now. `incarnation` as in bind_batch.
[[nodiscard]] bool advance_subscription(Connection& connection, const Fence& fence,
                                        const Batch& batch, std::string_view chain_hash,
                                        std::string_view incarnation);

/// The intent of a batch of the log as one statement, a transaction of its own (PostgreSQL): moves
/// the cursor, inserts the journal's row and acknowledges the batch before it, if `ack` is given.
/// `incarnation`: the run of the server that the batch was read from; on another one nothing is
/// changed. Empty: it does not matter.
[[nodiscard]] bool bind_batch(Connection& connection, const Fence& fence, const Batch& batch,
                              std::string_view chain_hash, const std::optional<Ack>& ack,
                              std::string_view incarnation);

/// Everything that is bound is acknowledged; `tail` is the last of it.
[[nodiscard]] bool acknowledge_subscription(Connection& connection, const Fence& fence,
                                            const Tail& tail);

/// Nothing behind `tail` is bound any more, and all of it is acknowledged. Reading goes on at
/// `next`.
[[nodiscard]] bool settle_subscription(Connection& connection, const Fence& fence,
                                       const Cursor& next, const Tail& tail,
                                       std::string_view chain_hash);

}  // namespace outseal::sql
