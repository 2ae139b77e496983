// Operations with effects on SQLite: each step is a transaction that holds the database, looks the
// operation up, decides and writes.
#include <utility>

#include "base/failpoint.h"
#include "operation/effect_core.h"
#include "operation/effect_store.h"
#include "operation/record.h"
#include "operation/run_handler.h"
#include "sql/effect.h"
#include "sql/own_transaction.h"
#include "store/transaction.h"

namespace outseal::operation {
namespace {

class SqliteEffectStore final : public EffectStore {
 public:
  SqliteEffectStore(Session session, const AttemptOptions& options)
      : session_{session}, options_{options} {
    ExecuteOptions& execute = options_.execute;
    if (execute.statements == nullptr) execute.statements = &statements_.emplace(session);
  }

  OperationView load(const std::string& key_hash) override {
    return sql::find_operation_view(*connect()->connection, key_hash);
  }

  std::optional<OperationView> take_over(const OperationId& id, std::int64_t fence,
                                         Milliseconds idle, Milliseconds lease) override {
    Transaction tx = begin();
    Transaction::Impl& impl = tx.impl();
    sql::Connection& connection = *impl.connection;
    OperationView view = sql::find_operation_view(connection, id.key_hash);
    if (view.fence != fence || !attempt::may_take_over(view, idle)) return std::nullopt;
    sql::take_over_operation(connection, id.key_hash,
                             {id.owner, connection.now_ms() + lease.count()});
    failpoint("effect.before_take_over");
    impl.commit();
    failpoint("effect.after_take_over");
    view.state = OperationView::State::in_progress;
    ++view.fence;
    ++view.attempts;
    view.lease_owner = id.owner;
    view.lease_left = lease;
    return view;
  }

  std::optional<std::pair<std::string, std::int64_t>> find_left(const std::string& scope,
                                                                Milliseconds idle) override {
    return sql::find_left_operation(*connect()->connection, scope, idle);
  }

  bool advance(const OperationId& id, const Advance& advance) override {
    auto impl_to_begin = connect();
    // A request leaves behind this commit: it must not be forgotten when the power fails.
    const sql::DurableCommits durable{*impl_to_begin->connection};
    impl_to_begin->begin();
    Transaction tx = Transaction::Impl::make(std::move(impl_to_begin));
    Transaction::Impl& impl = tx.impl();
    sql::Connection& connection = *impl.connection;
    if (!may_advance(connection, id, advance.fence)) return false;
    const std::int64_t now_ms = connection.now_ms();
    const std::int64_t lease_end_ms = now_ms + advance.lease.count();
    const std::int64_t fence = advance.fence.value_or(1);
    if (!advance.fence) begin_operation(connection, id, now_ms);
    if (!settle(connection, id, advance.settled, fence)) return false;
    if (advance.send &&
        !sql::send_effect(connection, id.key_hash, *advance.send, fence, lease_end_ms, now_ms))
      return false;
    if (!advance.sending.empty() &&
        !sql::note_sending(connection, id.key_hash, advance.sending, lease_end_ms))
      return false;
    sql::hold_operation(connection, id.key_hash,
                        {advance.give_back ? std::string_view{} : id.owner, lease_end_ms},
                        advance.hand_over);
    impl.commit();
    return true;
  }

  std::optional<Reply> finish(const OperationId& id, std::optional<std::int64_t> fence,
                              std::span<const Settle> settled, const FinishHandler& handler,
                              const Compensations& compensations) override {
    Transaction tx = begin();
    Transaction::Impl& impl = tx.impl();
    sql::Connection& connection = *impl.connection;
    if (!may_advance(connection, id, fence)) return std::nullopt;
    const std::int64_t started_ms = connection.now_ms();
    sql::set_savepoint(connection);
    Reply reply = run_handler(tx, id.key_hash, options_.execute, handler, [](const Reply&) {});
    if (reply.verdict == Verdict::retryable_failure) {
      impl.rollback();
      return reply;
    }
    if (reply.verdict == Verdict::final_failure) {
      impl.rollback_to_handler();
      append(tx, compensations());
    }
    sql::release_savepoint(connection);
    const sql::NewRecord record = record_of(id, reply);
    if (fence) {
      if (!settle(connection, id, settled, *fence)) return std::nullopt;
      sql::finish_operation(connection, record, connection.now_ms());
    } else {
      sql::insert_operation(connection, record, started_ms);
    }
    store::require_stored(connection, "finish", "idempotency");
    note_in_audit(connection, audit_note_of(record, options_.execute));
    failpoint("service.after_record");
    impl.commit();
    return reply;
  }

 private:
  std::shared_ptr<Transaction::Impl> connect() {
    TransactionOptions options = transaction_options(options_.execute);
    options.busy_wait = options_.execute.wait;
    return Transaction::Impl::connect(session_, options);
  }

  Transaction begin() {
    auto impl = connect();
    impl->begin();
    return Transaction::Impl::make(std::move(impl));
  }

  bool may_advance(sql::Connection& connection, const OperationId& id,
                   const std::optional<std::int64_t>& fence) {
    const OperationView view = sql::find_operation_view(connection, id.key_hash);
    if (!fence) return view.state == OperationView::State::absent;
    return attempt::may_write(view.state, view.fence, *fence);
  }

  static void begin_operation(sql::Connection& connection, const OperationId& id,
                              std::int64_t now_ms) {
    sql::begin_operation(connection,
                         {.key_hash = id.key_hash,
                          .scope = id.operation->scope,
                          .fingerprint = id.operation->fingerprint,
                          .fingerprint_version = id.operation->fingerprint_version,
                          .handle = id.handle},
                         now_ms);
  }

  static bool settle(sql::Connection& connection, const OperationId& id,
                     std::span<const Settle> settled, std::int64_t fence) {
    for (const Settle& each : settled)
      if (!sql::settle_effect(connection, id.key_hash, each, fence, connection.now_ms()))
        return false;
    return true;
  }

  sql::NewRecord record_of(const OperationId& id, const Reply& reply) const {
    return new_record(id.key_hash, id.operation, reply, options_.execute);
  }

  Session session_;
  AttemptOptions options_;
  std::optional<StatementCache> statements_;
};

}  // namespace

std::unique_ptr<EffectStore> make_sqlite_effect_store(Session session,
                                                      const AttemptOptions& options) {
  return std::make_unique<SqliteEffectStore>(session, options);
}

}  // namespace outseal::operation
