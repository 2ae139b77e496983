// execute() on PostgreSQL, in as many round trips as the bare transaction would need:
//
//   1. BEGIN + claim          an advisory lock of the transaction on the key, and the look-up;
//      + savepoint            what the handler does can be undone without losing the lock
//   2. the handler's own statements
//   3. the record + the events + COMMIT
//
// The lock makes concurrent duplicates wait, until the record is committed: also for a final
// failure, which goes back to the savepoint and stores its record in the same transaction. That a
// key executes once rests on the record's primary key alone.
#include <algorithm>
#include <array>
#include <chrono>
#include <exception>
#include <optional>
#include <utility>
#include <vector>

#include "base/failpoint.h"
#include "model/validation.h"
#include "outseal/error.h"
#include "sql/operation.h"
#include "sql/own_transaction.h"
#include "store/idempotency.h"

namespace outseal::store {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// Times that a handler runs again because a concurrent execution of its key was faster: only
/// under REPEATABLE READ, or between the look-up's snapshot and the lock.
constexpr int kLostRacesMax = 10;

constexpr const char* kLostHint =
    "nothing was committed: connect again and run the operation again";

constexpr const char* kConflict = "the handler met a serialization failure or deadlock";
constexpr const char* kConflictHint = "run the whole operation again";

class Execution {
 public:
  Execution(const Transaction::Impl& begun_on, const std::string& hash, const Operation& operation,
            const Handler& handler, const ExecuteOptions& options)
      : session_{begun_on.session},
        connection_{begun_on.connection},
        hash_{hash},
        operation_{operation},
        handler_{handler},
        options_{options},
        deadline_{steady_clock::now() + options.wait} {
    std::uint64_t first = 0;
    for (const char byte : hash.substr(0, 8))
      first = first << 8U | static_cast<unsigned char>(byte);
    lock_ = static_cast<std::int64_t>(first);
  }

  ExecuteResult run() {
    for (int lost = 0; lost <= kLostRacesMax; ++lost)
      if (auto result = attempt()) return std::move(*result);
    // What made the insert fail was committed, and the look-up after it must see that.
    throw Error{ErrorCode::denied,
                "execute",
                "the key has a record that the user may not see",
                {.hint = "see the policies of row-level security in psql: \\d outseal.idempotency; "
                         "drop them, or let the user see all rows: ALTER ROLE ... BYPASSRLS",
                 .detail_code = "23505"}};
  }

 private:
  /// One transaction; empty if another execution's record came between our look-up and our insert:
  /// it answers the next time.
  std::optional<ExecuteResult> attempt() {
    sql::Statement& claim = sql::claim_operation(*connection_, lock_, hash_);
    const sql::StatementScope use{claim};
    const std::array first{&claim, &sql::savepoint(*connection_)};
    auto impl = std::make_shared<Transaction::Impl>(session_);
    impl->connection = connection_;
    impl->options.isolation = options_.isolation;
    impl->options.append_at_once = options_.append_at_once;
    impl->begin(first);
    Transaction tx = Transaction::Impl::make(impl);
    sql::OperationClaim found = sql::read_claim(claim);
    if (!found.record && !found.has_lock) {
      if (!wait_for_turn()) return ExecuteResult{Outcome::in_progress};
      // The lock was taken inside the savepoint, and above READ COMMITTED nothing newer than the
      // first look-up would be seen: look again in another transaction.
      impl->begin(first, lock_);
      found = sql::read_claim(claim);
    }
    if (found.record) return stored_reply(std::move(*found.record), operation_);
    impl->own->identify(found.transaction);
    return run_handler(tx, found.has_expired);
  }

  /// Waits for the transaction that executes the key now; false after the deadline.
  bool wait_for_turn() {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline_ - steady_clock::now());
    if (left <= milliseconds{0}) return false;
    try {
      sql::limit_lock_waits(*connection_, left);
      sql::lock_operation(*connection_, lock_);
    } catch (const Error& error) {
      if (error.detail_code() != "55P03") throw;
      return false;
    }
    return true;
  }

