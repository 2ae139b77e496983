// execute() on PostgreSQL, in as many round trips as the bare transaction would need:
//
//   1. BEGIN + claim          an advisory lock of the transaction on the key, and the look-up
//   2. the handler's own statements
//   3. the record + the events + COMMIT
//
// The lock makes concurrent duplicates wait early; that a key executes once rests on the record's
// primary key alone. A final failure undoes the handler's rows by ROLLBACK and claims the key anew
// to store its reply: a savepoint would cost every success.
#include <algorithm>
#include <array>
#include <chrono>
#include <exception>
#include <optional>
#include <utility>

#include "base/failpoint.h"
#include "model/limits.h"
#include "outseal/error.h"
#include "store/idempotency.h"

namespace outseal::store {
namespace {

using sql::Query;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// Times that a handler runs again because a concurrent execution of its key was faster: only
/// under REPEATABLE READ, or between the look-up's snapshot and the lock.
constexpr int kLostRacesMax = 10;

constexpr const char* kLostHint =
    "nothing was committed: connect again and run the operation again";

class Execution {
 public:
  Execution(std::shared_ptr<sql::Connection> connection, const std::string& hash,
            const Operation& operation, const Handler& handler, const ExecuteOptions& options)
      : connection_{std::move(connection)},
        hash_{hash},
        operation_{operation},
        handler_{handler},
        options_{options},
        deadline_{steady_clock::now() + options.wait} {
    for (int i = 0; i < 8; ++i)
      lock_ = lock_ << 8U | static_cast<unsigned char>(hash[static_cast<std::size_t>(i)]);
  }

  ExecuteResult run() {
    for (int lost = 0;; ++lost) {
      try {
        if (auto result = attempt()) return std::move(*result);
      } catch (const Error& error) {
        // Somebody else's record came between our look-up and our insert: it answers now.
        if (error.code() != ErrorCode::constraint || lost >= kLostRacesMax ||
            error.message().find("idempotency_pk") == std::string::npos)
          throw;
      }
    }
  }

 private:
  /// One transaction; empty if a final failure is to be stored by another one.
  std::optional<ExecuteResult> attempt() {
    auto impl = std::make_unique<Transaction::Impl>();
    impl->connection = connection_;
    sql::Statement& claim = connection_->statement(Query::claim_operation);
    const sql::Use use{claim};
    claim.bind(0, static_cast<std::int64_t>(lock_));
    claim.bind_blob(1, hash_);
    impl->begin(&claim);
    Transaction tx = Transaction::Impl::make(std::move(impl));
    claim.step();
    bool expired = claim.integer(7) != 0;
    if (claim.integer(1) != 0) return stored_reply(claim, 2, operation_);
    if (claim.integer(0) == 0) {
      if (!wait_for_turn()) return ExecuteResult{Outcome::in_progress, {}};
      if (auto known = look_up(expired)) return known;
    }
    if (!failure_) return run_handler(tx, expired);
    commit(tx, *failure_, expired);
    return ExecuteResult{Outcome::executed, std::move(*failure_)};
  }

  /// Waits for the transaction that executes the key now; false after the deadline.
  bool wait_for_turn() {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline_ - steady_clock::now());
    if (left <= milliseconds{0}) return false;
    const std::string before = set_lock_timeout(std::to_string(left.count()));
    try {
      const sql::Use wait{connection_->statement(Query::lock_operation)};
      wait->bind(0, static_cast<std::int64_t>(lock_));
      wait->step();
    } catch (const Error& error) {
      if (error.detail_code() != "55P03") throw;
      return false;
    }
    set_lock_timeout(before);  // The handler's statements have the session's own.
    return true;
  }

  std::string set_lock_timeout(const std::string& value) {
    const sql::Use set{connection_->statement(Query::wait_for_lock)};
    set->bind_text(0, value);
    set->step();
    return std::string{set->text(0)};
  }

