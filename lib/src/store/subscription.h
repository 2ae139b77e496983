// Subscriptions in the database: cursor, lease and fence, journal. The relay's half of the store.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "model/batch.h"
#include "model/sink.h"
#include "sql/connection.h"
#include "store/log_reader.h"

namespace outseal::store {

/// Where a new subscription begins.
enum class Start {
  beginning,  ///< With the oldest event that retention left.
  now,        ///< With what commits after the declaration.
};

/// What an operator says about a subscription when a relay starts it.
struct SubscriptionSpec {
  std::string name = "main";
  /// Topic patterns; an event that matches any of them belongs to the subscription.
  std::vector<std::string> topics = {"*"};
  std::string sink;          ///< Names the sink; the same from everywhere, without credentials.
  std::string event_source;  ///< CloudEvents "source"; empty: "/outseal/" and the name.
  Start start = Start::beginning;  ///< Only when it is made: no cursor is ever moved by it.

  /// @throws Error{invalid_config} naming every fault.
  void validate() const;
};

/// One row of the journal.
struct JournalRow {
  BatchKind kind = BatchKind::log;
  Position first;
  std::uint64_t count = 0;
  Cursor from;
  Cursor to;
  EventId last_event_id;
  std::string hash;
  std::string chain_hash;
};

/// What a relay knows right after it acquired the lease; from then on nobody else can change it.
struct SubscriptionState {
  Cursor cursor;
  Position bound;
  Tail acked;
  std::string mark;  ///< What the sink said with the acknowledgement; empty if unknown.
  Epoch epoch;
};

/// What acquire() did.
struct Acquisition {
  bool granted = false;
  bool paused = false;                     ///< Not granted: an operator paused the subscription.
  SubscriptionState state;                 ///< If granted.
  std::string holder;                      ///< Otherwise: who leads,
  std::chrono::milliseconds remaining{0};  ///< and for how long at most without a renewal.
};

/// An acknowledgement by the sink, to be written with the next intent or alone.
struct Ack {
  Tail tail;         ///< The last event that the sink has made durable.
  Position first;    ///< The journal row that it completes.
  std::string mark;  ///< DeliveryResult::mark.
};

/// How a compare-and-set on the subscription ended.
enum class Written {
  done,
  fenced,  ///< The epoch moved on: another relay leads.
  stale,   ///< The page is out of date (an operator decided about a parked event): read again.
};

/// How long a write of the relay waits for the services' writers. Chosen by us: two of these fit
/// into the 10 s within which SIGTERM ends the relay.
inline constexpr std::chrono::milliseconds kWriteWait{4'000};

/// Topic patterns out of their JSON array.
std::vector<std::string> topics_from_json(std::string_view json);

/// The subscription `name` as it was declared; empty if there is none.
std::optional<SubscriptionSpec> find_subscription(sql::Connection& connection,
                                                  std::string_view name);

/// The batch whose last position is the one before another's first.
struct BatchBefore {
  EventId last_event_id;
  std::string chain;  ///< Of hashes of all positions up to its last.
  std::string mark;   ///< What the sink said when it acknowledged it; empty if it has not yet.
};
std::optional<BatchBefore> batch_before(sql::Connection& connection, std::string_view subscription,
                                        Position first);
/// The chain of hashes of all positions before `first`.
std::string chain_before(sql::Connection& connection, std::string_view subscription,
                         Position first);

/// The oldest event that retention left; where a new subscription starts.
std::optional<Seq> oldest_event(sql::Connection& connection);

/// The place of the log behind which the subscription began: an empty cursor for the beginning.
/// @returns nothing if it is one of another cluster, and means nothing here.
std::optional<Cursor> find_start(sql::Connection& connection, std::string_view name);

/// The log of one subscription, as its relay sees it.
///
/// Threads: Not thread-safe; one thread at a time, the same one that uses the connection.
class SubscriptionLog {
 public:
  /// `sink` encodes the events; only Sink::encode is called.
  /// `open_second` as in make_log_reader().
  SubscriptionLog(sql::Connection& connection, std::string name, Sink& sink,
                  OpenConnection open_second = {});

  /// Creates the subscription, or checks that it is the one that `spec` describes. One that nobody
  /// leads and that has read nothing yet takes over what `spec` says.
  /// @returns whether it was created.
  /// @throws Error{refused} if it exists with another sink, topics or event source.
  bool declare(const SubscriptionSpec& spec);

  /// Takes the lease if it is free, expired, ours, or its holder has certainly died; raises the
  /// epoch and returns the state as of that moment. Nobody gets it while the subscription is
  /// paused.
  /// @throws Error{refused} if the cursor does not belong to this database (LogReader::identify()).
  Acquisition acquire(std::string_view owner, std::chrono::milliseconds lease);
  /// Extends the lease; does nothing but that.
  Written renew(std::chrono::milliseconds lease);
  /// Gives the lease back at once, if it is still ours.
  void release();

  /// Reads, filters and encodes what comes next: first the events that are queued for redrive, else
  /// the log after `from`. Entries get positions after `prior`. Nothing is written.
  Batch read_page(const Cursor& from, const Tail& prior, const PageLimits& limits);

  /// The batch that holds `position`, read again by its journal row.
  /// @throws Error{refused} if there is no such row, its events are gone, or their hash differs.
  Batch read_journal(Position position);

  /// The intent: binds the batch's positions to its events, parks what was set aside, moves the
  /// cursor and, if `ack` is given, acknowledges the batch before it. One transaction.
  Written bind(const Batch& batch, const std::optional<Ack>& ack, std::chrono::milliseconds lease);

  /// Acknowledges the pending batch alone.
  Written acknowledge(const Ack& ack, std::chrono::milliseconds lease);

  /// The sink refused batch.entries[done] for good, and has all before it: acknowledges those,
  /// parks the refused one, unbinds the rest, which will be read again. `cursor` becomes where to
  /// read on.
  Written settle(const Batch& batch, std::size_t done, std::string_view reason, Cursor& cursor,
                 std::chrono::milliseconds lease);

 private:
  struct Fence {
    std::int64_t epoch;
    std::int64_t version;
  };
  bool insert(const SubscriptionSpec& spec, const SourceIdentity& source);
  void record_start(const std::string& name, const SourceIdentity& source);
  bool matches(std::string_view topic) const;
  /// What stands in parked: by operators' acts never more than at the last look.
  struct ParkedState {
    bool open = false;  ///< Some event waits there.
    bool any = false;   ///< Some event was there once.
  };
  bool take_log_row(sql::Statement& row, Batch& batch, const PageLimits& limits,
                    std::set<std::string, std::less<>>& blocked,
                    const std::vector<std::int64_t>& excluded, bool some_parked);
  bool take_row(sql::Statement& row, Batch& batch, const PageLimits& limits,
                std::set<std::string, std::less<>>& blocked);
  Batch read_redrive(const Cursor& from, const Tail& prior, const PageLimits& limits);
  Batch read_log(const Cursor& from, const Tail& prior, const PageLimits& limits,
                 ParkedState parked);
  ParkedState look_at_parked();
  bool is_key_blocked(std::string_view key, Seq before);
  std::vector<std::int64_t> excluded_seqs(Seq from, Seq to);
  JournalRow find_journal(Position position);
  Fence fence();
  std::int64_t lease_until(std::chrono::milliseconds lease);
  void compare_and_set(sql::Use& update);
  Written bind_at_once(const Batch& batch, const std::optional<Ack>& ack,
                       std::chrono::milliseconds lease, const std::string& chain);
  void bind_advance(const sql::Use& update, const Batch& batch, std::chrono::milliseconds lease,
                    const std::string& chain);
  void write_parked(const Batch& batch);
  void write_journal(const Batch& batch, const std::string& chain);
  void write_ack(const Ack& ack, std::chrono::milliseconds lease);
  void write_settled(const Batch& batch, std::size_t done, std::string_view reason);
  template <typename Body>
  Written write(Body&& body);

  sql::Connection& connection_;
  std::string name_;
  Sink& sink_;
  std::unique_ptr<LogReader> reader_;
  std::vector<std::string> topics_;
  Epoch epoch_;
  std::uint64_t version_ = 0;       ///< As of the last committed write.
  std::uint64_t next_version_ = 0;  ///< As the transaction under way will leave it.
  std::string chain_;               ///< Chain hash up to the last bound position.
};

}  // namespace outseal::store
