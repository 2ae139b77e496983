// One batch as the sink holds it, against the journal and the outbox.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "base/hash.h"
#include "reconcile/journal_walk.h"
#include "store/log_reader.h"

namespace outseal::reconcile {

/// What the sink holds of one batch: records in position order, each position once.
class BatchImage {
 public:
  struct Seen {
    Position position;
    EventId id;
    std::size_t end;  ///< One past its last byte.
    std::string where;
  };
  /// Bytes kept to name what differs. Beyond it (no relay makes such a batch unless it is told to)
  /// only the hash goes on.
  static constexpr std::size_t kBytesMax = 64U << 20U;

  void take(const SinkRecord& record);
  void clear();

  bool empty() const { return count_ == 0; }
  std::uint64_t count() const { return count_; }
  bool whole() const { return !truncated_; }
  const std::vector<Seen>& seen() const { return seen_; }
  std::string_view encoded(std::size_t index) const;
  /// SHA-256 over all records taken. Call it once.
  std::string finish_hash() { return hash_.finish(); }

 private:
  std::vector<Seen> seen_;
  std::string bytes_;
  Sha256 hash_;
  std::uint64_t count_ = 0;
  bool truncated_ = false;
};

/// Examines batches of one subscription in position order.
///
/// The usual batch costs one hash over its bytes and one range scan over ids and keys. Only where
/// something differs are its events read in full and encoded again, to name what differs.
/// Memory: one batch, and one number for each key that was ever redriven.
class BatchExam {
 public:
  BatchExam(sql::Connection& connection, const SubscriptionInfo& subscription, SinkEncoder& encoder,
            Problems& problems);

  /// `image` holds what the sink has of the positions row.first to `end`.
  void examine(const JournalRow& row, Position end, BatchImage& image);
  /// The pending batch: a prefix of it may be in the sink.
  void examine_pending(const JournalRow& row, const BatchImage& image);

  /// Batches whose rows retention has taken, at least partly: their hash alone was checked.
  std::uint64_t unretained() const { return unretained_; }
  /// Ids that stand where they do not belong: they may stand in the sink a second time.
  const std::unordered_set<EventId>& suspects() const { return suspects_; }

 private:
  static constexpr std::size_t kSuspectsMax = 1'000;

  std::vector<LogEntry> load_entries(const JournalRow& row);
  void name_ghosts(const std::vector<LogEntry>& entries, const BatchImage& image);
  void check_ids(const JournalRow& row, const std::vector<LogEntry>& entries,
                 const BatchImage& image);
  void check_keys(Position first, const std::vector<LogEntry>& entries);
  bool name_differences(const JournalRow& row, const std::vector<LogEntry>& entries,
                        const BatchImage& image);
  void name_one(const EventRow& bound, const BatchImage::Seen& seen, bool of_batch);

  sql::Connection& connection_;
  const SubscriptionInfo& subscription_;
  SinkEncoder& encoder_;
  Problems& problems_;
  std::unique_ptr<store::LogReader> reader_;
  std::map<std::string, Seq, std::less<>> redriven_keys_;  ///< Last seq seen of each.
  std::unordered_set<EventId> suspects_;
  std::uint64_t unretained_ = 0;
};

}  // namespace outseal::reconcile
