// Operations with effects on PostgreSQL, in as few round trips as the bare statements would need:
//
//   load      one SELECT
//   advance   one statement, which is one commit: a SQL function for each change, all of which
//             demand the fence. An intent's commit is durable whatever the session's
//             synchronous_commit, because a request leaves behind it
//   finish    BEGIN · the handler's own statements · outcomes, record, events and COMMIT. A final
//             failure is recorded in a transaction of its own, behind the handler's rollback: the
//             fence, not the transaction, keeps others away
//
// If the connection is lost while a change is committed, nobody knows whether it was: the attempt
// ends there, and nothing outside is done. The next one finds out.
#include <chrono>
#include <utility>
#include <vector>

#include "base/failpoint.h"
#include "model/validation.h"
#include "operation/effect_store.h"
#include "operation/record.h"
#include "operation/run_handler.h"
#include "outseal/error.h"
#include "sql/effect.h"
#include "sql/effect_functions.h"
#include "sql/own_transaction.h"
#include "store/observed.h"
#include "store/transaction.h"

namespace outseal::operation {
namespace {

class PostgresEffectStore final : public EffectStore {
 public:
  PostgresEffectStore(Session session, const AttemptOptions& options)
      : session_{session}, options_{options} {}

  OperationView load(const std::string& key_hash) override {
    const auto impl = connect();
    return sql::find_operation_view(*impl->connection, key_hash);
  }

  std::optional<OperationView> take_over(const OperationId& id, std::int64_t fence,
                                         Milliseconds idle, Milliseconds lease) override {
    const auto impl = connect();
    sql::Connection& connection = *impl->connection;
    failpoint("effect.before_take_over");
    bool taken = false;
    const Milliseconds least = mutant("lease_ignored") ? -std::chrono::hours{24} : idle;
    commit_alone(connection, "begin", [&] {
      taken = sql::take_over_operation(connection, {id.key_hash, fence, id.owner, lease}, least)
                  .has_value();
    });
    if (!taken) return std::nullopt;
    failpoint("effect.after_take_over");
    // A statement of its own: what the one before had to wait for is not in its snapshot.
    return sql::find_operation_view(connection, id.key_hash);
  }

  std::optional<std::pair<std::string, std::int64_t>> find_left(const std::string& scope,
                                                                Milliseconds idle) override {
    const auto impl = connect();
    return sql::find_left_operation(*impl->connection, scope, idle);
  }

  bool advance(const OperationId& id, const Advance& advance) override {
    const auto impl = connect();
    sql::Connection& connection = *impl->connection;
    try {
      commit_alone(connection, "effect", [&] {
        advance.fence ? go_on(connection, id, advance) : begin(connection, id, advance);
      });
    } catch (const Error& error) {
      if (!sql::is_overtaken(error)) throw;
      return false;
    }
    return true;
  }

  std::optional<Reply> finish(const OperationId& id, std::optional<std::int64_t> fence,
                              std::span<const Settle> settled, const FinishHandler& handler,
                              const Compensations& compensations) override {
    const auto impl = connect();
    Transaction tx = Transaction::Impl::make(impl);
    begin_last(*impl);
    const Ending ending{id, fence, settled, compensations};
    Reply reply = run_handler(tx, id.key_hash, options_.execute, handler, [&](const Reply& given) {
      settle_foreign_commit(*impl, ending, given);
    });
    if (reply.verdict == Verdict::retryable_failure) {
      impl->rollback();
      return reply;
    }
    if (reply.verdict == Verdict::final_failure) {
      impl->rollback();
      begin_last(*impl);
      append(tx, compensations());
    }
    failpoint("service.after_record");
    if (!complete(*impl, ending, reply)) return std::nullopt;
    return reply;
  }

 private:
  /// What the last commit records, but for the reply.
  struct Ending {
    const OperationId& id;
    std::optional<std::int64_t> fence;
    std::span<const Settle> settled;
    const Compensations& compensations;
  };

  std::shared_ptr<Transaction::Impl> connect() {
    return Transaction::Impl::connect(session_, transaction_options(options_.execute));
  }

