// execute(): carries out the commands of the core, on the store of the session's database.
#include <chrono>
#include <exception>
#include <optional>
#include <string>
#include <utility>

#include "base/failpoint.h"
#include "model/validation.h"
#include "operation/core.h"
#include "operation/record.h"
#include "operation/store.h"
#include "outseal/error.h"
#include "outseal/idempotency.h"
#include "store/observed.h"
#include "store/transaction.h"

namespace outseal {
namespace operation {
namespace {

constexpr const char* kLostHint =
    "nothing was committed: connect again and run the operation again";

constexpr const char* kConflict = "the handler met a serialization failure or deadlock";
constexpr const char* kConflictHint = "run the whole operation again";

bool is_conflict(const std::string& state) { return state == "40001" || state == "40P01"; }

/// A handler that runs, for as long as it does: nothing but execute() can end its transaction, and
/// its thread cannot execute the key again on the session.
class Running {
 public:
  Running(Transaction::Impl& impl, const std::string& hash) : impl_{impl}, hash_{hash} {
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

class Execution {
 public:
  Execution(Transaction& tx, const Request& request, const Handler& handler, ExecuteCall& seen)
      : tx_{tx},
        request_{request},
        handler_{handler},
        seen_{seen},
        store_{tx.impl().connection->pipelines() ? make_pipelined_store(tx, request)
                                                 : make_exclusive_store(tx, request)},
        core_{request.options.wait, now()} {}

  ExecuteResult run() {
    for (Command next = core_.start(now());;) {
      const auto input = std::visit([this](const auto& each) { return carry_out(each); }, next);
      if (!input) return result_of(std::get<Answer>(next).outcome, std::move(known_));
      next = core_.on(*input, now());
    }
  }

 private:
  static Milliseconds now() {
    return std::chrono::duration_cast<Milliseconds>(
        std::chrono::steady_clock::now().time_since_epoch());
  }

  std::optional<Input> carry_out(const Claim& claim) {
    ++seen_.attempts;
    known_ = store_->claim(claim.left);
    return Claimed{known_.found};
  }
  std::optional<Input> carry_out(const Wait& wait) {
    return Waited{store_->wait_for_turn(wait.left)};
  }
  std::optional<Input> carry_out(const Run& /*run*/) {
    known_.reply = run_handler();
    return Replied{known_.reply->verdict};
  }
  std::optional<Input> carry_out(const Undo& /*undo*/) {
    store_->undo();
    return Undone{};
  }
  std::optional<Input> carry_out(const Complete& /*complete*/) {
    known_.ended = known_.reply->verdict;
    known_.status = known_.reply->status;
    return Completed{store_->complete(*known_.reply)};
  }
  std::optional<Input> carry_out(const Answer& answer) {
    if (answer.outcome == Outcome::released) tx_.impl().rollback();
    return std::nullopt;
  }
  [[noreturn]] std::optional<Input> carry_out(const Fail& fail);

  /// Runs the handler, and makes sure that its transaction may be completed.
  Reply run_handler() {
    sql::Connection& connection = *tx_.impl().connection;
    failpoint("service.before_handler");
    Reply reply;
    try {
      reply = call_handler();
    } catch (...) {
      connection.discard_results();  // A COMMIT may be among them.
      store_->settle_foreign_commit({.verdict = Verdict::final_failure, .status = 500});
      throw;
    }
    failpoint("service.after_handler");
    store_->settle_foreign_commit(reply);
    try {
      tx_.impl().require_open("execute");
    } catch (const Error&) {  // Perhaps the session has not fetched the answer to its COMMIT.
      connection.discard_results();
      store_->settle_foreign_commit(reply);
      throw;
    }
    validate_reply(reply, request_.options);
    if (reply.verdict != Verdict::retryable_failure) require_no_conflict();
    return reply;
  }

  /// What the handler's own SQL meets must say "run it again" as plainly as what ours does.
  Reply call_handler() {
    const sql::Connection& connection = *tx_.impl().connection;
    try {
      const Running guard{tx_.impl(), request_.hash};
      return handler_(tx_);
    } catch (const Error&) {
      throw;
    } catch (const std::exception&) {  // Kept inside: its text may show values of rows.
      const bool lost = connection.lost();
      const std::string failure = connection.failed_by();
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
    const std::string failure = tx_.impl().connection->failed_by();
    if (is_conflict(failure) && !mutant("no_swallowed_conflict"))
      throw Error{ErrorCode::conflict,
                  "execute",
                  kConflict,
                  {.hint = kConflictHint, .detail_code = failure}};
  }

  Transaction& tx_;
  const Request& request_;
  const Handler& handler_;
  ExecuteCall& seen_;
  std::unique_ptr<OperationStore> store_;
  Core core_;
  Known known_{Found::free};  ///< What the record says, or will say.
};

std::optional<Input> Execution::carry_out(const Fail& fail) {
  if (fail.why == Fail::Why::busy)
    throw Error{ErrorCode::conflict,
                "execute",
                "another writer held the database for " +
                    std::to_string(request_.options.wait.count()) + " ms",
                {.hint = "nothing was done: call again with the same key, or raise"
                         " ExecuteOptions::wait",
                 .detail_code = "5"}};
  // What made the insert fail was committed, and the look-up after it must see that.
  throw Error{ErrorCode::denied,
              "execute",
              "the key has a record that the user may not see",
              {.hint = "see the policies of row-level security in psql: \\d outseal.idempotency; "
                       "drop them, or let the user see all rows: ALTER ROLE ... BYPASSRLS",
               .detail_code = "23505"}};
}

}  // namespace
}  // namespace operation

ExecuteResult execute(Session session, const Operation& operation, const Handler& handler,
                      const ExecuteOptions& options) {
  ExecuteCall seen;
  seen.scope = operation.scope;
  return store::observed(options.observer, seen, [&] {
    options.validate();
    validate_operation("execute", operation);
    if (!handler)
      throw Error{
          ErrorCode::invalid_argument, "execute", "the handler is empty", {.hint = "give one"}};
    const std::string hash = operation::key_hash(operation);
    auto impl = Transaction::Impl::connect(session, {.statements = options.statements,
                                                     .named_statements = options.named_statements,
                                                     .append_at_once = options.append_at_once,
                                                     .isolation = options.isolation,
                                                     .observer = options.observer});
    // Only behind a COMMIT or a reconnect of the handler's own, whose record is still to come.
    if (operation::Running::is(session, hash) && !mutant("no_running_check"))
      throw Error{ErrorCode::invalid_argument,
                  "execute",
                  "this key's handler is running on the session, and has ended its transaction",
                  {.hint = "return the reply: COMMIT and the key's record are execute()'s"}};
    Transaction tx = Transaction::Impl::make(std::move(impl));
    const operation::Request request{hash, operation, options};
    ExecuteResult result = operation::Execution{tx, request, handler, seen}.run();
    seen.outcome = result.outcome;
    if (result.reply) seen.verdict = result.reply->verdict;
    return result;
  });
}

}  // namespace outseal
