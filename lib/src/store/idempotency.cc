// One-transaction operations: take the lock, look the key up, run the handler, insert the completed
// record, commit. The record is one row, never updated; a crash leaves nothing.
//
// Here for SQLite, where the lock is the database's one write lock; idempotency_pipelined.cc is the
// same for PostgreSQL.
#include "store/idempotency.h"

#include <algorithm>
#include <optional>
#include <thread>
#include <utility>

#include "base/failpoint.h"
#include "base/hash.h"
#include "model/limits.h"
#include "outseal/error.h"
#include "outseal/idempotency.h"
#include "store/transaction.h"

namespace outseal {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// How long one attempt to begin may wait before the record is looked up without a lock.
constexpr milliseconds kBeginSlice{20};

/// The raw key is a client's secret: only this hash is stored. The lengths keep ("a", "bc") and
/// ("ab", "c") apart.
std::string key_hash(const Operation& operation) {
  Sha256 hash;
  hash.add_field(operation.scope);
  hash.add_field(operation.principal);
  hash.add_field(operation.key);
  return hash.finish();
}

}  // namespace

namespace store {

ExecuteResult stored_reply(const sql::Statement& row, int column, const Operation& operation) {
  if (row.blob(column) != operation.fingerprint) return {Outcome::mismatch, {}};
  const std::string_view state = row.text(column + 1);
  if (state != "succeeded" && state != "failed") return {Outcome::in_progress, {}};
  return {Outcome::replayed,
          Reply{.verdict = state == "succeeded" ? Verdict::success : Verdict::final_failure,
                .status = static_cast<int>(row.integer(column + 2)),
                .body = std::string{row.blob(column + 3)},
                .content_type = std::string{row.text(column + 4)}}};
}

}  // namespace store

namespace {

/// What the stored record answers; empty if there is none that counts.
std::optional<ExecuteResult> look_up(sql::Connection& connection, const std::string& hash,
                                     const Operation& operation) {
  const sql::Use find{connection.statement(sql::Query::find_operation)};
  find->bind_blob(0, hash);
  if (!find->step()) return std::nullopt;
  if (!find->is_null(5) && find->integer(5) <= connection.now_ms()) return std::nullopt;
  return store::stored_reply(connection.statement(sql::Query::find_operation), 0, operation);
}

/// Like look_up(), while another connection writes; empty also if that one locks readers out.
std::optional<ExecuteResult> look_up_beside_writer(soci::session& session, const std::string& hash,
                                                   const Operation& operation) {
  try {
    return look_up(*sql::borrow(session), hash, operation);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::conflict) throw;
    return std::nullopt;
  }
}

void insert_record(sql::Connection& connection, const std::string& hash, const Operation& operation,
                   const Reply& reply, const ExecuteOptions& options, std::int64_t started_ms) {
  const std::int64_t now = connection.now_ms();
  {
    const sql::Use expired{connection.statement(sql::Query::delete_expired_operation)};
    expired->bind_blob(0, hash);
    expired->bind(1, now);
    expired->step();
  }
  const sql::Use insert{connection.statement(sql::Query::insert_operation)};
  insert->bind_blob(0, hash);
  insert->bind_text(1, operation.scope);
  insert->bind_blob(2, operation.fingerprint);
  insert->bind_text(3, reply.verdict == Verdict::success ? "succeeded" : "failed");
  insert->bind(4, reply.status);
  insert->bind_blob(5, reply.body);
  insert->bind_text(6, reply.content_type);
  insert->bind(7, started_ms);
  insert->bind(8, now);
  insert->bind(9, now + milliseconds{options.retention}.count());
  insert->step();
}

void run_alone(sql::Connection& connection, sql::Query query) {
  const sql::Use statement{connection.statement(query)};
  statement->step();
}

/// Runs the handler inside `tx` and records what it decided.
ExecuteResult run(Transaction& tx, const std::string& hash, const Operation& operation,
                  const Handler& handler, const ExecuteOptions& options) {
  sql::Connection& connection = store::connection_of(tx);
  const std::int64_t started_ms = connection.now_ms();
  run_alone(connection, sql::Query::savepoint);
  failpoint("service.before_handler");
  Reply reply = handler(tx);
  failpoint("service.after_handler");
  if (!connection.in_transaction())
    throw Error{ErrorCode::invalid_argument,
                "execute",
                "the handler ended the transaction",
                {.hint = "leave commit and rollback to execute()"}};
  validate_reply(reply, options);
  if (reply.verdict == Verdict::retryable_failure)
    return {Outcome::released, std::move(reply)};  // The transaction's destructor undoes all.
  if (reply.verdict == Verdict::final_failure)
    run_alone(connection, sql::Query::rollback_to_savepoint);
  run_alone(connection, sql::Query::release_savepoint);
  insert_record(connection, hash, operation, reply, options, started_ms);
  failpoint("service.after_record");
  tx.commit();
  return {Outcome::executed, std::move(reply)};
}

ExecuteResult execute_alone(soci::session& session, const std::string& hash,
                            const Operation& operation, const Handler& handler,
                            const ExecuteOptions& options) {
  const auto deadline = steady_clock::now() + options.wait;
  for (;;) {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - steady_clock::now());
    std::optional<Transaction> tx;
    std::optional<ExecuteResult> known;
    try {
      tx.emplace(session, TransactionOptions{.busy_wait = std::clamp(left, 0ms, kBeginSlice),
                                             .statements = options.statements});
      known = look_up(store::connection_of(*tx), hash, operation);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::conflict) throw;
      // Somebody writes. If that was this key's first execution and is done, answer without a lock.
      known = look_up_beside_writer(session, hash, operation);
    }
    if (known && known->outcome != Outcome::in_progress) return *known;
    if (tx && !known) {
      tx->impl().options.busy_wait = options.wait;
      return run(*tx, hash, operation, handler, options);
    }
    tx.reset();
    if (steady_clock::now() >= deadline) return {Outcome::in_progress, {}};
    std::this_thread::sleep_for(2ms);
  }
}

}  // namespace

ExecuteResult execute(soci::session& session, const Operation& operation, const Handler& handler,
                      const ExecuteOptions& options) {
  options.validate();
  validate_operation(operation);
  const std::string hash = key_hash(operation);
  const TransactionOptions begin{.statements = options.statements,
                                 .named_statements = options.named_statements};
  auto impl = Transaction::Impl::connect(session, begin);
  if (impl->connection->pipelines())
    return store::execute_pipelined(std::move(impl), hash, operation, handler, options);
  return execute_alone(session, hash, operation, handler, options);
}

std::uint64_t purge(soci::session& session, const PurgeOptions& options) {
  options.validate();
  std::uint64_t purged = 0;
  for (std::uint32_t step = 0; options.steps_max == 0 || step < options.steps_max; ++step) {
    Transaction tx{session};
    sql::Connection& connection = store::connection_of(tx);
    {
      const sql::Use remove{connection.statement(sql::Query::purge_operations)};
      remove->bind(0, connection.now_ms());
      remove->bind(1, options.step_rows);
      remove->step();
    }
    const auto removed = static_cast<std::uint64_t>(connection.changes());
    tx.commit();
    purged += removed;
    if (removed < options.step_rows) break;
  }
  return purged;
}

}  // namespace outseal
