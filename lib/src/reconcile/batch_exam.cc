#include "reconcile/batch_exam.h"

#include <algorithm>
#include <unordered_map>

#include "sql/parked.h"
#include "store/event_row.h"

namespace outseal::reconcile {
namespace {

std::string number(Position position) { return std::to_string(position.value()); }

/// Where in the batch each event belongs.
std::unordered_map<EventId, std::size_t> offsets_of(const std::vector<LogEntry>& entries) {
  std::unordered_map<EventId, std::size_t> offsets;
  for (std::size_t i = 0; i < entries.size(); ++i) offsets.emplace(entries[i].id, i);
  return offsets;
}

}  // namespace

void BatchImage::take(const SinkRecord& record) {
  ++count_;
  hash_.add(record.encoded);
  if (bytes_.size() + record.encoded.size() > kBytesMax) truncated_ = true;
  if (truncated_) return;
  bytes_ += record.encoded;
  seen_.push_back({record.position, record.event_id, bytes_.size(), record.where});
}

void BatchImage::clear() {
  seen_.clear();
  bytes_.clear();
  hash_.finish();
  count_ = 0;
  truncated_ = false;
}

std::string_view BatchImage::encoded(std::size_t index) const {
  const std::size_t begin = index == 0 ? 0 : seen_[index - 1].end;
  return std::string_view{bytes_}.substr(begin, seen_[index].end - begin);
}

BatchExam::BatchExam(sql::Connection& connection, const SubscriptionInfo& subscription,
                     SinkEncoder& encoder, Problems& problems)
    : connection_{connection},
      subscription_{subscription},
      encoder_{encoder},
      problems_{problems},
      reader_{store::make_log_reader(connection)} {
  for (std::string& key : sql::list_redriven_keys(connection_, subscription_.name))
    redriven_keys_.emplace(std::move(key), Seq{0});
}

void BatchExam::examine(const JournalRow& row, Position end, BatchImage& image) {
  if (image.empty()) return;  // All of it is missing, which is reported as such.
  const std::uint64_t expected = end.value() - row.first.value() + 1;
  const bool complete = image.count() == expected;
  const bool same = complete && image.finish_hash() == row.hash;
  if (!image.whole()) {
    if (!same)
      problems_.add("altered", row.first,
                    "the batch at position " + number(row.first) +
                        " does not match its hash and is too large to be searched");
    return;
  }
  const std::vector<LogEntry> entries = load_entries(row);
  check_keys(row.first, entries);
  const bool retained = entries.size() >= row.count;
  if (!retained) ++unretained_;
  if (row.kind == BatchKind::rebase) {
    if (!same)
      problems_.add("altered", row.first,
                    "the positions from " + number(row.first) +
                        " on do not hold what the rebase found there");
    return name_ghosts(entries, image);
  }
  if (same) {
    check_ids(row, entries, image);
    if (image.seen().back().id != row.last_event_id)
      problems_.add("journal", end,
                    "the journal says that event " + row.last_event_id.to_string() +
                        " is at position " + number(end) + ", the sink has event " +
                        image.seen().back().id.to_string());
    return;
  }
  if (!retained && !complete) return;  // What is missing is reported; the rest cannot be judged.
  const bool named = retained && name_differences(row, entries, image);
  if (named || !complete) return;
  if (!retained)
    problems_.add("altered", row.first,
                  "the batch at position " + number(row.first) + " (" + std::to_string(row.count) +
                      " events) does not match its hash; its rows have left the outbox, so it"
                      " cannot be said which event differs");
  else
    problems_.add("journal", row.first,
                  "the journal's hash of the batch at position " + number(row.first) +
                      " is not that of its events, which sink and outbox agree about");
}

void BatchExam::examine_pending(const JournalRow& row, const BatchImage& image) {
  if (image.empty() || !image.whole()) return;
  name_differences(row, load_entries(row), image);
}

std::vector<LogEntry> BatchExam::load_entries(const JournalRow& row) {
  if (row.kind != BatchKind::log)
    return sql::list_redriven(connection_, subscription_.name, row.first,
                              advance(row.first, row.count - 1));
  std::vector<LogEntry> entries;
  // A few more than there should be are enough to name what was left out.
  const std::size_t entries_max = row.count + 100;
  walk_range(connection_, subscription_, row.from, row.to, [&](LogEntry entry) {
    entries.push_back(std::move(entry));
    return entries.size() < entries_max;
  });
  return entries;
}

/// The batch has the bytes that were bound. Were the right events bound, in the right order?
void BatchExam::check_ids(const JournalRow& row, const std::vector<LogEntry>& entries,
                          const BatchImage& image) {
  // Retention may have taken some entries: then the others must still come in this order.
  std::size_t next = 0;
  for (const BatchImage::Seen& seen : image.seen())
    if (next < entries.size() && entries[next].id == seen.id) ++next;
  if (next == entries.size()) return;
  std::unordered_set<EventId> present;
  for (const BatchImage::Seen& seen : image.seen()) present.insert(seen.id);
  bool lost = false;
  for (const LogEntry& entry : entries) {
    if (present.contains(entry.id)) continue;
    lost = true;
    problems_.add("lost", entry.seq,
                  "event " + entry.id.to_string() + " (seq " + std::to_string(entry.seq.value()) +
                      ") was left out of the batch at position " + number(row.first));
  }
  if (!lost)
    problems_.add("order", row.first,
                  "the events of the batch at position " + number(row.first) +
                      " do not stand in the order of the outbox");
}

/// What a rebase found in the sink and not in the database: published, then lost by the database.
void BatchExam::name_ghosts(const std::vector<LogEntry>& entries, const BatchImage& image) {
  const auto known = offsets_of(entries);
  for (const BatchImage::Seen& seen : image.seen())
    if (!known.contains(seen.id))
      problems_.add("ghost", seen.position,
                    "event " + seen.id.to_string() + " at position " + number(seen.position) +
                        " was published and then lost by the database (" + seen.where + ")");
}

/// Within and between log batches the log's own order holds, which the walk checks. So a key can
/// only be out of order if some event of it was redriven.
void BatchExam::check_keys(Position first, const std::vector<LogEntry>& entries) {
  if (redriven_keys_.empty()) return;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const auto known = redriven_keys_.find(entries[i].key);
    if (known == redriven_keys_.end()) continue;
    if (entries[i].seq < known->second)
      problems_.add("order", advance(first, i),
                    "event " + entries[i].id.to_string() + " (seq " +
                        std::to_string(entries[i].seq.value()) +
                        ") comes after a later event of its key (seq " +
                        std::to_string(known->second.value()) + ")");
    known->second = std::max(known->second, entries[i].seq);
  }
}

