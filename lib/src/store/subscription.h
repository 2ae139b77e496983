// Subscriptions in the database: cursor, lease and fence, journal. The relay's half of the store.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/batch.h"
#include "model/journal.h"
#include "model/sink.h"
#include "model/subscription.h"
#include "sql/connection.h"
#include "sql/event_row.h"
#include "sql/fence.h"
#include "sql/journal.h"
#include "sql/parked.h"
#include "sql/subscription.h"
#include "store/log_reader.h"

namespace outseal::store {

/// The sink of `name` is at `address`, and what it is ("" if it cannot tell).
/// Crash: one transaction.
void set_sink(sql::Connection& connection, std::string_view name, std::string_view address,
              std::string_view identity);

/// The chain of hashes of all positions before `first`.
std::string chain_before(sql::Connection& connection, std::string_view subscription,
                         Position first);

/// The place of the log behind which the subscription began: an empty cursor for the beginning.
/// @returns nothing if it is one of another cluster, and means nothing here.
std::optional<Cursor> find_start(sql::Connection& connection, std::string_view name);

/// The log of one subscription, as its relay sees it.
///
/// Threads: Not thread-safe; one thread at a time, the same one that uses the connection.
class SubscriptionLog {
 public:
  /// Pages of the log that read_page() looks at for one of its own.
  static constexpr int kScanPages = 10;

  /// `encoder` outlives this; `open_second` as in make_log_reader().
  SubscriptionLog(sql::Connection& connection, std::string name, SinkEncoder& encoder,
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
  WriteOutcome renew(std::chrono::milliseconds lease);
  /// Gives the lease back at once, if it is still ours.
  void release();

  /// Reads, filters and encodes what comes next: first the events that are queued for redrive, else
  /// the log after `from`. Entries get positions after `prior`. Nothing is written.
  /// Ends after `kScanPages` pages of the log, however few of their events the filter takes.
  Batch read_page(const Cursor& from, const Tail& prior, const PageLimits& limits);

  /// For whoever only compares, and takes no lease: which topics it takes.
  void set_topics(std::vector<std::string> topics) { topics_ = std::move(topics); }

  /// The batch that holds `position`, read again by its journal row.
  /// @throws Error{refused} if there is no such row, its events are gone, or their hash differs.
  Batch read_journal(Position position);

  /// The intent: binds the batch's positions to its events, parks what was set aside, moves the
  /// cursor and, if `ack` is given, acknowledges the batch before it. One transaction.
  WriteOutcome bind(const Batch& batch, const std::optional<Ack>& ack,
                    std::chrono::milliseconds lease);

  /// Acknowledges the pending batch alone.
  WriteOutcome acknowledge(const Ack& ack, std::chrono::milliseconds lease);

  /// The sink refused batch.entries[done] for good, and has all before it: acknowledges those,
  /// parks the refused one, unbinds the rest, which will be read again. `cursor` becomes where to
  /// read on.
  WriteOutcome settle(const Batch& batch, std::size_t done, std::string_view reason, Cursor& cursor,
                      std::chrono::milliseconds lease);

 private:
  bool insert(const SubscriptionSpec& spec, const SourceIdentity& source);
  void record_start(const std::string& name, const SourceIdentity& source);
  bool matches(std::string_view topic) const;
  bool take_log_row(const sql::EventColumns& row, Batch& batch, const PageLimits& limits,
                    std::set<std::string, std::less<>>& blocked, const std::vector<Seq>& excluded,
                    bool some_parked);
  bool take_row(const sql::EventColumns& row, Batch& batch, const PageLimits& limits,
                std::set<std::string, std::less<>>& blocked);
  Batch read_redrive(const Cursor& from, const Tail& prior, const PageLimits& limits);
  Batch read_log(const Cursor& from, const Tail& prior, const PageLimits& limits,
                 sql::ParkedState parked);
  JournalRow find_journal(Position position);
  sql::Fence fence(std::chrono::milliseconds lease);
  std::int64_t lease_until(std::chrono::milliseconds lease);
  void require(bool is_done);
  std::string_view incarnation() const;
  WriteOutcome bind_at_once(const Batch& batch, const std::optional<Ack>& ack,
                            std::chrono::milliseconds lease, const std::string& chain);
  void write_parked(const Batch& batch);
  void write_journal(const Batch& batch, const std::string& chain);
  void write_ack(const Ack& ack, std::chrono::milliseconds lease);
  void write_settled(const Batch& batch, std::size_t done, std::string_view reason);
  template <typename Body>
  WriteOutcome write(Body&& body);

  sql::Connection& connection_;
  std::string name_;
  SinkEncoder& encoder_;
  std::unique_ptr<LogReader> reader_;
  std::vector<std::string> topics_;
  std::uint64_t payload_bytes_max_;
  Epoch epoch_;
  std::uint64_t version_ = 0;       ///< As of the last committed write.
  std::uint64_t next_version_ = 0;  ///< As the transaction under way will leave it.
  std::string chain_;               ///< Chain hash up to the last bound position.
};

}  // namespace outseal::store
