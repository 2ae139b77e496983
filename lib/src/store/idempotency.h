// What the two ways to execute an operation share.
#pragma once

#include <memory>
#include <string>

#include "outseal/idempotency.h"
#include "sql/connection.h"
#include "store/transaction.h"

namespace outseal::store {

/// What a stored record answers; its fingerprint, state, status, body and content type begin at
/// `column` of `row`.
ExecuteResult stored_reply(const sql::Statement& row, int column, const Operation& operation);

/// execute() where statements can travel with BEGIN and COMMIT. `hash` names the key.
ExecuteResult execute_pipelined(std::unique_ptr<Transaction::Impl> impl, const std::string& hash,
                                const Operation& operation, const Handler& handler,
                                const ExecuteOptions& options);

}  // namespace outseal::store
