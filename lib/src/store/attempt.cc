#include "store/attempt.h"

#include <utility>

#include "base/failpoint.h"
#include "base/text.h"
#include "store/handler.h"

namespace outseal::store {
namespace {

using State = sql::OwnTransaction::State;

constexpr std::size_t kReasonBytesMax = 1'000;
constexpr int kInsertTries = 20;

HandlerFailure failure_of(std::string_view reason, std::exception_ptr cause) {
  return {plain_text(reason, kReasonBytesMax), std::move(cause)};
}

/// An exception of a handler that is not due to the database.
HandlerFailure judge(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const Error& error) {
    if (!is_events_own(error.code())) throw;
    return failure_of(error.what(), thrown);
  } catch (const std::exception& error) {
    return failure_of(error.what(), thrown);
  } catch (...) {
    return failure_of("the handler threw something that is no std::exception", thrown);
  }
}

/// Throws `error` with what the handler has thrown inside, if it has.
[[noreturn]] void throw_around(const std::exception_ptr& thrown, const Error& error) {
  if (!thrown) throw Error{error};
  try {
    std::rethrow_exception(thrown);
  } catch (...) {
    std::throw_with_nested(error);
  }
}

/// A handler that returned without an exception may have passed over an error.
std::optional<HandlerFailure> look_after(Transaction::Impl& impl, std::string_view operation) {
  try {
    impl.require_open(operation);
  } catch (const Error& error) {
    if (!is_events_own(error.code())) throw;
    return failure_of(error.message(), nullptr);
  }
  const std::string failed_by = impl.connection->failed_by();
  if (failed_by.empty()) return std::nullopt;
  return failure_of("the handler passed over an error of the database, SQLSTATE " + failed_by,
                    nullptr);
}

}  // namespace

BeginResult begin_attempt(sql::Connection& connection, std::string_view stream,
                          const sql::AttemptedEvent& event, const EventId& attempt,
                          std::uint32_t attempts_max) {
  for (int tries = 1;; ++tries) {
    const auto row = sql::lock_attempt(connection, stream, event.id, kAttemptGrace);
    if (!row) {
      if (sql::insert_attempt(connection, stream, event, attempt)) return {Begun::begun, 1};
      // Others may have made and finished it in between; a trigger drops it every time.
      if (tries == kInsertTries)
        throw_dropped("consume", name_of_table(connection, "inbox_attempt"));
      continue;
    }
    const BeginResult found{Begun::begun, row->attempts, row->reason};
    const auto as = [&](Begun outcome) {
      return BeginResult{outcome, found.attempts, found.reason};
    };
    if (row->state == ParkedState::discarded) return as(Begun::discarded);
    if (row->state == ParkedState::parked) return as(Begun::parked);
    const bool is_same = row->attempt == attempt;
    if (!is_same && !row->attempt.is_nil() && row->is_recent && !mutant("no_attempt_grace"))
      return as(Begun::busy);
    if (!is_same && row->attempts >= attempts_max && !mutant("no_attempts_max"))
      return as(Begun::exhausted);
    const std::uint32_t number = row->attempts + (is_same ? 0 : 1);
    sql::renew_attempt(connection, stream, event.id, number, attempt);
    require_stored(connection, "consume", "inbox_attempt");
    return {Begun::begun, number, row->reason};
  }
}

bool holds_attempt(sql::Connection& connection, std::string_view stream, const EventId& event,
                   const EventId& attempt) {
  const auto row = sql::lock_attempt(connection, stream, event);
  return row && row->attempt == attempt;
}

std::string parked_reason(const BeginResult& begun) {
  std::string reason = "begun " + std::to_string(begun.attempts) + " times and never finished";
  if (!begun.reason.empty()) reason += "; last failure: " + begun.reason;
  return plain_text(reason, kReasonBytesMax);
}

bool is_events_own(ErrorCode code) {
  return code == ErrorCode::invalid_argument || code == ErrorCode::constraint;
}

std::optional<HandlerFailure> call_handler(Transaction& tx, std::string_view operation,
                                           const std::function<void()>& handler,
                                           const std::function<void(sql::Connection&)>& record) {
  Transaction::Impl& impl = tx.impl();
  sql::Connection& connection = *impl.connection;
  std::exception_ptr thrown;
  failpoint("consume.before_handler");
  try {
    const InHandler guard{impl};
    handler();
  } catch (...) {
    thrown = std::current_exception();
    connection.discard_results();  // A COMMIT may be among them.
  }
  failpoint("consume.after_handler");
  const State state = impl.own == nullptr ? State::rolled_back : impl.state();
  if (state == State::committed) impl.settle_foreign_commit(operation, record);
  if (state == State::in_doubt || state == State::prepared || state == State::closed)
    impl.require_open(operation);  // Throws.
  if (connection.lost())
    throw_around(thrown, Error{ErrorCode::unreachable,
                               operation,
                               "the connection was lost",
                               {.hint = "nothing was committed: connect again"}});
  if (const std::string failure = connection.failed_by(); is_conflict(failure))
    throw_around(thrown,
                 Error{ErrorCode::conflict,
                       operation,
                       "the handler met a serialization failure or deadlock",
                       {.hint = "run the whole transaction again", .detail_code = failure}});
  return thrown ? std::optional{judge(thrown)} : look_after(impl, operation);
}

TransactionOptions small(TransactionOptions options) {
  options.isolation = Isolation::read_committed;
  options.observer = {};
  return options;
}

}  // namespace outseal::store
