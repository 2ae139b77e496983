// consume_message(): one message of another transport, once; see store/attempt.h.
#include <algorithm>
#include <functional>
#include <thread>

#include "base/failpoint.h"
#include "model/validation.h"
#include "outseal/consume.h"
#include "outseal/error.h"
#include "store/attempt.h"
#include "store/inbox_page.h"

namespace outseal {
namespace {

constexpr std::chrono::milliseconds kBusyWait{5};

/// How the message is received.
struct Reception {
  std::function<Receipt(Transaction&)> receive;
  /// Whether it looks as if it were new, without a lock.
  std::function<bool(sql::Connection&)> seems_fresh;
  Position last = {};  ///< The position before it, if it has one.
};

class Message {
 public:
  Message(Session session, std::string_view source, const EventId& id, const Reception& reception,
          const MessageOptions& options)
      : session_{session}, source_{source}, event_{id}, reception_{reception}, options_{options} {}

  Receipt consume(const MessageHandler& handler) const {
    if (const auto known = receive_known()) return *known;
    for (;;) {
      const EventId attempt = new_event_id();
      const store::BeginResult begun = begin(attempt);
      if (begun.outcome == store::Begun::busy) {
        std::this_thread::sleep_for(kBusyWait);
        continue;
      }
      if (begun.outcome == store::Begun::discarded) return receive_discarded();
      if (begun.outcome != store::Begun::begun) return {Arrival::parked, reception_.last};
      failpoint("consume.begun");
      if (const auto receipt = handle(attempt, begun.attempts, handler)) return *receipt;
    }
  }

 private:
  /// A duplicate or a gap needs no attempt. Nothing is written; what is new comes below.
  std::optional<Receipt> receive_known() const {
    const auto impl = Transaction::Impl::connect(session_, options_.transaction);
    if (reception_.seems_fresh(*impl->connection)) return std::nullopt;
    Transaction tx{session_, options_.transaction};
    const Receipt receipt = reception_.receive(tx);
    if (receipt.arrival == Arrival::fresh) return std::nullopt;
    return receipt;
  }

  /// Somebody has given up on it: it is received without its effect.
  Receipt receive_discarded() const {
    Transaction tx{session_, options_.transaction};
    Receipt receipt = reception_.receive(tx);
    if (receipt.arrival == Arrival::fresh) receipt.arrival = Arrival::duplicate;
    sql::finish_attempt(store::connection_of(tx), source_, event_);
    tx.commit();
    return receipt;
  }

  /// Notes that an attempt begins, or sets the message aside.
  store::BeginResult begin(const EventId& attempt) const {
    Transaction tx{session_, store::small(options_.transaction)};
    sql::Connection& connection = store::connection_of(tx);
    const auto begun =
        store::begin_attempt(connection, source_, {.id = event_}, attempt, options_.attempts_max);
    if (begun.outcome == store::Begun::exhausted)
      sql::park_attempt(connection, source_, event_, store::parked_reason(begun));
    tx.commit();
    return begun;
  }

  /// @returns nothing if another worker has taken over the attempt in the meantime.
  std::optional<Receipt> handle(const EventId& attempt, std::uint32_t number,
                                const MessageHandler& handler) const {
    std::optional<store::HandlerFailure> failure;
    try {
      Transaction tx{session_, options_.transaction};
      sql::Connection& connection = store::connection_of(tx);
      if (!store::holds_attempt(connection, source_, event_, attempt) &&
          !mutant("no_attempt_check"))
        return std::nullopt;
      const Receipt receipt = reception_.receive(tx);
      if (receipt.arrival == Arrival::fresh)
        failure = store::call_handler(
            tx, "consume", [&] { handler(tx); },
            [&](sql::Connection& beside) {  // What was received is committed with it.
              sql::finish_attempt(beside, source_, event_);
            });
      if (!failure) {
        sql::finish_attempt(connection, source_, event_);
        tx.commit();
        return receipt;
      }
    } catch (const Error& error) {
      if (error.recovery() == Recovery::retry_transaction)
        note([&](sql::Connection& connection) {  // It was nobody's fault.
          if (store::holds_attempt(connection, source_, event_, attempt))
            sql::renew_attempt(connection, source_, event_, number - 1, EventId{});
        });
      else if (error.recovery() == Recovery::fix_first)
        note_failure(attempt, error.what());
      throw;
    }
    note_failure(attempt, failure->reason);
    if (failure->cause) std::rethrow_exception(failure->cause);
    throw Error{ErrorCode::invalid_argument,
                "consume",
                failure->reason,
                {.hint = "let the handler throw when its SQL fails"}};
  }

  void note_failure(const EventId& attempt, std::string_view reason) const {
    note([&](sql::Connection& connection) {
      sql::fail_attempt(connection, source_, event_, attempt, reason);
    });
  }

  /// Without it the next attempt waits a moment, as after a crash.
  void note(const std::function<void(sql::Connection&)>& body) const noexcept {
    try {
      Transaction tx{session_, store::small(options_.transaction)};
      body(store::connection_of(tx));
      tx.commit();
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
    }
  }

  Session session_;
  std::string_view source_;
  EventId event_;
  const Reception& reception_;
  const MessageOptions& options_;
};

Receipt consume_once(Session session, std::string_view source, const EventId& id,
                     const Reception& reception, const MessageHandler& handler,
                     const MessageOptions& options) {
  options.validate();
  store::check_stream("consume", source);
  if (id.is_nil())
    store::refuse_argument("consume", "the message's id is nil", "give the message's own id");
  if (!handler) store::refuse_argument("consume", "the handler is empty", "give one");
  return Message{session, source, id, reception, options}.consume(handler);
}

}  // namespace

void MessageOptions::validate() const {
  ConfigErrors faults{"MessageOptions"};
  faults.check_range("attempts_max", attempts_max, 1, kAttemptsMax);
  faults.raise();
  transaction.validate();
}

Receipt consume_message(Session session, std::string_view source, const EventId& id,
                        const MessageHandler& handler, const MessageOptions& options) {
  const Reception by_id{
      .receive = [&](Transaction& tx) -> Receipt {
        return {receive(tx, source, id) ? Arrival::fresh : Arrival::duplicate, {}};
      },
      .seems_fresh =
          [&](sql::Connection& connection) { return !sql::is_received(connection, source, id); }};
  return consume_once(session, source, id, by_id, handler, options);
}

Receipt consume_message(Session session, std::string_view source, const StreamEvent& event,
                        const MessageHandler& handler, const MessageOptions& options) {
  const Reception by_position{
      .receive = [&](Transaction& tx) { return receive_in_order(tx, source, event); },
      .seems_fresh =
          [&](sql::Connection& connection) {
            const Tail last = sql::read_inbox_position(connection, source);
            return event.position == advance(last.position) && event.previous_id == last.event_id;
          },
      .last =
          Position{event.position.value() - std::min<std::uint64_t>(event.position.value(), 1)}};
  return consume_once(session, source, event.id, by_position, handler, options);
}

}  // namespace outseal
