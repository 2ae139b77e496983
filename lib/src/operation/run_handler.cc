#include "operation/run_handler.h"

#include <exception>
#include <utility>

#include "base/failpoint.h"
#include "model/validation.h"
#include "outseal/error.h"
#include "store/handler.h"

namespace outseal::operation {
namespace {

constexpr const char* kLostHint =
    "nothing was committed: connect again and run the operation again";

constexpr const char* kConflict = "the handler met a serialization failure or deadlock";
constexpr const char* kConflictHint = "run the whole operation again";

using store::is_conflict;

/// A handler that runs, for as long as it does: nothing but execute() can end its transaction, and
/// its thread cannot execute the key again on the session.
class Running {
 public:
  Running(Transaction::Impl& impl, const std::string& hash)
      : in_handler_{impl}, session_{impl.session}, hash_{hash} {
    innermost = this;
  }
  ~Running() { innermost = outer_; }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  static bool is(Session session, const std::string& hash) {
    for (const Running* one = innermost; one != nullptr; one = one->outer_)
      if (sql::handle_of(one->session_) == sql::handle_of(session) && one->hash_ == hash)
        return true;
    return false;
  }

 private:
  static thread_local const Running* innermost;

  const store::InHandler in_handler_;
  const Session session_;
  const std::string& hash_;
  const Running* outer_ = innermost;
};
thread_local const Running* Running::innermost = nullptr;

/// What the handler's own SQL meets must say "run it again" as plainly as what ours does.
Reply call_handler(Transaction& tx, const std::string& key_hash, const Handler& handler) {
  const sql::Connection& connection = *tx.impl().connection;
  try {
    const Running guard{tx.impl(), key_hash};
    return handler(tx);
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

/// A handler that passed over a conflict decided on rows that were not to be had: its final failure
/// must not be stored either.
void require_no_conflict(const sql::Connection& connection) {
  const std::string failure = connection.failed_by();
  if (is_conflict(failure) && !mutant("no_swallowed_conflict"))
    throw Error{
        ErrorCode::conflict, "execute", kConflict, {.hint = kConflictHint, .detail_code = failure}};
}

}  // namespace

Reply run_handler(Transaction& tx, const std::string& key_hash, const ExecuteOptions& options,
                  const Handler& handler, const SettleForeignCommit& settle_foreign_commit) {
  sql::Connection& connection = *tx.impl().connection;
  failpoint("service.before_handler");
  Reply reply;
  try {
    reply = call_handler(tx, key_hash, handler);
  } catch (...) {
    connection.discard_results();  // A COMMIT may be among them.
    settle_foreign_commit({.verdict = Verdict::final_failure, .status = 500});
    throw;
  }
  failpoint("service.after_handler");
  settle_foreign_commit(reply);
  try {
    tx.impl().require_open("execute");
  } catch (const Error&) {  // Perhaps the session has not fetched the answer to its COMMIT.
    connection.discard_results();
    settle_foreign_commit(reply);
    throw;
  }
  validate_reply(reply, options);
  if (reply.verdict != Verdict::retryable_failure) require_no_conflict(connection);
  return reply;
}

bool is_running(Session session, const std::string& key_hash) {
  return Running::is(session, key_hash);
}

}  // namespace outseal::operation
