// The records of idempotent operations: one row a key.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "sql/connection.h"
#include "sql/text.h"

namespace outseal::sql {

enum class OperationState {
  in_progress,  ///< Its effects are still under way.
  unknown,      ///< Nobody knows how one of its effects ended.
  succeeded,
  failed,
};

/// What is recorded for a key.
struct OperationRecord {
  std::string fingerprint;
  int fingerprint_version = 0;
  OperationState state = OperationState::in_progress;
  int status = 0;
  /// None while it is not final, and after the response's retention, whether or not it was purged.
  std::optional<std::string> body;
  std::string content_type;
  std::string headers;  ///< A JSON object; empty for none.
  std::string handle;   ///< 16 random bytes; empty if it has none.
  std::chrono::milliseconds lease_left{};
  std::int64_t fence = 0;    ///< 0: without effects.
  bool has_expired = false;  ///< Whether the key's retention has passed.
};
/// One SELECT, without a lock; nothing if there is none that counts. (Another SELECT for one that
/// has effects and has expired.)
std::optional<OperationRecord> find_operation(Connection& connection, std::string_view key_hash);
/// Whether the key is known by `record`: it has not expired, or has an effect whose end is open.
bool counts(Connection& connection, const OperationRecord& record, std::string_view key_hash);

/// A record to be; views into what its operation gave and answered.
struct NewRecord {
  std::string_view key_hash;
  std::string_view scope;
  std::string_view fingerprint;
  int fingerprint_version = 1;
  OperationState state = OperationState::succeeded;
  int status = 0;
  std::string_view body;
  std::string_view content_type;
  std::string headers;  ///< A JSON object; empty for none.
  std::chrono::milliseconds response_retention{};
  std::chrono::milliseconds key_retention{};
};

/// What purge_operations() has taken away.
struct PurgedRows {
  std::int64_t responses = 0;
  std::int64_t records = 0;
};
/// Drops responses and removes records whose retention has passed, `rows_max` together at most.
PurgedRows purge_operations(Connection& connection, std::int64_t rows_max);

// --- SQLite --------------------------------------------------------------------------------------

/// Inside the caller's transaction: removes the key's record, with its effects, if it no longer
/// counts.
void forget_expired_operation(Connection& connection, std::string_view key_hash,
                              std::int64_t now_ms);
/// Inside the caller's transaction: stores a record, in place of one that has expired.
void insert_operation(Connection& connection, const NewRecord& record, std::int64_t started_ms);

// --- PostgreSQL ----------------------------------------------------------------------------------
// Statements that are returned are bound, to travel with BEGIN or COMMIT.

/// Tries to take the key's lock, whose number is `lock`, and looks the key up.
///
/// The look-up's snapshot is older than the lock: a record that was committed between the two is
/// missed here and caught by the primary key.
Statement& claim_operation(Connection& connection, std::int64_t lock, std::string_view key_hash);

struct OperationClaim {
  bool has_lock = false;
  std::optional<OperationRecord> record;
  std::string transaction;  ///< Its identity, if there is no record or it has expired.
};
/// What claim_operation() has found.
OperationClaim read_claim(Statement& claim);

/// Waits for the key's lock and takes it, for the length of the transaction.
void lock_operation(Connection& connection, std::int64_t lock);

/// Removes the key's record, with its effects, if it no longer counts.
Statement& delete_expired_operation(Connection& connection, std::string_view key_hash);
/// Stores a record; fails if the key has one, and in any transaction but `transaction`. (With
/// events: append_own_events().)
Statement& complete_operation(Connection& connection, const NewRecord& record,
                              std::string_view transaction);
/// Inside the caller's transaction: stores a record unless the key has one that counts.
/// @returns whether it did.
bool insert_missing_operation(Connection& connection, const NewRecord& record);

// Their plans are tested.
extern const Text kFindOperation;
extern const Text kClaimOperation;
extern const Text kDeleteExpiredOperation;
extern const Text kPurgeOperations;

}  // namespace outseal::sql
