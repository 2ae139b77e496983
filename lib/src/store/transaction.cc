#include "store/transaction.h"

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

Transaction::Transaction(soci::session& session, const TransactionOptions& options)
    : impl_{std::make_unique<Impl>()} {
  options.validate();
  // By the driver's handle: a session that was reconnected or leased anew is another one.
  if (options.statements != nullptr &&
      options.statements->kept_->connection->handle() != sql::handle_of(session))
    throw Error{ErrorCode::invalid_config,
                "begin",
                "the statements belong to another session",
                {.hint = "keep one Statements per session"}};
  impl_->connection =
      options.statements != nullptr ? options.statements->kept_->connection : sql::borrow(session);
  impl_->options = options;
  if (impl_->connection->in_transaction())
    throw Error{ErrorCode::invalid_argument,
                "begin",
                "the session already has a transaction",
                {.hint = "use Transaction::join(session), or end it first"}};
  impl_->connection->begin(options.busy_wait);
}

Transaction::Transaction(std::unique_ptr<Impl> impl) : impl_{std::move(impl)} {}

Transaction Transaction::join(soci::session& session) {
  auto impl = std::make_unique<Impl>();
  impl->connection = sql::borrow(session);
  impl->owned = false;
  if (!impl->connection->in_transaction())
    throw Error{ErrorCode::invalid_argument,
                "join",
                "the session has no transaction",
                {.hint = "begin one, or use Transaction{session}"}};
  return Transaction{std::move(impl)};
}

Transaction::~Transaction() {
  if (impl_->owned && !impl_->committed && impl_->connection->in_transaction())
    impl_->connection->rollback();
}

void Transaction::commit() {
  if (!impl_->owned) return;
  if (impl_->committed)
    throw Error{ErrorCode::internal,
                "commit",
                "the transaction was already committed",
                {.hint = "commit once, last in the block"}};
  if (!impl_->connection->in_transaction())
    throw Error{ErrorCode::storage,
                "commit",
                "the transaction was rolled back before",
                {.hint = "an earlier error made the database roll back; nothing was committed"}};
  failpoint("service.before_commit");
  impl_->connection->commit(impl_->options.busy_wait);
  failpoint("service.after_commit");
  impl_->committed = true;
}

}  // namespace outseal
