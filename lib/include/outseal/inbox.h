// The inbox: makes each event take effect once by recording it in the same transaction as the
// effect.
//
// Which call fits depends on how events reach the receiver, and on who runs the loop:
//
//   events come...               a call that does it all       the step inside a transaction
//   by a relay's sink            consume()                     take()
//     `postgresql:`, `sqlite:`
//   by webhook or queue          consume_message(), by id      receive()
//   by webhook, one by one       consume_message(), by place   receive_in_order()
//
// By id: in any order; one row an event, until purge_received(). By position: one after the other;
// one row a stream, kept forever; no time window is involved. Out of this database: in order, and
// without listening on a port.
//
// The calls on the left (consume.h) also count attempts, so that they can set aside an event that
// fails every time or kills its receiver: see list_parked(). Those on the right are their steps,
// for a service with a loop of its own.
//
// Positions count within a stream: one database and one subscription of the sender. The relay names
// it SOURCE#SUBSCRIPTION, by default "/outseal/main#main".
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "outseal/idempotency.h"
#include "outseal/ids.h"
#include "outseal/session.h"

namespace outseal {

class Transaction;

/// Maximum length of a stream's name, in bytes of UTF-8; it is not empty and contains no NUL.
/// Chosen by us: names are parts of indexes.
inline constexpr std::size_t kStreamBytesMax = 1'024;

/// Records inside `tx` that the event `id` of `stream` was received.
///
/// ```
/// outseal::Transaction tx{session};
/// if (outseal::receive(tx, "shop#main", id))
///   session << "UPDATE stock SET amount = amount - 1 WHERE item = 7";
/// tx.commit();  // Either way the sender is answered: done.
/// ```
///
/// One INSERT; a duplicate costs one extra query. While another transaction receives the same id,
/// this call waits until that one ends.
///
/// @returns true if it is new and has to take effect; false if it has been received before.
/// @throws Error{invalid_argument} for a bad stream, the nil id, or a transaction that has ended.
/// @throws Error{conflict} above READ COMMITTED (PostgreSQL) or in a joined transaction (SQLite),
///         if another transaction received it meanwhile: run the whole transaction again.
/// @throws Error{schema_missing} if the database has no inbox: run `outseal-migrate up`.
/// Threads: not thread-safe; same rule as the session under `tx`. Any number of threads and
///          processes may receive the same event at once: one of them gets true.
/// Crash: before commit nothing remains, and the next time the event is new again.
[[nodiscard]] bool receive(Transaction& tx, std::string_view stream, const EventId& id);

/// How an event relates to those that were received before it.
enum class Arrival {
  fresh,      ///< The next one: let it take effect, then commit.
  duplicate,  ///< Received before: answer that it is done.
  gap,        ///< An earlier one is missing: answer with the position to send from.
  parked,     ///< Set aside by consume_message() after too many attempts: refuse it for good.
};

/// The stable snake_case name of `arrival`.
std::string_view name_of(Arrival arrival);

struct Receipt {
  Arrival arrival;
  /// Position of the last event received; with `fresh` that of this one. The sender has to continue
  /// with the one after it.
  Position last;
};

/// An event and its place in a stream, as the sink `http:` sends them: `outseal-position`,
/// `webhook-id`, and `outseal-previous-id`.
struct StreamEvent {
  Position position;
  EventId id;
  /// The event at the position before; nil for the first one of a stream. If a receiver permanently
  /// rejects an event, the next one gets its position: only the ids tell the new numbering from the
  /// old one, in which a relay that was suspended may still send.
  EventId previous_id = {};
};

/// Records inside `tx` that `event` of `stream` was received, if it is the next one. Otherwise
/// nothing is recorded.
///
/// One UPDATE of one row, that of the stream; anything that is not fresh costs one extra query.
/// Transactions that receive from the same stream are serialised from this call until they end.
///
/// @throws Error{refused} if another event was received at the last position, or another one than
///         `previous_id` before this one: the sender is a relay that was replaced, a second one, or
///         its database lost history. Nothing is guessed: answer 500, and if that persists find out
///         why. Before the last position nothing is compared, since only the last event is known:
///         there every event counts as received. What that asks of a receiver: tools/OPERATING.md,
///         "Webhooks, by position"; receive() by id asks nothing.
/// @throws Error{invalid_argument} for a bad stream, position 0, the nil id, a first event with a
///         previous one or a later one without, or a transaction that has ended.
/// @throws Error{conflict} as receive().
/// @throws Error{schema_missing} if the database has no inbox: run `outseal-migrate up`.
/// Threads: as receive(); one of the callers with the same event gets `fresh`.
/// Crash: before commit nothing remains, and the next time the event is fresh again.
[[nodiscard]] Receipt receive_in_order(Transaction& tx, std::string_view stream,
                                       const StreamEvent& event);

/// An event as the relay put it into this database.
struct InboxEvent {
  Position position;
  EventId id;
  std::string topic;
  std::string key;
  std::string type;
  std::string payload;
  std::string content_type;
  std::string headers;  ///< A JSON object; of strings, if the producer used append().
  std::chrono::sys_time<std::chrono::milliseconds> created_at;  ///< By the producer's clock.
};

/// How much take() returns at once. It stops at the bound that is reached first, but returns one
/// event in any case.
struct TakeOptions {
  static constexpr std::size_t kEventsDefault = 100;
  static constexpr std::size_t kEventsMax = 10'000;
  static constexpr std::size_t kBytesDefault = 16U << 20U;
  static constexpr std::size_t kBytesMax = 1U << 30U;

