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
#include "model/validation.h"
#include "outseal/error.h"
#include "outseal/idempotency.h"
#include "sql/own_transaction.h"
#include "store/transaction.h"

namespace outseal {
namespace {

using namespace std::chrono_literals;
using sql::OperationState;
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

ExecuteResult stored_reply(sql::OperationRecord record, const Operation& operation) {
  if (record.fingerprint != operation.fingerprint) return {Outcome::mismatch};
  if (record.state == OperationState::open) return {Outcome::in_progress};
  return {Outcome::replayed,
          Reply{.verdict = record.state == OperationState::succeeded ? Verdict::success
                                                                     : Verdict::final_failure,
                .status = record.status,
                .body = std::move(record.body),
                .content_type = std::move(record.content_type)}};
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

namespace {

/// A handler that runs, for as long as it does.
class Running {
 public:
  Running(Transaction& tx, const std::string& hash) : impl_{tx.impl()}, hash_{hash} {
    impl_.in_handler = true;
    innermost = this;
  }
  ~Running() {
    impl_.in_handler = false;
    innermost = outer_;
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  static bool is(Session session, const std::string& hash) {
    for (const Running* one = innermost; one != nullptr; one = one->outer_)
      if (sql::handle_of(one->impl_.session) == sql::handle_of(session) && one->hash_ == hash)
        return true;
    return false;
  }

 private:
  static thread_local const Running* innermost;

  Transaction::Impl& impl_;
  const std::string& hash_;
  const Running* outer_ = innermost;
};
thread_local const Running* Running::innermost = nullptr;

}  // namespace

Reply call(const Handler& handler, Transaction& tx, const std::string& hash) {
  const Running guard{tx, hash};
  return handler(tx);
}

}  // namespace store

namespace {

std::optional<ExecuteResult> look_up(sql::Connection& connection, const std::string& hash,
                                     const Operation& operation) {
  auto record = sql::find_operation(connection, hash);
  if (!record) return std::nullopt;
  return store::stored_reply(std::move(*record), operation);
}

/// Like look_up(), while another connection writes; empty also if that one locks readers out.
std::optional<ExecuteResult> look_up_beside_writer(Session session, const std::string& hash,
                                                   const Operation& operation) {
  const auto connection = sql::wrap(session);
  const sql::WithoutBusyTimeout ours_counts{*connection};
  try {
    return look_up(*connection, hash, operation);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::conflict) throw;
    return std::nullopt;
  }
}

/// Runs the handler inside `tx` and records what it decided.
ExecuteResult run(Transaction& tx, const std::string& hash, const Operation& operation,
                  const Handler& handler, const ExecuteOptions& options) {
  sql::Connection& connection = store::connection_of(tx);
  const std::int64_t started_ms = connection.now_ms();
  sql::set_savepoint(connection);
  failpoint("service.before_handler");
  Reply reply = store::call(handler, tx, hash);
  failpoint("service.after_handler");
  tx.impl().require_open("execute");
  validate_reply(reply, options);
  if (reply.verdict == Verdict::retryable_failure)
    return {Outcome::released, std::move(reply)};  // The transaction's destructor undoes all.
  if (reply.verdict == Verdict::final_failure) tx.impl().rollback_to_handler();
  sql::release_savepoint(connection);
  sql::insert_operation(connection, store::new_record(hash, operation, reply, options), started_ms);
  store::require_stored(connection, "execute", "idempotency");
  failpoint("service.after_record");
  tx.commit();
  return {Outcome::executed, std::move(reply)};
}

/// One writer excludes all: nobody can tell whether it executes this key or does something else.
[[noreturn]] void throw_busy(milliseconds wait) {
  throw Error{ErrorCode::conflict,
              "execute",
              "another writer held the database for " + std::to_string(wait.count()) + " ms",
              {.hint = "nothing was done: call again with the same key, or raise"
                       " ExecuteOptions::wait",
               .detail_code = "5"}};
}

ExecuteResult execute_alone(Session session, const std::string& hash, const Operation& operation,
                            const Handler& handler, const ExecuteOptions& options) {
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
    if (steady_clock::now() >= deadline) {
      if (known) return *known;
      throw_busy(options.wait);
    }
    std::this_thread::sleep_for(2ms);
  }
}

}  // namespace

ExecuteResult execute(Session session, const Operation& operation, const Handler& handler,
                      const ExecuteOptions& options) {
  options.validate();
  validate_operation("execute", operation);
  if (!handler)
    throw Error{
        ErrorCode::invalid_argument, "execute", "the handler is empty", {.hint = "give one"}};
  const std::string hash = key_hash(operation);
  const TransactionOptions begin{.statements = options.statements,
                                 .named_statements = options.named_statements,
                                 .isolation = options.isolation};
  auto impl = Transaction::Impl::connect(session, begin);
  // Only behind a COMMIT or a reconnect of the handler's own, whose record is still to come.
  if (store::Running::is(session, hash) && !mutant("no_running_check"))
    throw Error{ErrorCode::invalid_argument,
                "execute",
                "this key's handler is running on the session, and has ended its transaction",
                {.hint = "return the reply: COMMIT and the key's record are execute()'s"}};
  if (impl->connection->pipelines())
    return store::execute_pipelined(impl, hash, operation, handler, options);
  return execute_alone(session, hash, operation, handler, options);
}

std::optional<ExecuteResult> find(Session session, const Operation& operation) {
  validate_operation("find", operation);
  const auto connection = sql::wrap(session, false);
  connection->require_idle("find");
  return look_up(*connection, key_hash(operation), operation);
}

std::uint64_t purge_operations(Session session, const PurgeOptions& options) {
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
