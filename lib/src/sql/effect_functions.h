// Changes of operations with effects on PostgreSQL: the functions of migrations 0006 and 0007, each
// of which demands the fence that is held. (SQLite: sql/effect.h)
//
// They are refused by an Error of which is_overtaken() is true if what the caller knows of the
// operation no longer holds; nothing was changed then.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "model/effect_view.h"
#include "outseal/error.h"
#include "sql/connection.h"
#include "sql/operation.h"
#include "sql/text.h"

namespace outseal::sql {

/// Whether the operation has another fence or is not in progress, or an effect is no longer
/// intended or must not be sent again.
bool is_overtaken(const Error& error);

// Each of these is one commit, unless it runs in a transaction. Structs hold views.

struct OperationBeginning {
  std::string_view key_hash;
  std::string_view scope;
  std::string_view fingerprint;
  int fingerprint_version = 1;
  std::string_view handle;
  std::string_view owner;
  std::chrono::milliseconds lease;
};
/// Begins an operation with its first effect. Also refused if the key has a record.
void begin_operation(Connection& connection, const OperationBeginning& beginning,
                     const Send& first);

struct OperationLease {
  std::string_view key_hash;
  std::int64_t fence;
  std::string_view owner;
  std::chrono::milliseconds lease;
};
/// @returns the new fence; nothing if it may not be taken over.
std::optional<std::int64_t> take_over_operation(Connection& connection, const OperationLease& lease,
                                                std::chrono::milliseconds idle);
/// What `advance` changes, but for a new operation; its own fence and lease are left aside.
void advance_operation(Connection& connection, const OperationLease& lease, const Advance& advance);

/// Makes an operation final, in the transaction at hand; bound, to travel with COMMIT. `settled`
/// must live as long.
Statement& finish_operation(Connection& connection, const NewRecord& record, std::int64_t fence,
                            std::span<const Settle> settled);

}  // namespace outseal::sql
