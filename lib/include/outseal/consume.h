// Consuming: the loop of a receiver as one call, and one message of another transport.
//
// Both remember an event in the transaction of its effect, as inbox.h does, and both note before
// the handler runs that an attempt has begun. So they also see the attempts that a crash has ended,
// and an event that fails every time is set aside instead of being tried forever: list_parked().
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string_view>

#include "outseal/ids.h"
#include "outseal/inbox.h"
#include "outseal/session.h"
#include "outseal/transaction.h"

namespace outseal {

/// How often an event may be begun before it is set aside. Chosen by us: enough to outlast a few
/// restarts that the event has nothing to do with, and few enough to hold a stream for seconds.
inline constexpr std::uint32_t kAttemptsDefault = 5;
inline constexpr std::uint32_t kAttemptsMax = 1'000;

/// Lets an event take effect inside `tx`, through the connection that the opener returned last. The
/// rules for a handler of execute() hold: it must not end the transaction, use another one on the
/// connection, reconnect, or do anything outside the database, because it may run again.
using EventHandler = std::function<void(Transaction& tx, const InboxEvent& event)>;

/// How consume() works.
struct ConsumeOptions {
  using Milliseconds = std::chrono::milliseconds;
  static constexpr Milliseconds kPollMinDefault{2};
  static constexpr Milliseconds kPollMaxDefault{50};
  static constexpr Milliseconds kBackoffMinDefault{50};
  static constexpr Milliseconds kBackoffMaxDefault{10'000};
  static constexpr Milliseconds kWaitMax{3'600'000};
  static constexpr Milliseconds kPurgeEveryDefault{60'000};

  /// What takes effect in one transaction.
  TakeOptions take = {};
  /// How often an event is begun before it is set aside; range 1 to 1,000.
  std::uint32_t attempts_max = kAttemptsDefault;
  /// Returns when there is nothing left to take, instead of waiting for more.
  bool until_empty = false;
  /// Returns when a stop is requested, at the latest after the event at hand; those before it are
  /// committed.
  std::stop_token stop = {};
  /// Purges events that were taken and are older than this, as purge_taken(); none: keeps them.
  std::optional<Milliseconds> purge_age = {};
  /// How often it does; range 0 to 1 hour.
  Milliseconds purge_every = kPurgeEveryDefault;

  /// How long it waits before it looks again when there is nothing to take: from the first to the
  /// second, twice as long each time; range 1 ms to 1 hour. A look is one SELECT without locks.
  Milliseconds poll_min = kPollMinDefault;
  Milliseconds poll_max = kPollMaxDefault;
  /// How long it waits at most after a failure, likewise; the wait itself is random, so that
  /// workers do not meet again.
  Milliseconds backoff_min = kBackoffMinDefault;
  Milliseconds backoff_max = kBackoffMaxDefault;

  /// For its transactions; consume() keeps prepared statements by itself, so `statements` is null.
  /// The observer is also told of each trouble that consume() meets and survives.
  TransactionOptions transaction = {};

  /// @throws Error{invalid_config} naming every field that is out of range.
  void validate() const;
};

/// What consume() has done.
struct Consumed {
  std::uint64_t events = 0;  ///< Handled and committed.
  std::uint64_t parked = 0;  ///< Set aside, with those behind them.
};

/// Takes the events of `stream` out of the inbox and calls `handler` for each, in the order of
/// their positions, until a stop is requested or, with ConsumeOptions::until_empty, all are taken.
///
/// ```
/// outseal::consume(open, "/outseal/main#main",
///                  [&](outseal::Transaction&, const outseal::InboxEvent& event) {
///                    *session << "INSERT INTO invoice (account) VALUES (:account)",
///                        soci::use(event.key);
///                  },
///                  {.stop = stop});
/// ```
///
/// As many events as TakeOptions allows take effect in one transaction, with the service's place in
/// the stream: each exactly once, whatever crashes. A second, small transaction before it notes
/// what has begun; it waits for no disk on PostgreSQL.
///
/// What it does about an error:
/// - Recovery::retry_transaction: runs the transaction again, after a random wait.
/// - Recovery::reconnect and find_out: asks `open_session` for a new connection; the place in the
///   stream tells whether a COMMIT in doubt happened. If the callable throws, it is asked again,
///   except the first time.
/// - Recovery::fix_first: throws it.
/// - An exception of `handler` that is no Error, or Error{invalid_argument} or Error{constraint}:
///   the event has failed. Its transaction is rolled back, and the events of the batch are tried
///   one by one. An event that was begun ConsumeOptions::attempts_max times on its own without
///   being finished, by exceptions, kills or crashes, is set aside with the last reason, and so are
///   later events of its key, in order. Other events continue. See list_parked().
///
/// Any number of workers may consume a stream; they take turns. If one of them is killed between
/// noting an attempt and beginning it, the others wait a quarter of a second.
///
/// @throws Error with Recovery::fix_first from take() or the handler, for example Error{refused}
/// for
///         a hole, Error{schema_missing}, or Error{foreign_commit} if the handler committed: then
///         the place in the stream is after the event at hand.
/// @throws Error{invalid_argument} for a bad stream, or an empty callable.
/// @throws Error{invalid_config} for options out of range.
/// @throws what `open_session` throws the first time, unless that is an Error to survive as above.
/// Threads: it uses one connection at a time, in the calling thread, and returns with no
///          transaction open. Thread-safe: several threads may call it, each with an opener of its
///          own.
/// Crash: what was committed is done; the rest is taken by the next call.
Consumed consume(const SessionOpener& open_session, std::string_view stream,
                 const EventHandler& handler, const ConsumeOptions& options = {});

/// Lets a message take effect inside `tx`; the rules for EventHandler hold.
using MessageHandler = std::function<void(Transaction& tx)>;

/// How consume_message() works.
struct MessageOptions {
  /// How often a message is begun before it is set aside; range 1 to 1,000.
  std::uint32_t attempts_max = kAttemptsDefault;
  /// For its transactions.
  TransactionOptions transaction = {};

  /// @throws Error{invalid_config} naming every field that is out of range.
  void validate() const;
};

/// Lets the message `id` of `source`, which came by a webhook or a queue, take effect once: begins
/// a transaction, receives it as receive() does, calls `handler` if it is new, and commits.
///
/// Whether the sender is told that it is done follows from Receipt::arrival: yes for `fresh` and
/// `duplicate`; for `parked` refuse it for good (422, or the queue's own list of dead letters), so
/// that the sender sets it aside as well, with whatever must wait for it.
///
/// A small transaction before the handler notes that an attempt has begun. If a message was begun
/// MessageOptions::attempts_max times and never finished, by exceptions, kills or crashes of the
/// process, it is set aside when it comes again, and `handler` is not called: a message that kills
/// its receiver cannot do so forever. See list_parked(). A message that another worker has begun is
/// waited for.
///
/// @returns `fresh`, `duplicate` or `parked`.
/// @throws what `handler` throws; nothing has taken effect then, and the attempt counts. It does
///         not count after an Error with Recovery::retry_transaction.
/// @throws Error{unreachable} or Error{conflict} if the handler's own SQL met a lost connection, or
///         a serialization failure or deadlock; its exception is nested.
/// @throws Error{invalid_argument} for a bad source, the nil id, an empty handler, or a session in
/// a
///         transaction.
/// @throws Error as receive() and Transaction::commit() do.
/// Threads: not thread-safe; one session per thread. Any number of threads and processes may be
///          given the same message at once.
/// Crash: before its commit nothing remains but the attempt; after it the message is a duplicate.
Receipt consume_message(Session session, std::string_view source, const EventId& id,
                        const MessageHandler& handler, const MessageOptions& options = {});

/// The same by position, as receive_in_order() does: one row a stream. With `gap` nothing is done.
/// With `parked` the position has not moved: the sender's next event has to take its place, as
/// outseal's relay does it when a webhook is refused for good.
///
/// @throws Error{refused} as receive_in_order().
Receipt consume_message(Session session, std::string_view source, const StreamEvent& event,
                        const MessageHandler& handler, const MessageOptions& options = {});

}  // namespace outseal
