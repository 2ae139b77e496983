#include "store/transaction.h"

#include <cstdio>
#include <utility>

#include "base/failpoint.h"
#include "store/observed.h"

namespace outseal {

using State = sql::OwnTransaction::State;

struct StatementCache::Kept {
  std::shared_ptr<sql::Connection> connection;
};

StatementCache::StatementCache(Session session)
    : kept_{std::make_unique<Kept>(Kept{sql::wrap(session)})} {}
StatementCache::~StatementCache() = default;

namespace {

constexpr const char* kLeaveCommit = "leave COMMIT to Transaction::commit()";

[[noreturn]] void refuse(std::string_view operation, std::string_view message, std::string hint) {
  throw Error{ErrorCode::invalid_argument, operation, message, {.hint = std::move(hint)}};
}

/// Lets go of a transaction at the end of a scope, also when an exception passes.
struct Release {
  std::unique_ptr<sql::OwnTransaction>& own;
  explicit Release(std::unique_ptr<sql::OwnTransaction>& ended) : own{ended} {}
  ~Release() { own = nullptr; }
  Release(const Release&) = delete;
  Release& operator=(const Release&) = delete;
};

}  // namespace

std::shared_ptr<Transaction::Impl> Transaction::Impl::attach(Session session,
                                                             const TransactionOptions& options) {
  options.validate();
  auto impl = std::make_shared<Impl>(session);
  // By the driver's handle: a session that was reconnected or leased anew is another one.
  if (options.statements != nullptr &&
      options.statements->kept_->connection->handle() != sql::handle_of(session))
    throw Error{ErrorCode::invalid_config,
                "begin",
                "the statements belong to another session",
                {.hint = "keep one StatementCache per session"}};
  impl->connection = options.statements != nullptr && options.named_statements
                         ? options.statements->kept_->connection
                         : sql::wrap(session, options.named_statements);
  impl->options = options;
  return impl;
}

std::shared_ptr<Transaction::Impl> Transaction::Impl::connect(Session session,
                                                              const TransactionOptions& options) {
  auto impl = attach(session, options);
  impl->connection->require_idle("begin");
  if (impl->connection->in_transaction())
    refuse("begin", "the session already has a transaction",
           "use Transaction::join(session), or end it first");
  return impl;
}

void Transaction::Impl::begin(std::span<sql::Statement* const> first,
                              std::optional<std::int64_t> keep_lock) {
  own = connection->begin_own({.wait = options.busy_wait,
                               .isolation = options.isolation,
                               .first = first,
                               .keep_lock = keep_lock});
  if (connection->pipelines()) events.emplace(*connection, *own, options.append_at_once);
  connection->set_companion(weak_from_this());
}

void Transaction::Impl::rollback_to_handler() {
  own->rollback_to_handler();
  if (connection->pipelines()) events.emplace(*connection, *own, options.append_at_once);
}

/// A closed session's handle must not be touched. On PostgreSQL `own` knows it by libpq; SQLite
/// cannot have freed a handle that has statements, so no other one has its address.
State Transaction::Impl::state() {
  if (sql::handle_of(session) != connection->handle()) {
    connection->take_over_handle();
    if (!connection->pipelines()) return State::closed;
  }
  return own->state();
}

store::DeferredEvents* Transaction::Impl::queue() {
  if (const auto whose = owner.lock(); whose != nullptr && whose->own != nullptr)
    return whose->queue();
  return own != nullptr && events ? &*events : nullptr;
}

void Transaction::Impl::require_open(std::string_view operation) {
  if (joined) {
    if (const auto whose = owner.lock(); whose != nullptr && whose->own != nullptr)
      return whose->require_open(operation);
    if (sql::handle_of(session) != connection->handle()) fail_ended(operation, State::closed);
    connection->require_idle(operation);
    if (!connection->in_transaction() || !theirs->is_at_hand())
      fail_ended(operation, State::rolled_back);
    return;
  }
  if (own == nullptr) fail_ended(operation, State::rolled_back);
  const State now = state();
  if (now == State::committed) settle_foreign_commit(operation);
  if ((now == State::prepared || now == State::in_doubt) && !in_handler) give_up(operation, now);
  if (now != State::open && now != State::failed) fail_ended(operation, now);
  connection->require_idle(operation);
}

void Transaction::Impl::fail_ended(std::string_view operation, State state) {
  say_again(operation);
  const bool commits = operation == "commit";
  switch (state) {
    case State::closed:
      throw Error{ErrorCode::unreachable,
                  operation,
                  "the session was closed, reconnected or lost while the transaction lived",
                  {.hint = "nothing was committed: run the whole transaction again"}};
    case State::prepared:
      throw Error{ErrorCode::foreign_commit,
                  operation,
                  "the service prepared the transaction for a commit in two phases, without its "
                  "events",
                  {.hint = std::string{"ROLLBACK PREPARED it, and "} + kLeaveCommit}};
    case State::in_doubt:
      throw Error{ErrorCode::commit_in_doubt,
                  operation,
                  own->how_it_ended(),
                  {.hint = own->how_to_find_out()}};
    case State::refused:
      throw Error{commits ? ErrorCode::storage : ErrorCode::invalid_argument,
                  operation,
                  "the transaction has ended: a COMMIT of the service was refused and became a "
                  "rollback",
                  {.hint = kLeaveCommit}};
    default:
      throw Error{commits ? ErrorCode::storage : ErrorCode::invalid_argument,
                  operation,
                  commits ? "the transaction has ended before; nothing of it was committed"
                          : "the transaction has ended",
                  {.hint = "an earlier error, or the service itself, ended it: begin a new one"}};
  }
}

void Transaction::Impl::say_again(std::string_view operation) const {
  if (!end) return;
  throw Error{end->code(),
              operation,
              end->message(),
              {.hint = end->hint(), .detail_code = end->detail_code()}};
}

void Transaction::Impl::commit(std::span<sql::Statement* const> first,
                               const sql::NewRecord* record) {
  CommitCall seen;
  store::observed(options.observer, seen, [&] { commit_unobserved(first, record); });
}

void Transaction::Impl::commit_unobserved(std::span<sql::Statement* const> first,
                                          const sql::NewRecord* record) {
  if (committed)
    throw Error{ErrorCode::internal,
                "commit",
                "the transaction was already committed",
                {.hint = "commit once, last in the block"}};
  if (own == nullptr) fail_ended("commit", State::rolled_back);
  const State now = state();
  if (now == State::committed) settle_foreign_commit("commit");
  if (now != State::open && now != State::failed) give_up("commit", now);
  connection->require_idle("commit");
  std::vector<sql::Statement*> all{first.begin(), first.end()};
  sql::Statement* last = now == State::open && events ? events->flush(record) : nullptr;
  std::optional<sql::StatementScope> use;
  if (last != nullptr) {
    use.emplace(*last);
    all.push_back(last);
  }
  failpoint("service.before_commit");
  try {
    own->commit(options.busy_wait, all, last != nullptr);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::commit_in_doubt) end = error;
    if (end || !connection->in_transaction()) own = nullptr;
    store::throw_clearer(error, "commit", events ? events->subject() : std::string{});
  }
  failpoint("service.after_commit");
  committed = true;
  own = nullptr;
}