  /// Events; range 1 to 10,000. They take effect in one transaction: more of them cost fewer
  /// commits and hold its locks longer.
  std::size_t events_max = kEventsDefault;
  /// Bytes of payloads and headers that are held in memory; range 1 to 1 GiB. Chosen by us: 16 MiB
  /// are a hundred events of a size that brokers call large.
  std::size_t bytes_max = kBytesDefault;

  /// @throws Error{invalid_config} naming every field that is out of range.
  void validate() const;
};

/// Takes the next events of `stream` out of the inbox, in the order of their positions, and moves
/// the service's cursor past them inside `tx`.
///
/// ```
/// outseal::Transaction tx{session};
/// for (const outseal::InboxEvent& event : outseal::take(tx, "/outseal/main#main")) apply(event);
/// tx.commit();
/// ```
///
/// Each event is taken by one committed transaction. A stream has one cursor, for one service: for
/// another service give the relay another subscription. Several workers are safe and take turns:
/// from take() until its transaction ends the others wait. After a rollback the events can be taken
/// again. An event that always fails is thus returned forever: consume() sets it aside.
///
/// Events whose key has an event that was set aside are not returned but set aside behind it; see
/// list_parked(). Events that are to be tried again come first.
///
/// @returns no event if all have been taken: ask again later. Or if all that were looked at were
///         set aside: commit then, too.
/// @throws Error{refused} if the inbox has a hole after the cursor: somebody deleted events that
///         were not taken.
/// @throws Error{invalid_argument} for a bad stream, or a transaction that has ended; also for a
///         stream that no relay has ever connected to while there are others, which it lists: with
///         a misspelled name a service would silently wait forever.
/// @throws Error{invalid_config} for options out of range.
/// @throws Error{conflict} above READ COMMITTED (PostgreSQL) or in a joined transaction (SQLite),
///         if another worker was faster: run the whole transaction again.
/// @throws Error{schema_missing} if the database has no inbox: run `outseal-migrate up`.
/// Threads: not thread-safe; same rule as the session under `tx`.
/// Crash: before commit nothing remains and the same events are returned again; after it they are
///         done.
[[nodiscard]] std::vector<InboxEvent> take(Transaction& tx, std::string_view stream,
                                           const TakeOptions& options = {});

/// What has become of an event whose handler was begun.
enum class ParkedState {
  trying,     ///< Begun and not finished. Not parked.
  parked,     ///< Set aside, until somebody decides.
  queued,     ///< To be tried again: by take() or consume(), or when the message comes again.
  discarded,  ///< Given up for good.
};

/// The stable snake_case name of `state`.
std::string_view name_of(ParkedState state);

/// An event that consume(), take() or consume_message() has set aside. Its content is in the table
/// of events, unless it came as a message.
struct ParkedEvent {
  EventId id;
  Position position;  ///< 0 for one that came as a message.
  std::string key;    ///< Empty for one that came as a message.
  ParkedState state = ParkedState::parked;
  bool behind = false;         ///< It never failed itself, but an event of its key did.
  std::uint32_t attempts = 0;  ///< Since it was last queued.
  std::string reason;          ///< Why the last attempt failed, or why it was discarded.
  std::chrono::sys_time<std::chrono::milliseconds> since;  ///< By the database's clock.
};

inline constexpr std::size_t kParkedPageMax = 1'000;

/// The events of `stream` that were set aside and not finished since, in the order of their ids,
/// which is that of time: at most 1,000, after the id `after`. One SELECT.
///
/// @throws Error{invalid_argument} for a bad stream.
/// @throws Error{schema_missing} if the database has no inbox: run `outseal-migrate up`.
/// Threads: not thread-safe; one session per thread.
[[nodiscard]] std::vector<ParkedEvent> list_parked(Session session, std::string_view stream,
                                                   const EventId& after = {});

/// Lets the parked event `id` be tried again, and with it those that only stand behind it, up to
/// the next one of the key that failed itself; without an id, all parked events of the stream. They
/// keep their order, and newer events of their keys wait for them.
///
/// A message is tried again when its sender sends it again.
///
/// @returns how many are queued.
/// @throws Error{invalid_argument} if the event is not parked, or stands behind another one, which
///         is named; nothing is changed then.
/// @throws Error{conflict} if the database stayed busy.
/// Threads: not thread-safe; one session per thread. Waits for the stream's workers.
/// Crash: it is one transaction.
std::uint64_t redrive_parked(Session session, std::string_view stream,
                             const std::optional<EventId>& id = {});

/// Gives up on the parked event `id` for good, for that reason, and queues what only stood behind
/// it. A message that comes again is then a duplicate. The row is kept, with the reason, until
/// purge_taken() or purge_received() removes it.
///
/// @returns how many are queued.
/// @throws Error{invalid_argument} if the event is not set aside, or the reason is empty or longer
///         than 1,000 bytes.
/// @throws Error{conflict} if the database stayed busy.
/// Threads: not thread-safe; one session per thread. Waits for the stream's workers.
/// Crash: it is one transaction.
std::uint64_t discard_parked(Session session, std::string_view stream, const EventId& id,
                             std::string_view reason);

/// Forgets ids of all streams that receive() or consume_message() recorded longer than `age` ago,
/// and attempts of messages that did not come again since; never one that is parked. Keep them for
/// longer than any sender may repeat itself: a forgotten event is new again.
///
/// @returns how many were forgotten.
/// @throws Error{invalid_argument} if `age` is negative.
/// @throws Error{conflict} if the database stayed busy.
/// Threads: not thread-safe; one session per thread.
/// Crash: each step is one transaction; forgotten ids stay forgotten.
std::uint64_t purge_received(Session session, std::chrono::milliseconds age,
                             const PurgeOptions& options = {});

/// Deletes events of `stream` that were taken and reached this database longer than `age` ago;
/// never one that was not taken, or is parked. The reconciler compares the journal with the events
/// that are still there, so keep them as long as the journal.
///
/// @returns how many were deleted.
/// @throws Error{invalid_argument} if `age` is negative or the stream is bad.
/// @throws Error{conflict} if the database stayed busy.
/// Threads: not thread-safe; one session per thread.
/// Crash: each step is one transaction; deleted events stay deleted.
std::uint64_t purge_taken(Session session, std::string_view stream, std::chrono::milliseconds age,
                          const PurgeOptions& options = {});

}  // namespace outseal
