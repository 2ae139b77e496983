// A handler inside of the transaction that is completed behind it.
#pragma once

#include <functional>
#include <string>

#include "outseal/idempotency.h"
#include "outseal/session.h"
#include "outseal/transaction.h"

namespace outseal::operation {

/// Looks whether the handler, which gave the reply, has committed the transaction by itself; see
/// OperationStore::settle_foreign_commit().
using SettleForeignCommit = std::function<void(const Reply&)>;

/// Runs `handler` in `tx`, which nothing but its owner can end meanwhile, and makes sure that the
/// transaction may be completed with its reply.
/// @throws what execute() throws because of a handler.
Reply run_handler(Transaction& tx, const std::string& key_hash, const ExecuteOptions& options,
                  const Handler& handler, const SettleForeignCommit& settle_foreign_commit);

/// Whether a handler of the key runs on the session, in this thread.
bool is_running(Session session, const std::string& key_hash);

}  // namespace outseal::operation
