// What the two ways to execute an operation share.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "outseal/idempotency.h"
#include "sql/operation.h"
#include "store/transaction.h"

namespace outseal::store {

/// What a stored record answers.
ExecuteResult stored_reply(sql::OperationRecord record, const Operation& operation);
/// What is to be recorded; views into all of these.
sql::NewRecord new_record(const std::string& hash, const Operation& operation, const Reply& reply,
                          const ExecuteOptions& options);

/// Runs the handler of the key `hash`; until it returns, nothing but execute() can end `tx`, and
/// its thread cannot execute the key again on the session.
Reply call(const Handler& handler, Transaction& tx, const std::string& hash);

/// execute() where statements can travel with BEGIN and COMMIT. `hash` names the key.
ExecuteResult execute_pipelined(const std::shared_ptr<Transaction::Impl>& impl,
                                const std::string& hash, const Operation& operation,
                                const Handler& handler, const ExecuteOptions& options);

}  // namespace outseal::store
