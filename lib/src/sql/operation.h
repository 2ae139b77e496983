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
  open,  ///< Its effects are still under way, or nobody knows how they ended.
  succeeded,
  failed,
};

/// What is recorded for a key. An open one has no reply.
struct OperationRecord {
  std::string fingerprint;
  OperationState state = OperationState::open;
  int status = 0;
  std::string body;
  std::string content_type;
};
/// One SELECT, without a lock; nothing if there is none that counts.
std::optional<OperationRecord> find_operation(Connection& connection, std::string_view key_hash);

/// A record to be; views into what its operation gave and answered.
struct NewRecord {
  std::string_view key_hash;
  std::string_view scope;
  std::string_view fingerprint;
  OperationState state = OperationState::succeeded;
  int status = 0;
  std::string_view body;
  std::string_view content_type;
  std::chrono::milliseconds retention{};
};

/// Removes at most `rows_max` records whose retention has passed. @returns how many.
std::int64_t purge_operations(Connection& connection, std::int64_t rows_max);

// --- SQLite --------------------------------------------------------------------------------------

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
  std::optional<OperationRecord> record;  ///< One that counts.
  bool has_expired = false;               ///< There is one that no longer counts.
  std::string transaction;                ///< Its identity, if the handler is to run.
};
/// What claim_operation() has found.
OperationClaim read_claim(Statement& claim);

/// Waits for the key's lock and takes it, for the length of the transaction.
void lock_operation(Connection& connection, std::int64_t lock);

/// Removes the key's record if it has expired.
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
