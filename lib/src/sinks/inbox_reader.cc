#include "sinks/inbox_reader.h"

#include <optional>
#include <string_view>
#include <utility>

#include "outseal/error.h"
#include "sinks/inbox_frame.h"
#include "store/event_row.h"

namespace outseal::sinks {
namespace {

constexpr std::int64_t kPageRows = 500;
/// A page ends with the event that reaches this.
constexpr std::size_t kPageBytes = 4U << 20U;

std::int64_t as_number(Position position) { return static_cast<std::int64_t>(position.value()); }

}  // namespace

InboxReader::InboxReader(std::unique_ptr<sql::Connection> connection, std::string stream)
    : connection_{std::move(connection)}, stream_{std::move(stream)} {}

bool InboxReader::next(SinkRecord& record) {
  if (given_ == rows_.size()) {
    try {
      read_page();
    } catch (const Error& error) {
      throw Error{ErrorCode::sink_unreachable, "read", error.message(), {.hint = error.hint()}};
    }
  }
  if (rows_.empty()) return false;
  const std::size_t begin = given_ == 0 ? 0 : rows_[given_ - 1].end;
  const Row& row = rows_[given_++];
  record = {.position = row.position,
            .event_id = row.id,
            .encoded = std::string_view{bytes_}.substr(begin, row.end - begin),
            .where = "inbox:" + std::to_string(row.position.value())};
  return true;
}

void InboxReader::read_page() {
  bytes_.clear();
  rows_.clear();
  given_ = 0;
  sql::Statement& statement = connection_->statement(sql::Query::read_inbox_page);
  const sql::Use page{statement};
  page->bind_text(0, stream_);
  page->bind(1, as_number(last_));
  page->bind(2, kPageRows);
  while (bytes_.size() < kPageBytes && page->step()) append(statement);
  if (!rows_.empty()) last_ = rows_.back().position;
}

void InboxReader::append(const sql::Statement& statement) {
  EventRow row = store::event_row(statement);  // Its number is the position here.
  const Position position{static_cast<std::uint64_t>(row.seq.value())};
  std::optional<sql::Use> large;
  if (statement.is_null(6)) {
    sql::Statement& payload = connection_->statement(sql::Query::read_inbox_payload);
    large.emplace(payload);
    payload.bind_text(0, stream_);
    payload.bind(1, as_number(position));
    if (!payload.step())
      throw Error{ErrorCode::refused, "read",
                  "the receiver has purged position " + std::to_string(position.value()) +
                      " while it was read"};
    row.payload = payload.blob(0);
  }
  append_inbox_frame(row, position, bytes_);
  rows_.push_back({position, row.id, bytes_.size()});
}

}  // namespace outseal::sinks
