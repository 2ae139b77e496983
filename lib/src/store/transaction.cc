#include "store/transaction.h"

#include <cstdio>
#include <exception>
#include <utility>

#include "base/failpoint.h"
#include "outseal/error.h"

namespace outseal {

struct Statements::Kept {
  std::shared_ptr<sql::Connection> connection;
};

Statements::Statements(soci::session& session)
    : kept_{std::make_unique<Kept>(Kept{sql::borrow(session)})} {}
Statements::~Statements() = default;

std::unique_ptr<Transaction::Impl> Transaction::Impl::attach(soci::session& session,
                                                             const TransactionOptions& options) {
  options.validate();
  auto impl = std::make_unique<Impl>();
  // By the driver's handle: a session that was reconnected or leased anew is another one.
  if (options.statements != nullptr &&
      options.statements->kept_->connection->handle() != sql::handle_of(session))
    throw Error{ErrorCode::invalid_config,
                "begin",
                "the statements belong to another session",
                {.hint = "keep one Statements per session"}};
  impl->connection = options.statements != nullptr && options.named_statements
                         ? options.statements->kept_->connection
                         : sql::borrow(session, options.named_statements);
  impl->options = options;
  return impl;
}

std::unique_ptr<Transaction::Impl> Transaction::Impl::connect(soci::session& session,
                                                              const TransactionOptions& options) {
  auto impl = attach(session, options);
  if (impl->connection->in_transaction())
    throw Error{ErrorCode::invalid_argument,
                "begin",
                "the session already has a transaction",
                {.hint = "use Transaction::join(session), or end it first"}};
  return impl;
}

void Transaction::Impl::begin(sql::Statement* first) {
  connection->begin(options.busy_wait, first);
}

void Transaction::Impl::commit(std::span<sql::Statement* const> last) {
  if (committed)
    throw Error{ErrorCode::internal,
                "commit",
                "the transaction was already committed",
                {.hint = "commit once, last in the block"}};
  const sql::Connection::Watched seen = connection->watched();
  if (!connection->in_transaction() || seen.committed || seen.replaced)
    throw Error{ErrorCode::storage,
                "commit",
                "the transaction has ended before",
                {.hint = "an earlier error, or the service itself, ended it"}};
  std::vector<sql::Statement*> all{last.begin(), last.end()};
  if (sql::Statement* flush = events.flush(*connection)) all.push_back(flush);
  failpoint("service.before_commit");
  connection->commit(options.busy_wait, all);
  failpoint("service.after_commit");
  committed = true;
}

Transaction::Transaction(soci::session& session, const TransactionOptions& options)
    : impl_{Impl::connect(session, options)} {
  impl_->begin();
}

Transaction::Transaction(std::unique_ptr<Impl> impl) : impl_{std::move(impl)} {}

Transaction Transaction::join(soci::session& session, const TransactionOptions& options) {
  auto impl = Impl::attach(session, options);
  impl->owned = false;
  if (!impl->connection->in_transaction())
    throw Error{ErrorCode::invalid_argument,
                "join",
                "the session has no transaction",
                {.hint = "begin one, or use Transaction{session}"}};
  return Transaction{std::move(impl)};
}

Transaction::~Transaction() {
  if (!impl_->owned || impl_->committed) return;
  if (impl_->events.any_unsent() && impl_->connection->watched().committed) {
    // Business rows are committed and their events are not: nothing can mend that, and to go on
    // would hide it. As std::thread does with one that was not joined.
    static_cast<void>(
        std::fputs("outseal: a transaction with appended events was committed by other means than "
                   "outseal::Transaction::commit(); its events are lost\n",
                   stderr));
    std::terminate();
  }
  if (impl_->connection->in_transaction()) impl_->connection->rollback();
}

void Transaction::commit() {
  if (impl_->owned) impl_->commit();
}

}  // namespace outseal