  /// Runs a statement that is a commit of its own.
  template <typename Body>
  void commit_alone(sql::Connection& connection, std::string_view caller, Body&& body) const {
    CommitCall seen;
    store::observed(options_.execute.observer, seen, [&] {
      try {
        body();
      } catch (const Error& error) {
        if (!connection.lost() && error.code() != ErrorCode::unreachable) throw;
        throw Error{ErrorCode::commit_in_doubt,
                    caller,
                    "the connection was lost while the attempt was recorded: " + error.message(),
                    {.hint = "nothing was sent: connect again and make another attempt with the"
                             " same key, which finds out",
                     .detail_code = error.detail_code()}};
      }
    });
  }

  /// The fence to be shown.
  static std::int64_t shown(sql::Connection& connection, const OperationId& id,
                            std::int64_t fence) {
    if (!mutant("no_fence")) return fence;
    return sql::find_operation_view(connection, id.key_hash).fence;
  }

  static void begin(sql::Connection& connection, const OperationId& id, const Advance& advance) {
    if (!advance.send || id.operation == nullptr)
      throw Error{ErrorCode::internal, "effect", "an operation begins with an effect"};
    const Operation& operation = *id.operation;
    sql::begin_operation(connection,
                         {.key_hash = id.key_hash,
                          .scope = operation.scope,
                          .fingerprint = operation.fingerprint,
                          .fingerprint_version = operation.fingerprint_version,
                          .handle = id.handle,
                          .owner = id.owner,
                          .lease = advance.lease},
                         *advance.send);
  }

  static void go_on(sql::Connection& connection, const OperationId& id, const Advance& advance) {
    sql::advance_operation(connection,
                           {.key_hash = id.key_hash,
                            .fence = shown(connection, id, *advance.fence),
                            .owner = advance.give_back ? std::string_view{} : id.owner,
                            .lease = advance.lease},
                           advance);
  }

  static void begin_last(Transaction::Impl& impl) { impl.begin(); }

  /// @returns false if the operation is somebody else's by now; everything is undone then.
  bool complete(Transaction::Impl& impl, const Ending& ending, const Reply& reply) const {
    sql::Connection& connection = *impl.connection;
    const sql::NewRecord record = record_of(ending.id, reply);
    const auto note = audit_note_of(record, options_.execute);
    std::vector<sql::Statement*> first;
    if (note) first.push_back(&sql::insert_pending_audit(connection, *note));
    try {
      if (ending.fence) {
        sql::Statement& finish = sql::finish_operation(
            connection, record, shown(connection, ending.id, *ending.fence), ending.settled);
        const sql::StatementScope use{finish};
        first.push_back(&finish);
        impl.commit(first);
      } else {
        first.push_back(&sql::delete_expired_operation(connection, ending.id.key_hash));
        impl.commit(first, &record);
      }
    } catch (const Error& error) {
      if (!sql::is_overtaken(error) && error.constraint() != "idempotency_pk") throw;
      impl.rollback();
      return false;
    }
    return true;
  }

  /// As PipelinedStore::settle_foreign_commit().
  void settle_foreign_commit(Transaction::Impl& impl, const Ending& ending,
                             const Reply& reply) const {
    using State = sql::OwnTransaction::State;
    if (impl.own == nullptr) return;
    const State state = impl.state();
    if (state == State::in_doubt) impl.require_open("finish");
    if (state != State::committed) return;
    const Reply kept = storable(reply, options_.execute);
    impl.settle_foreign_commit("finish", [&](sql::Connection& beside) {
      const sql::NewRecord record = record_of(ending.id, kept);
      if (ending.fence) {
        const sql::StatementScope finish{
            sql::finish_operation(beside, record, *ending.fence, ending.settled)};
        finish->step();
      } else if (!sql::insert_missing_operation(beside, record)) {
        throw Error{ErrorCode::conflict, "finish", "the key has got another record"};
      }
      if (kept.verdict == Verdict::final_failure)
        store::append_beside(beside, ending.compensations());
      note_in_audit(beside, audit_note_of(record, options_.execute));
    });
  }

  sql::NewRecord record_of(const OperationId& id, const Reply& reply) const {
    return new_record(id.key_hash, id.operation, reply, options_.execute);
  }

  Session session_;
  AttemptOptions options_;
};

}  // namespace

std::unique_ptr<EffectStore> make_postgres_effect_store(Session session,
                                                        const AttemptOptions& options) {
  return std::make_unique<PostgresEffectStore>(session, options);
}

}  // namespace outseal::operation