  std::optional<ExecuteResult> look_up(bool& expired) {
    sql::Statement& find = connection_->statement(Query::find_operation);
    const sql::Use use{find};
    find.bind_blob(0, hash_);
    if (!find.step()) return std::nullopt;
    expired = find.integer(5) != 0;
    if (expired) return std::nullopt;
    return stored_reply(find, 0, operation_);
  }

  std::optional<ExecuteResult> run_handler(Transaction& tx, bool expired) {
    failpoint("service.before_handler");
    Reply reply = call_handler(tx);
    failpoint("service.after_handler");
    const sql::Connection::Watched seen = connection_->watched();
    if (seen.lost)
      throw Error{
          ErrorCode::unreachable, "execute", "the connection was lost", {.hint = kLostHint}};
    if (!connection_->in_transaction() || seen.committed || seen.replaced)
      throw Error{ErrorCode::invalid_argument,
                  "execute",
                  "the handler ended the transaction",
                  {.hint = "leave commit and rollback to execute()"}};
    validate_reply(reply, options_);
    if (reply.verdict == Verdict::retryable_failure)
      return ExecuteResult{Outcome::released, std::move(reply)};  // Undone by tx's destructor.
    if (reply.verdict == Verdict::final_failure) {
      failure_ = std::move(reply);
      return std::nullopt;
    }
    commit(tx, reply, expired);
    return ExecuteResult{Outcome::executed, std::move(reply)};
  }

  /// What the handler's own SQL meets must say "run it again" as plainly as what ours does.
  Reply call_handler(Transaction& tx) {
    try {
      return handler_(tx);
    } catch (const Error&) {
      throw;
    } catch (const std::exception&) {  // Kept inside: its text may show values of rows.
      const sql::Connection::Watched seen = connection_->watched();
      if (!seen.conflict && !seen.lost) throw;
      std::throw_with_nested(
          Error{seen.lost ? ErrorCode::unreachable : ErrorCode::conflict,
                "execute",
                seen.lost ? "the connection was lost"
                          : "the handler met a serialization failure or deadlock",
                {.hint = seen.lost ? kLostHint : "run the whole operation again"}});
    }
  }

  void commit(Transaction& tx, const Reply& reply, bool expired) {
    std::array<sql::Statement*, 2> last{};
    std::size_t count = 0;
    if (expired) {
      sql::Statement& remove = connection_->statement(Query::delete_expired_operation);
      remove.reset();
      remove.bind_blob(0, hash_);
      last.at(count++) = &remove;
    }
    sql::Statement& insert = connection_->statement(Query::complete_operation);
    const sql::Use use{insert};
    insert.bind_blob(0, hash_);
    insert.bind_text(1, operation_.scope);
    insert.bind_blob(2, operation_.fingerprint);
    insert.bind_text(3, reply.verdict == Verdict::success ? "succeeded" : "failed");
    insert.bind(4, reply.status);
    insert.bind_blob(5, reply.body);
    insert.bind_text(6, reply.content_type);
    insert.bind(7, milliseconds{options_.retention}.count());
    last.at(count++) = &insert;
    failpoint("service.after_record");
    tx.impl().commit(std::span{last}.first(count));
  }

  std::shared_ptr<sql::Connection> connection_;
  const std::string& hash_;
  const Operation& operation_;
  const Handler& handler_;
  const ExecuteOptions& options_;
  steady_clock::time_point deadline_;
  std::uint64_t lock_ = 0;        ///< The first 8 bytes of the hash.
  std::optional<Reply> failure_;  ///< A final failure that is to be stored.
};

}  // namespace

ExecuteResult execute_pipelined(std::unique_ptr<Transaction::Impl> impl, const std::string& hash,
                                const Operation& operation, const Handler& handler,
                                const ExecuteOptions& options) {
  return Execution{std::move(impl->connection), hash, operation, handler, options}.run();
}

}  // namespace outseal::store
