// The outbox: events appended inside a transaction, published by the relay after it committed.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "outseal/ids.h"

namespace outseal {

class Transaction;

/// What happened, as the service announces it to others.
struct Event {
  /// What it belongs to; subscriptions select by it. 1 to 255 of `A-Z a-z 0-9 . _ / -`.
  std::string topic;
  /// Ordering key: events of one key are published in the order in which they were appended.
  /// Empty: no order. UTF-8, at most 512 bytes, no NUL. Append while you hold the lock that orders
  /// the key's changes (on SQLite every write transaction holds it).
  std::string key = {};
  /// What kind of event it is, for example "order.paid". UTF-8, 1 to 255 bytes.
  std::string type;
  /// The body. At most AppendOptions::payload_bytes_max bytes. For a JSON or text content type it
  /// must be UTF-8; other content types carry any bytes.
  std::string payload = {};
  /// Media type of the payload, 1 to 255 printable ASCII characters.
  std::string content_type = "application/json";
  /// Metadata for receivers, for example trace context. UTF-8, at most 64 names and 16 KiB in all,
  /// 64 KiB as JSON. Names of 1 to 20 lower-case letters and digits reach receivers as CloudEvents
  /// attributes, for example traceparent; if there are other names, all headers are also sent
  /// together as one text.
  std::map<std::string, std::string> headers = {};
  /// Given by a producer that has its own; by default a new UUIDv7.
  std::optional<EventId> id = {};
};

/// Limits of append().
struct AppendOptions {
  static constexpr std::size_t kPayloadBytesDefault = 1U << 20U;
  static constexpr std::size_t kPayloadBytesMax = 64U << 20U;

  /// Largest payload that append() accepts, in bytes; range 1 to 64 MiB. Chosen by us: common
  /// brokers accept 1 MiB by default. A larger event may exceed the sink's own limit and be parked.
  std::size_t payload_bytes_max = kPayloadBytesDefault;

  /// @throws Error{invalid_config} if the limit is out of range.
  void validate() const;
};

/// Appends `event` inside `tx`. Relays see it when `tx` commits, never before. Events of one
/// transaction are published in the order in which they were appended.
///
/// Does one INSERT and no commit. On PostgreSQL, in a transaction that Transaction began, the
/// INSERT travels with COMMIT, unless TransactionOptions::append_at_once is set or the service has
/// set a savepoint. The event is copied; it need not outlive the call.
///
/// @returns the id of the event.
/// @throws Error{invalid_argument} if a field breaks its limit; nothing is written.
/// @throws Error{invalid_argument} if the transaction has ended, for example by an error that made
///         SQLite roll it back, or if the session is in the middle of something else.
/// @throws Error{constraint} if the event id is already in the outbox; if the INSERT travels with
///         COMMIT, from Transaction::commit().
/// @throws Error{invalid_config} as Transaction::commit(), if events that were deferred have to be
///         written now.
/// @throws Error{invalid_config} if somebody's trigger drops the event; as above.
/// @throws Error{foreign_commit} and Error{unreachable} as Transaction::commit().
/// @throws Error{schema_missing} if the database has no outbox: run `outseal-migrate up`.
/// @throws Error{conflict} in a joined transaction that could not take the write lock.
/// Threads: not thread-safe; same rule as the session under `tx`.
/// Crash: before commit nothing remains; after commit the event will be published.
EventId append(Transaction& tx, const Event& event, const AppendOptions& options = {});

/// Appends all `events` in their order, as append() of each. On PostgreSQL a statement carries up
/// to 1,000 of them and about 1 MiB.
/// @returns their ids in the same order.
std::vector<EventId> append(Transaction& tx, std::span<const Event> events,
                            const AppendOptions& options = {});

}  // namespace outseal
