#include "operation/record.h"

#include <utility>

#include "base/hash.h"
#include "model/validation.h"
#include "outseal/error.h"
#include "store/transaction.h"

namespace outseal {
namespace operation {

using sql::OperationState;

/// The raw key is a client's secret: only this hash is stored. The lengths keep ("a", "bc") and
/// ("ab", "c") apart.
std::string key_hash(const Operation& operation) {
  Sha256 hash;
  hash.add_field(operation.scope);
  hash.add_field(operation.principal);
  hash.add_field(operation.key);
  return hash.finish();
}

Known read_record(sql::OperationRecord record, const Operation& operation) {
  if (record.fingerprint != operation.fingerprint) return {Found::mismatch};
  if (record.state == OperationState::open) return {Found::unfinished};
  return {Found::finished,
          Reply{.verdict = record.state == OperationState::succeeded ? Verdict::success
                                                                     : Verdict::final_failure,
                .status = record.status,
                .body = std::move(record.body),
                .content_type = std::move(record.content_type)}};
}

std::optional<Known> look_up(sql::Connection& connection, const std::string& hash,
                             const Operation& operation) {
  auto record = sql::find_operation(connection, hash);
  if (!record) return std::nullopt;
  return read_record(std::move(*record), operation);
}

sql::NewRecord new_record(const std::string& hash, const Operation& operation, const Reply& reply,
                          const ExecuteOptions& options) {
  return {.key_hash = hash,
          .scope = operation.scope,
          .fingerprint = operation.fingerprint,
          .state = reply.verdict == Verdict::success ? OperationState::succeeded
                                                     : OperationState::failed,
          .status = reply.status,
          .body = reply.body,
          .content_type = reply.content_type,
          .retention = options.retention};
}

}  // namespace operation

std::optional<ExecuteResult> find(soci::session& session, const Operation& operation) {
  validate_operation("find", operation);
  const auto connection = sql::borrow(session, false);
  connection->require_idle("find");
  auto known = operation::look_up(*connection, operation::key_hash(operation), operation);
  if (!known) return std::nullopt;
  switch (known->found) {
    case operation::Found::finished:
      return ExecuteResult{Outcome::replayed, std::move(known->reply)};
    case operation::Found::mismatch:
      return ExecuteResult{Outcome::mismatch};
    default:
      return ExecuteResult{Outcome::in_progress};
  }
}

std::uint64_t purge_operations(soci::session& session, const PurgeOptions& options) {
  options.validate();
  std::uint64_t purged = 0;
  for (std::uint32_t step = 0; options.steps_max == 0 || step < options.steps_max; ++step) {
    Transaction tx{session};
    const auto removed = static_cast<std::uint64_t>(
        sql::purge_operations(store::connection_of(tx), options.step_rows));
    tx.commit();
    purged += removed;
    if (removed < options.step_rows) break;
  }
  return purged;
}

}  // namespace outseal
