#include "sinks/inbox/reader.h"

#include <optional>
#include <string_view>
#include <utility>

#include "outseal/error.h"
#include "sinks/inbox/message.h"

namespace outseal::sinks {
namespace {

constexpr std::int64_t kPageRows = 500;
/// A page ends with the event that reaches this.
constexpr std::size_t kPageBytes = 4U << 20U;

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
  sql::Statement& page = sql::read_inbox_page(*connection_, stream_, last_, kPageRows);
  const sql::StatementScope use{page};
  while (bytes_.size() < kPageBytes && page.step()) append(sql::inbox_row(page));
  if (!rows_.empty()) last_ = rows_.back().position;
}

void InboxReader::append(sql::InboxRow row) {
  std::optional<sql::StatementScope> large;
  if (!sql::complete(*connection_, stream_, row, large))
    throw Error{ErrorCode::refused,
                "read",
                "the receiver has purged position " + std::to_string(row.position.value()) +
                    " while it was read",
                {.hint = "run again: outseal-reconcile run; let purge_taken() keep events as long"
                         " as the journal"}};
  append_inbox_frame(row.event, row.position, bytes_);
  rows_.push_back({row.position, row.event.id, bytes_.size()});
}

}  // namespace outseal::sinks
