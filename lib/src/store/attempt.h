// Attempts to handle an event, as consume() and consume_message() make them.
//
// 1. A small transaction notes that an attempt has begun, under an id of its own.
// 2. The handler's transaction looks whether that is still the attempt at hand, and if so, handles
//    the event and forgets the attempt, all in one commit.
// 3. If the handler fails, a small transaction notes why. If the process dies, nobody does.
//
// Whoever finds an attempt that was begun and not reported as failed cannot know whether it is dead
// or about to begin its transaction (2.); once begun, that one holds a lock. So it waits for
// kAttemptGrace. A worker that sleeps longer than that in between finds another attempt than its
// own, and starts over: no event takes effect twice, and no event is parked before its attempts
// have all had that long. Chosen by us: a thousand times what lies in between.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "outseal/error.h"
#include "sql/inbox_attempt.h"
#include "store/transaction.h"

namespace outseal::store {

inline constexpr std::chrono::milliseconds kAttemptGrace{250};

/// What a worker may do about an event.
enum class Begun {
  begun,      ///< Handle it.
  busy,       ///< Another worker seems to: look again soon.
  parked,     ///< It was set aside before.
  exhausted,  ///< It was begun too often: set it aside.
  discarded,  ///< Somebody has given up on it.
};

struct BeginResult {
  Begun outcome = Begun::begun;
  std::uint32_t attempts = 0;  ///< With this one, if it has begun.
  std::string reason = {};     ///< Why the last one failed, if it was able to say so.
};

/// Begins the attempt `attempt` at an event, or continues it if it has begun: an attempt whose
/// transaction has to run again is the same one. For a small transaction.
BeginResult begin_attempt(sql::Connection& connection, std::string_view stream,
                          const sql::AttemptedEvent& event, const EventId& attempt,
                          std::uint32_t attempts_max);

/// Whether that attempt is the one at hand; then the row is locked.
bool holds_attempt(sql::Connection& connection, std::string_view stream, const EventId& event,
                   const EventId& attempt);

/// Why a parked event was begun too often.
std::string parked_reason(const BeginResult& begun);

/// A failure that is the event's own, and counts.
struct HandlerFailure {
  std::string reason;
  std::exception_ptr cause;  ///< Null if the handler has thrown nothing.
};

/// Whether an error of `code` in a handler or in its commit is the event's own.
bool is_events_own(ErrorCode code);

/// Calls `handler` inside `tx`, and looks at what it left behind.
/// @returns the event's own failure, if it has failed.
/// @throws Error for everything else; after a COMMIT by the handler's own means `record` has been
///         carried out.
std::optional<HandlerFailure> call_handler(Transaction& tx, std::string_view operation,
                                           const std::function<void()>& handler,
                                           const std::function<void(sql::Connection&)>& record);

/// Options of the small transactions: at READ COMMITTED they wait where others would fail.
TransactionOptions small(TransactionOptions options);

}  // namespace outseal::store
