// An operation on SQLite: the key's turn is the database's one write lock, which BEGIN takes. The
// record is one row; a crash leaves nothing.
//
// A known key is answered from a plain read, so a repetition neither waits for a writer nor is one.
#include <algorithm>
#include <thread>
#include <utility>

#include "base/failpoint.h"
#include "operation/store.h"
#include "outseal/error.h"
#include "sql/own_transaction.h"

namespace outseal::operation {
namespace {

using namespace std::chrono_literals;

/// How long one attempt to begin may wait before the record is looked up without a lock.
constexpr Milliseconds kBeginSlice{20};

class ExclusiveStore final : public OperationStore {
 public:
  using OperationStore::OperationStore;

  Known claim(Milliseconds left) override {
    std::optional<Known> known;
    if (!std::exchange(has_looked_, true)) known = look_up_beside_writer();
    if (known) return std::move(*known);
    try {
      impl_.options.busy_wait = std::clamp(left, 0ms, kBeginSlice);
      impl_.begin();
      known = look_up(connection(), request_.hash, request_.operation);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::conflict) throw;
      // Somebody writes. If that was this key's first execution and is done, answer without a lock.
      known = look_up_beside_writer();
    }
    if (known) return std::move(*known);
    if (impl_.own == nullptr) return {Found::busy};
    impl_.options.busy_wait = request_.options.wait;
    started_ms_ = connection().now_ms();
    sql::set_savepoint(connection());
    return {Found::free};
  }

  bool wait_for_turn(Milliseconds /*left*/) override {
    std::this_thread::sleep_for(2ms);
    return true;
  }

  bool complete(const Reply& reply) override {
    sql::release_savepoint(connection());
    const sql::NewRecord record = record_of(reply);
    sql::insert_operation(connection(), record, started_ms_);
    store::require_stored(connection(), "execute", "idempotency");
    note_in_audit(connection(), audit_note_of(record, request_.options));
    failpoint("service.after_record");
    impl_.commit();
    return true;
  }

 private:
  sql::Connection& connection() const { return *impl_.connection; }

  /// Empty also if the writer locks readers out.
  std::optional<Known> look_up_beside_writer() {
    const sql::WithoutBusyTimeout ours_counts{connection()};
    try {
      return look_up(connection(), request_.hash, request_.operation);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::conflict) throw;
      return std::nullopt;
    }
  }

  bool has_looked_ = false;
  std::int64_t started_ms_ = 0;
};

}  // namespace

std::unique_ptr<OperationStore> make_exclusive_store(Transaction& tx, const Request& request) {
  return std::make_unique<ExclusiveStore>(tx, request);
}

}  // namespace outseal::operation
