// The record of an operation: what it is kept under, what it answers, what is stored.
#pragma once

#include <optional>
#include <string>

#include "operation/core.h"
#include "outseal/idempotency.h"
#include "sql/operation.h"

namespace outseal::operation {

/// What a record is kept under.
std::string key_hash(const Operation& operation);

/// What a key's record says to `operation`.
struct Known {
  Found found;
  std::optional<Reply> reply = {};  ///< Only of a finished one.
};
Known read_record(sql::OperationRecord record, const Operation& operation);
/// One SELECT, without a lock; nothing if there is no record that counts.
std::optional<Known> look_up(sql::Connection& connection, const std::string& hash,
                             const Operation& operation);

/// What is to be recorded; views into all of these.
sql::NewRecord new_record(const std::string& hash, const Operation& operation, const Reply& reply,
                          const ExecuteOptions& options);

}  // namespace outseal::operation
