// An operation on PostgreSQL, in as many round trips as the bare transaction would need:
//
//   1. BEGIN + claim          an advisory lock of the transaction on the key, and the look-up;
//      + savepoint            what the handler does can be undone without losing the lock
//   2. the handler's own statements
//   3. the record + the events + COMMIT
//
// The lock makes concurrent duplicates wait, until the record is committed: also for a final
// failure, which goes back to the savepoint and stores its record in the same transaction. That a
// key executes once rests on the record's primary key alone.
#include <array>
#include <utility>
#include <vector>

#include "base/failpoint.h"
#include "model/validation.h"
#include "operation/store.h"
#include "outseal/error.h"
#include "sql/own_transaction.h"

namespace outseal::operation {
namespace {

/// The SQLSTATE lock_not_available: a wait was longer than lock_timeout.
constexpr std::string_view kLockTimeout = "55P03";

class PipelinedStore final : public OperationStore {
 public:
  PipelinedStore(Transaction& tx, const Request& request)
      : OperationStore{tx, request}, lock_{lock_of(request.hash)} {}

  Known claim(Milliseconds /*left: it does not wait*/) override {
    sql::Statement& claim = sql::claim_operation(connection(), lock_, request_.hash);
    const sql::StatementScope use{claim};
    const std::array first{&claim, &sql::savepoint(connection())};
    // A lock that was waited for was taken inside the savepoint, and above READ COMMITTED nothing
    // newer than the first look-up would be seen: look again in another transaction.
    const bool keeps_lock = std::exchange(has_waited_, false);
    impl_.begin(first, keeps_lock ? std::optional{lock_} : std::nullopt);
    sql::OperationClaim found = sql::read_claim(claim);
    has_expired_ = found.record && !sql::counts(connection(), *found.record, request_.hash);
    if (found.record && !has_expired_)
      return read_record(std::move(*found.record), request_.hash, request_.operation);
    if (!found.has_lock) return {Found::taken};
    impl_.own->identify(found.transaction);
    return {Found::free};
  }

  bool wait_for_turn(Milliseconds left) override {
    try {
      sql::limit_lock_waits(connection(), left);
      sql::lock_operation(connection(), lock_);
    } catch (const Error& error) {
      if (error.detail_code() != kLockTimeout) throw;
      return false;
    }
    return has_waited_ = true;
  }

  bool complete(const Reply& reply) override {
    const sql::NewRecord record = record_of(reply);
    const auto note = audit_note_of(record, request_.options);
    std::vector<sql::Statement*> first;
    if (note) first.push_back(&sql::insert_pending_audit(connection(), *note));
    if (has_expired_) first.push_back(&sql::delete_expired_operation(connection(), request_.hash));
    failpoint("service.after_record");
    try {
      impl_.commit(first, &record);
    } catch (const Error& error) {
      if (error.table() != "outseal.idempotency" || error.constraint() != "idempotency_pk") throw;
      impl_.rollback();
      return false;
    }
    return true;
  }

  void settle_foreign_commit(const Reply& reply) override {
    using State = sql::OwnTransaction::State;
    if (impl_.own == nullptr) return;  // What has become of it is known, and told again.
    const State state = impl_.state();
    if (state == State::in_doubt) impl_.require_open("execute");
    if (state != State::committed) return;
    const Reply kept = storable(reply, request_.options);
    impl_.settle_foreign_commit("execute", [&](sql::Connection& beside) {
      const sql::NewRecord record = record_of(kept);
      if (sql::insert_missing_operation(beside, record))
        return note_in_audit(beside, audit_note_of(record, request_.options));
      const auto found = sql::find_operation(beside, request_.hash);
      if (!found) store::throw_dropped("execute", store::name_of_table(beside, "idempotency"));
      throw Error{ErrorCode::conflict, "execute",
                  "another execution of the key has stored its own, with status " +
                      std::to_string(found->status)};
    });
  }

 private:
  sql::Connection& connection() const { return *impl_.connection; }

  std::int64_t lock_;
  bool has_waited_ = false;   ///< The lock was waited for, and came.
  bool has_expired_ = false;  ///< The key has a record that no longer counts.
};

}  // namespace

std::unique_ptr<OperationStore> make_pipelined_store(Transaction& tx, const Request& request) {
  return std::make_unique<PipelinedStore>(tx, request);
}

}  // namespace outseal::operation
