// The record of an operation: what it is kept under, what it answers, what is stored.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "operation/core.h"
#include "outseal/idempotency.h"
#include "sql/audit.h"
#include "sql/operation.h"

namespace outseal::operation {

/// What a record is kept under: SHA-256 over scope, principal and key, behind the key's own 48 bits
/// of time (6 bytes, big-endian) if it is a UUIDv7 or a ULID. The raw key is a client's secret.
std::string key_hash(const Operation& operation);

/// The number of the lock of a key's record (PostgreSQL): of its last 8 bytes, which are random.
std::int64_t lock_of(std::string_view key_hash);

/// The name of a record that a client is given in place of its key: base64url, without padding, of
/// the key's hash and 16 random bytes.
std::string handle_text(std::string_view key_hash, std::string_view secret);
struct Handle {
  std::string key_hash;
  std::string secret;
};
/// Reads what handle_text() has written, and nothing else. The secret is still to be compared with
/// the record's.
std::optional<Handle> parse_handle(std::string_view text);

/// What a key's record says to `operation`.
struct Known {
  Found found;
  std::optional<Reply> reply = {};    ///< Only of a finished one.
  std::optional<Verdict> ended = {};  ///< Of a finished or an expired one, with its status.
  int status = 0;
  Milliseconds lease_left{};  ///< Of an unfinished one.
  std::string handle = {};
};
Known read_record(sql::OperationRecord record, std::string_view key_hash,
                  const Operation& operation);
/// One SELECT, without a lock; nothing if there is no record that counts.
std::optional<Known> look_up(sql::Connection& connection, const std::string& hash,
                             const Operation& operation);
/// What is said of a record, or of a key that is being executed.
ExecuteResult result_of(Outcome outcome, Known known);

/// What is to be recorded; views into all of these. `operation` is null for one that was resumed:
/// its record has already what it would say.
sql::NewRecord new_record(const std::string& hash, const Operation* operation, const Reply& reply,
                          const ExecuteOptions& options);

/// What is kept of a reply after a foreign COMMIT: one that breaks its limits says nothing that
/// could be kept.
Reply storable(const Reply& reply, const ExecuteOptions& options);

/// How an operation's transactions begin. `wait` is not for all of them.
/// What the audit trail is told of an operation that has ended; nothing unless `options` want it.
std::optional<sql::AuditNote> audit_note_of(const sql::NewRecord& record,
                                            const ExecuteOptions& options);
/// Writes it in the transaction at hand.
void note_in_audit(sql::Connection& connection, const std::optional<sql::AuditNote>& note);

TransactionOptions transaction_options(const ExecuteOptions& options);

}  // namespace outseal::operation