  std::optional<ExecuteResult> run_handler(Transaction& tx, bool expired) {
    failpoint("service.before_handler");
    Reply reply;
    try {
      reply = call_handler(tx);
    } catch (...) {
      connection_->discard_results();  // A COMMIT may be among them.
      settle_foreign_commit(tx, {.verdict = Verdict::final_failure, .status = 500});
      throw;
    }
    failpoint("service.after_handler");
    settle_foreign_commit(tx, reply);
    try {
      tx.impl().require_open("execute");
    } catch (const Error&) {  // Perhaps the session has not fetched the answer to its COMMIT.
      connection_->discard_results();
      settle_foreign_commit(tx, reply);
      throw;
    }
    validate_reply(reply, options_);
    if (reply.verdict == Verdict::retryable_failure)
      return ExecuteResult{Outcome::released, std::move(reply)};  // Undone by tx's destructor.
    require_no_conflict();
    if (reply.verdict == Verdict::final_failure) tx.impl().rollback_to_handler();
    if (!commit(tx, reply, expired)) return std::nullopt;
    return ExecuteResult{Outcome::executed, std::move(reply)};
  }

  /// What the handler's own SQL meets must say "run it again" as plainly as what ours does.
  Reply call_handler(Transaction& tx) {
    try {
      return call(handler_, tx, hash_);
    } catch (const Error&) {
      throw;
    } catch (const std::exception&) {  // Kept inside: its text may show values of rows.
      const bool lost = connection_->lost();
      const std::string failure = connection_->failed_by();
      if (!lost && !is_conflict(failure)) throw;
      std::throw_with_nested(
          Error{lost ? ErrorCode::unreachable : ErrorCode::conflict,
                "execute",
                lost ? "the connection was lost" : kConflict,
                {.hint = lost ? kLostHint : kConflictHint, .detail_code = failure}});
    }
  }

  /// A handler that passed over a conflict decided on rows that were not to be had: its final
  /// failure must not be stored either.
  void require_no_conflict() const {
    const std::string failure = connection_->failed_by();
    if (is_conflict(failure) && !mutant("no_swallowed_conflict"))
      throw Error{ErrorCode::conflict,
                  "execute",
                  kConflict,
                  {.hint = kConflictHint, .detail_code = failure}};
  }
  static bool is_conflict(const std::string& state) { return state == "40001" || state == "40P01"; }

  /// A COMMIT of the handler's own has kept its rows: a record is stored whatever it replied, so
  /// that no retry runs it again.
  void settle_foreign_commit(Transaction& tx, const Reply& reply) {
    using State = sql::OwnTransaction::State;
    if (tx.impl().own == nullptr) return;  // What has become of it is known, and told again.
    const State state = tx.impl().state();
    if (state == State::in_doubt) tx.impl().require_open("execute");
    if (state != State::committed) return;
    const Reply kept = storable(reply);
    tx.impl().settle_foreign_commit("execute", [&](sql::Connection& beside) {
      if (sql::insert_missing_operation(beside, record_of(kept))) return;
      const auto found = sql::find_operation(beside, hash_);
      if (!found) throw_dropped("execute", name_of_table(beside, "idempotency"));
      throw Error{ErrorCode::conflict, "execute",
                  "another execution of the key has stored its own, with status " +
                      std::to_string(found->status)};
    });
  }

  /// A reply that breaks its limits says nothing that could be kept.
  Reply storable(const Reply& reply) const {
    try {
      validate_reply(reply, options_);
      return reply;
    } catch (const Error&) {
      return {.verdict = Verdict::final_failure, .status = 500};
    }
  }

  sql::NewRecord record_of(const Reply& reply) const {
    return new_record(hash_, operation_, reply, options_);
  }

  /// False if another execution's record is there already; nothing is committed then.
  bool commit(Transaction& tx, const Reply& reply, bool expired) {
    std::vector<sql::Statement*> first;
    if (expired) first.push_back(&sql::delete_expired_operation(*connection_, hash_));
    failpoint("service.after_record");
    try {
      const sql::NewRecord record = record_of(reply);
      tx.impl().commit(first, &record);
    } catch (const Error& error) {
      if (error.table() != "outseal.idempotency" || error.constraint() != "idempotency_pk") throw;
      return false;
    }
    return true;
  }

  Session session_;
  std::shared_ptr<sql::Connection> connection_;
  const std::string& hash_;
  const Operation& operation_;
  const Handler& handler_;
  const ExecuteOptions& options_;
  steady_clock::time_point deadline_;
  std::int64_t lock_ = 0;  ///< The first 8 bytes of the hash.
};

}  // namespace

ExecuteResult execute_pipelined(const std::shared_ptr<Transaction::Impl>& impl,
                                const std::string& hash, const Operation& operation,
                                const Handler& handler, const ExecuteOptions& options) {
  return Execution{*impl, hash, operation, handler, options}.run();
}

}  // namespace outseal::store
