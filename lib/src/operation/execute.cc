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
#include "operation/run_handler.h"
#include "operation/store.h"
#include "outseal/error.h"
#include "outseal/idempotency.h"
#include "store/observed.h"
#include "store/transaction.h"

namespace outseal {
namespace operation {
namespace {

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
    known_.reply = run_handler(tx_, request_.hash, request_.options, handler_,
                               [&](const Reply& reply) { store_->settle_foreign_commit(reply); });
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
    auto impl = Transaction::Impl::connect(session, operation::transaction_options(options));
    // Only behind a COMMIT or a reconnect of the handler's own, whose record is still to come.
    if (operation::is_running(session, hash) && !mutant("no_running_check"))
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