void Transaction::Impl::rollback() {
  if (joined)
    refuse("rollback", "the transaction was begun by the service",
           "whoever began it rolls it back: throw an exception to tell them");
  if (committed) refuse("rollback", "the transaction was already committed", "begin a new one");
  say_again("rollback");
  if (own == nullptr) return;
  connection->discard_results();
  const State now = state();
  if (now == State::committed) settle_foreign_commit("rollback");
  if (now == State::prepared || now == State::in_doubt) give_up("rollback", now);
  const Release release{own};
  if (!own->rollback())
    throw Error{ErrorCode::storage,
                "rollback",
                "the database does not let the transaction be rolled back",
                {.hint = "see what interrupts or forbids ROLLBACK on the session, and send it, or"
                         " close the session"}};
}

/// From here on the session is the service's own again.
void Transaction::Impl::give_up(std::string_view operation, State state) {
  const Release release{own};
  try {
    fail_ended(operation, state);
  } catch (const Error& error) {
    if (state == State::prepared || state == State::in_doubt) end = error;
    throw;
  }
}

void Transaction::Impl::abandon() noexcept {
  try {
    if (own != nullptr) rollback();  // Else its end has been reported.
    if (sql::handle_of(session) != connection->handle()) connection->take_over_handle();
  } catch (const Error& error) {
    if (options.observer)
      store::tell(options.observer, UnthrownError{&error});
    else
      static_cast<void>(std::fprintf(stderr, "outseal: %s\n", error.what()));
  } catch (const std::exception&) {  // Out of memory: the session's end undoes the transaction.
  }
}

Transaction::Transaction(Session session, const TransactionOptions& options)
    : impl_{Impl::connect(session, options)} {
  impl_->begin();
}

Transaction::Transaction(std::shared_ptr<Impl> impl) : impl_{std::move(impl)} {}

Transaction Transaction::join(Session session, const TransactionOptions& options) {
  auto impl = Impl::attach(session, options);
  impl->joined = true;
  impl->connection->require_idle("join");
  if (!impl->connection->in_transaction())
    refuse("join", "the session has no transaction", "begin one, or use Transaction{session}");
  impl->theirs = impl->connection->join_open();
  if (const auto whose = std::static_pointer_cast<Impl>(impl->connection->companion());
      whose != nullptr && whose->own != nullptr && whose->state() == State::open)
    impl->owner = whose;
  return Transaction{std::move(impl)};
}

Transaction::~Transaction() { impl_->abandon(); }

void Transaction::commit() {
  if (impl_->in_handler)
    refuse("commit", "the handler must not commit: its caller does",
           "return the reply; rows, events and record then commit together");
  if (!impl_->joined) impl_->commit();
}

void Transaction::rollback() {
  if (impl_->in_handler)
    refuse("rollback", "the handler must not roll back: its caller does",
           "return a final or retryable failure, or throw");
  impl_->rollback();
}

}  // namespace outseal