/// Encodes the events of `row` again and compares. True if any difference was found and reported.
bool BatchExam::name_differences(const JournalRow& row, const std::vector<LogEntry>& entries,
                                 const BatchImage& image) {
  const bool log = row.kind == BatchKind::log;
  const auto offsets = offsets_of(entries);
  sql::Statement& rows = log ? reader_->open_range(row.from, row.to)
                             : sql::read_redriven(connection_, subscription_.name, row.first,
                                                  advance(row.first, row.count - 1));
  const sql::StatementScope use{rows};
  std::string encoded;
  bool found = false;
  std::size_t index = 0;
  while (index < image.seen().size() && rows.step()) {
    std::optional<sql::LargeEvent> large;
    const sql::EventColumns columns{rows};
    EventRow event = columns.event();
    const auto offset = offsets.find(event.id);
    if (offset == offsets.end()) continue;  // Parked, or of another topic.
    const Position position = advance(row.first, offset->second);
    if (image.seen()[index].position != position) continue;  // Missing there.
    encoded.clear();  // A sink that refuses the event now leaves it empty, which differs as well.
    const std::uint64_t bytes_max = encoder_.payload_bytes_max();
    if (!store::complete(connection_, columns, bytes_max, event, large))
      encoder_.encode(event, position, encoded);
    if (image.encoded(index) != encoded) {
      found = true;
      name_one(event, image.seen()[index], offsets.contains(image.seen()[index].id));
    }
    ++index;
  }
  return found;
}

void BatchExam::name_one(const EventRow& bound, const BatchImage::Seen& seen, bool of_batch) {
  const std::string at = "position " + number(seen.position) + " (" + seen.where + ")";
  if (seen.id == bound.id) {
    problems_.add("altered", seen.position,
                  "the bytes of event " + seen.id.to_string() + " at " + at +
                      " are not those that were published");
    return;
  }
  if (suspects_.size() < kSuspectsMax) suspects_.insert(seen.id);
  if (of_batch)
    problems_.add("order", seen.position,
                  "event " + seen.id.to_string() + " stands at " + at + ", where event " +
                      bound.id.to_string() + " belongs");
  else
    problems_.add("ghost", seen.position,
                  "event " + seen.id.to_string() + " stands at " + at +
                      " and was never bound there; event " + bound.id.to_string() +
                      " belongs there");
}

}  // namespace outseal::reconcile
