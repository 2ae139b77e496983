// Events on their way from the outbox to a sink: rows, cursors, batches, the sink's tail.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "outseal/ids.h"

namespace outseal {

/// One row of the outbox as views into the database driver's memory: valid until the next step of
/// the statement that it came from.
struct EventRow {
  Seq seq;
  EventId id;
  std::string_view topic;
  std::string_view key;
  std::string_view type;
  std::string_view headers;  ///< A flat JSON object of strings.
  std::string_view payload;
  std::string_view content_type;
  std::int64_t created_at_ms = 0;
};

/// How far the log has been read. The relay's core only passes it on and compares it.
///
/// SQLite uses `after_seq` alone; PostgreSQL reads by `after_seq` inside a window of two snapshots.
struct Cursor {
  Seq after_seq;
  std::string snap_from = {};
  std::string snap_to = {};

  /// Whether `after_seq` says where it is: always on SQLite, inside of a window elsewhere.
  bool is_inside() const { return snap_from.empty() || !snap_to.empty(); }
  /// `after_seq` if it says that, else 0.
  Seq inside_seq() const { return is_inside() ? after_seq : Seq{}; }
  /// The end of the window that it is in or has just left; empty on SQLite.
  const std::string& window_end() const { return snap_to.empty() ? snap_from : snap_to; }
  friend bool operator==(const Cursor&, const Cursor&) = default;
};

/// The last event in a sink. Position 0 and the nil id: the sink is empty.
struct Tail {
  Position position;
  EventId event_id;
  friend bool operator==(const Tail&, const Tail&) = default;
};

/// One event of a batch; its bytes are in Batch::bytes.
struct BatchEntry {
  Seq seq;
  EventId id;
  std::size_t end = 0;  ///< One past its last byte in Batch::bytes.
};

/// An event that is set aside while a batch is assembled, before it gets a position.
struct ParkedEntry {
  Seq seq;
  bool behind =
      false;  ///< True: an earlier event of its key is parked. False: the sink refuses it.
  std::string reason;
};

/// Where a batch's events come from; stored in the journal.
enum class BatchKind {
  log,      ///< A range of the log.
  redrive,  ///< Parked events that an operator queued again.
  rebase,   ///< What the sink held when the cursor was bound anew; parked says which events.
};

/// Dense positions bound to events, and the bytes that every sender of them sends.
struct Batch {
  BatchKind kind = BatchKind::log;
  Position first;                   ///< Position of entries[0].
  std::vector<BatchEntry> entries;  ///< In position order; may be empty if all read was set aside.
  std::string bytes;                ///< The sink's encoding of all entries, one after the other.
  std::string hash;                 ///< SHA-256 over `bytes`.
  Tail prior;                       ///< What must stand in the sink right before `first`.
  Cursor from;                      ///< Cursor before the batch was read.
  Cursor to;                        ///< Cursor after it.
  std::vector<ParkedEntry> parked;  ///< Set aside while reading; parked by the intent.

  std::size_t size() const noexcept { return entries.size(); }
  Position last() const { return Position{first.value() + entries.size() - 1}; }
  std::string_view encoded(std::size_t index) const {
    const std::size_t begin = index == 0 ? 0 : entries[index - 1].end;
    return std::string_view{bytes}.substr(begin, entries[index].end - begin);
  }
  /// What the sink's tail is once entries[0..count) are stored.
  Tail tail_after(std::size_t count) const {
    if (count == 0) return prior;
    return {Position{first.value() + count - 1}, entries[count - 1].id};
  }
};

}  // namespace outseal
