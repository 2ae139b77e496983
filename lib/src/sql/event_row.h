// An event as the current row of a statement.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "model/batch.h"
#include "sql/typed.h"

namespace outseal::sql {

/// The columns of an event, which are the first ones of a statement: OUTSEAL_EVENT_COLUMNS in
/// PostgreSQL's dialect, OUTSEAL_LITE_EVENT_COLUMNS in SQLite's. Nothing is copied: views live
/// until the statement's next step().
class EventColumns {
 public:
  explicit EventColumns(const Statement& row) : row_{&row} {}

  Seq seq() const { return Seq{row_->integer(kSeq)}; }
  std::string_view topic() const { return row_->text(kTopic); }
  std::string_view key() const { return row_->text(kKey); }
  EventRow event() const {
    return {.seq = seq(),
            .id = row_->event_id(kId),
            .topic = topic(),
            .key = key(),
            .type = row_->text(kType),
            .headers = row_->text(kHeaders),
            .payload = row_->blob(kPayload),
            .content_type = row_->text(kContentType),
            .created_at_ms = row_->integer(kCreatedAt)};
  }

  /// False if the row does without, because it is large: see LargeEvent.
  bool has_headers() const { return !row_->is_null(kHeaders); }
  bool has_payload() const { return !row_->is_null(kPayload); }
  /// How many bytes it has that the row does without; nothing if that is not known.
  std::optional<std::uint64_t> headers_bytes() const { return length(kHeadersLength); }
  std::optional<std::uint64_t> payload_bytes() const { return length(kPayloadLength); }

 private:
  enum Column : int {
    kSeq,
    kId,
    kTopic,
    kKey,
    kType,
    kHeaders,
    kPayload,
    kContentType,
    kCreatedAt,
    kPayloadLength,
    kHeadersLength,
    kEnd,
  };
  friend bool is_same_run(const Statement& row);
  friend bool has_event(const Statement& row);

  std::optional<std::uint64_t> length(Column column) const {
    if (row_->is_null(column)) return std::nullopt;
    return static_cast<std::uint64_t>(row_->integer(column));
  }

  const Statement* row_;
};

/// Payload and headers of an event of the log, read apart from what else there is of it. Views live
/// as long as this object.
class LargeEvent {
 public:
  /// @throws Error whatever reading them meets.
  LargeEvent(Connection& connection, Seq seq);

  /// False: there is no such event any more.
  bool found() const { return found_; }
  std::string_view payload() const { return payload_; }
  std::string_view headers() const { return headers_; }

 private:
  Bound bound_;
  bool found_;
  std::string_view payload_;
  std::string_view headers_;
};

}  // namespace outseal::sql
