// The seam between an execution and its database: one small class per way to take turns.
#pragma once

#include <memory>
#include <string>

#include "operation/core.h"
#include "operation/record.h"
#include "outseal/idempotency.h"
#include "store/transaction.h"

namespace outseal::operation {

/// What is executed; references to what its caller holds.
struct Request {
  const std::string& hash;  ///< Names the key.
  const Operation& operation;
  const ExecuteOptions& options;
};

/// One execution's transaction, its key's turn and its record.
class OperationStore {
 public:
  OperationStore(Transaction& tx, const Request& request) : impl_{tx.impl()}, request_{request} {}
  virtual ~OperationStore() = default;
  OperationStore(const OperationStore&) = delete;
  OperationStore& operator=(const OperationStore&) = delete;

  /// Begins the transaction, takes the key's turn unless somebody else has it, and looks the key
  /// up. Where the turn has to be waited for to begin at all, not for longer than `left`. If the
  /// handler may run, a savepoint is set.
  virtual Known claim(Milliseconds left) = 0;
  /// Waits until the turn may be ours, for at most `left`; claim() then tells.
  /// @returns false if it did not come in time.
  virtual bool wait_for_turn(Milliseconds left) = 0;
  /// Undoes what the handler did, its events included, and keeps the turn.
  void undo() { impl_.rollback_to_handler(); }
  /// Stores the record of `reply` and commits, with the events.
  /// @returns false if another execution's record was faster; everything is undone then.
  virtual bool complete(const Reply& reply) = 0;

  /// Looks whether the handler, which gave `reply`, has committed the transaction by itself: then
  /// its rows are kept, so its events and a record are stored, and no retry runs it again.
  /// @throws Error{foreign_commit} if it has, Error{commit_in_doubt} if nobody can tell.
  virtual void settle_foreign_commit(const Reply& /*reply*/) {}

 protected:
  sql::NewRecord record_of(const Reply& reply) const {
    return new_record(request_.hash, &request_.operation, reply, request_.options);
  }

  Transaction::Impl& impl_;
  const Request request_;
};

/// Where one writer excludes all others: the turn is the write lock. (SQLite)
std::unique_ptr<OperationStore> make_exclusive_store(Transaction& tx, const Request& request);
/// Where statements travel with BEGIN and COMMIT: the turn is a lock on the key. (PostgreSQL)
std::unique_ptr<OperationStore> make_pipelined_store(Transaction& tx, const Request& request);

}  // namespace outseal::operation
