// A transaction of ours on a service's session. Its identity is its number, read with BEGIN and
// compared by a statement that travels with COMMIT, which the server skips when that one fails.
#include <libpq-fe.h>

#include <array>

#include "base/failpoint.h"
#include "sql/own_transaction.h"
#include "sql/postgres/pg_connection.h"

namespace outseal::sql::postgres {
namespace {

class PgTransaction final : public OwnTransaction {
 public:
  PgTransaction(PgConnection& connection, std::string identity)
      : connection_{connection},
        activity_{connection.activity()},
        seen_{std::make_shared<Observed>()},
        identity_{std::move(identity)} {
    activity_->current = seen_;
  }

  State state() override {
    if (ended_) return *ended_;
    const PGTransactionStatusType status = seen_->gone ? PQTRANS_UNKNOWN : connection_.status();
    if (status == PQTRANS_ACTIVE) return State::open;  // Nothing runs before that has ended.
    const bool suspect =
        (seen_->suspect && !is_blind()) || activity_->current != seen_ || status == PQTRANS_IDLE;
    if (!suspect && status == PQTRANS_INERROR) return State::failed;
    if (!suspect && status != PQTRANS_UNKNOWN) return State::open;
    if (status == PQTRANS_IDLE || status == PQTRANS_INTRANS) return asked();
    if (seen_->committed) return asked_beside();
    // Nothing can be asked while a transaction has failed. Whoever began another one behind a
    // ROLLBACK ends it.
    if (status == PQTRANS_INERROR && !seen_->begun_anew && activity_->current == seen_)
      return State::failed;
    return *(ended_ = status == PQTRANS_UNKNOWN ? State::closed : State::rolled_back);
  }

  void commit(std::chrono::milliseconds wait, std::span<Statement* const> last,
              bool proven) override {
    std::vector<Statement*> all;
    std::optional<StatementScope> proof;
    if (!proven && !mutant("no_identity")) {
      all.push_back(&prove_transaction(connection_, identity_));
      proof.emplace(*all.front());
    }
    all.insert(all.end(), last.begin(), last.end());
    try {
      connection_.commit(wait, all);
      ended_ = State::committed;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::commit_in_doubt) throw;
      ended_ = State::in_doubt;
      throw Error{error.code(),
                  error.operation(),
                  error.message(),
                  {.hint = how_to_find_out(), .detail_code = error.detail_code()}};
    }
  }

  bool rollback() noexcept override {
    try {
      const State now = state();
      if (now != State::open && now != State::failed) return true;
      connection_.rollback();
      if (connection_.in_transaction()) return false;
      ended_ = State::rolled_back;
    } catch (const std::exception&) {  // The connection is gone, and the transaction with it.
    }
    return true;
  }

  void rollback_to_handler() override {
    const Observed before = *seen_;
    try {
      connection_.simple(rollback_to_savepoint().postgres, "execute");
    } catch (const Error& error) {
      if (error.detail_code() != "3B001") throw;  // Else it is another one, which has failed.
      ended_ = State::rolled_back;
      throw Error{ErrorCode::invalid_argument,
                  "execute",
                  "the transaction has ended",
                  {.hint = "the handler ended it: leave COMMIT and ROLLBACK to execute()"}};
    }
    *seen_ = before;                             // A return of ours raises no suspicion.
    seen_->savepoint = seen_->returned = false;  // The handler's own are gone with its rows.
  }

  std::string how_to_find_out() const override {
    return OwnTransaction::how_to_find_out() + "; or ask the server: SELECT pg_xact_status('" +
           identity_ + "')";
  }

  std::string_view identity() const override { return identity_; }
  void identify(std::string_view identity) override { identity_ = identity; }
  bool has_savepoint() const override { return seen_->savepoint; }
  bool take_return() override { return std::exchange(seen_->returned, false); }

 private:
  static bool is_blind() { return mutant("no_watch") || mutant("no_identity"); }

  /// Asks on the session itself: whatever transaction it is in now takes no harm.
  State asked() {
    if (identity_.empty()) return *(ended_ = State::rolled_back);
    TransactionFate fate;
    try {
      fate = find_fate(connection_, identity_);
    } catch (const Error&) {
      if (seen_->committed) return asked_beside();  // Lost, or the service's settings forbid it.
      throw;
    }
    if (fate.is_at_hand) {
      seen_->suspect = false;
      return State::open;
    }
    return *(ended_ = fate.state);
  }

  /// Asks by another connection: the session cannot answer, and its COMMIT may have been ours.
  State asked_beside() {
    State state = State::in_doubt;
    if (const auto other = connection_.open_beside(); other != nullptr && !identity_.empty()) {
      try {
        state = find_fate(*other, identity_).state;
      } catch (const Error&) {  // Still in doubt.
      }
    }
    return *(ended_ = state);
  }

  PgConnection& connection_;
  std::shared_ptr<SessionActivity> activity_;
  std::shared_ptr<Observed> seen_;
  std::string identity_;
  std::optional<State> ended_;  ///< Known for good.
};

class PgJoined final : public JoinedTransaction {
 public:
  explicit PgJoined(std::shared_ptr<SessionActivity> activity)
      : activity_{std::move(activity)}, number_{activity_->transaction} {}
  bool is_at_hand() override {
    return mutant("no_joined_identity") || activity_->transaction == number_;
  }

 private:
  std::shared_ptr<SessionActivity> activity_;
  std::uint64_t number_;
};

}  // namespace

std::unique_ptr<JoinedTransaction> PgConnection::join_open() {
  return std::make_unique<PgJoined>(activity_);
}

std::unique_ptr<OwnTransaction> PgConnection::begin_own(const Begin& begin) {
  require_idle("begin");
  activity_->current = nullptr;  // Its last transaction has ended, whatever it was.
  const Text& text = begin_text(begin.isolation);
  if (begin.keep_lock) {
    begin_again(text.postgres, *begin.keep_lock, begin.first);
    return std::make_unique<PgTransaction>(*this, std::string{});
  }
  std::vector<Step> steps{{nullptr, as_ours(&statement(text))}};
  for (Statement* statement : begin.first) steps.push_back({nullptr, as_ours(statement)});
  // Prepared, in a pipeline: as a second text of the same query it would cost four times as much.
  std::optional<StatementScope> number;
  if (begin.first.empty()) {
    number.emplace(current_transaction(*this));
    steps.push_back({nullptr, as_ours(number->operator->())});
  }
  pipeline_anew(steps, "begin");
  std::string identity;
  if (number) identity = read_identity(*number->operator->());
  return std::make_unique<PgTransaction>(*this, std::move(identity));
}

/// The lock is the session's own for the length of this pipeline, which even a pooler hands to one
/// server session as a whole.
void PgConnection::begin_again(const char* begin, std::int64_t lock,
                               std::span<Statement* const> first) {
  const std::string argument = "(" + std::to_string(lock) + ")";
  const std::string keep = "SELECT pg_catalog.pg_advisory_lock" + argument;
  const std::string give_back = "SELECT pg_catalog.pg_advisory_unlock" + argument;
  std::vector<Step> steps{{keep.c_str(), nullptr}, {"ROLLBACK", nullptr}, {begin, nullptr}};
  for (Statement* statement : first) steps.push_back({nullptr, as_ours(statement)});
  steps.push_back({give_back.c_str(), nullptr});
  try {
    pipeline(steps, "begin");
  } catch (const Error&) {
    // In one message, for a pooler.
    if (!lost()) Result{PQexec(handle_, ("ROLLBACK;" + give_back).c_str())};
    throw;
  }
}

}  // namespace outseal::sql::postgres
