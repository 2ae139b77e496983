#include "sinks/inbox/sink.h"

#include <chrono>
#include <string_view>
#include <utility>
#include <vector>

#include "base/failpoint.h"
#include "base/text.h"
#include "outseal/error.h"
#include "outseal/inbox.h"
#include "sinks/inbox/message.h"
#include "sinks/inbox/reader.h"
#include "sql/inbox_sink.h"
#include "store/migrations.h"

namespace outseal::sinks {
namespace {

using Opened = OpenResult::Status;
using Delivery = DeliveryResult::Status;

/// How long a write waits for other writers of an SQLite file. PostgreSQL has its own limit, in
/// append_inbox().
constexpr std::chrono::milliseconds kWriteWait{5'000};

bool is_storable(std::string_view text) {
  return is_utf8(text) && text.find('\0') == std::string_view::npos;
}

/// What an error of the database means for open(). A file is there or it is not; a server may come
/// back.
Opened status_of(const Error& error, bool is_file) {
  switch (error.code()) {
    case ErrorCode::conflict:
      return Opened::retry_later;
    case ErrorCode::unreachable:
    case ErrorCode::storage:
    case ErrorCode::commit_in_doubt:
      return is_file || error.detail_code() == "3D000" ? Opened::unusable : Opened::retry_later;
    case ErrorCode::refused:  // A server that is read-only for now.
      return Opened::retry_later;
    default:
      return Opened::unusable;
  }
}

InboxFrame frame_at(const Batch& batch, std::size_t index) {
  auto frame = parse_inbox_frame(batch.encoded(index));
  if (!frame)
    throw Error{ErrorCode::internal, "deliver", "the batch was encoded by another kind of sink"};
  return *frame;
}

}  // namespace

InboxSink::InboxSink(Url url, std::string stream, const InboxSinkOptions& options)
    : url_{std::move(url)}, stream_{std::move(stream)}, options_{options} {
  if (stream_.empty() || stream_.size() > kStreamBytesMax || !is_storable(stream_))
    throw Error{ErrorCode::invalid_config,
                "inbox",
                "event source and subscription are not a text of 1 to 1024 bytes together",
                {.hint = "give a shorter --event-source"}};
}

SinkFeatures InboxSink::features() const {
  return {.second_copy = SecondCopy::transactional, .readable = true};
}

std::optional<std::string> InboxSink::encode(const EventRow& row, Position position,
                                             std::string& out) {
  const std::size_t bytes = row.topic.size() + row.key.size() + row.type.size() +
                            row.content_type.size() + row.headers.size() + row.payload.size();
  if (bytes > options_.event_bytes_max)
    return "its " + std::to_string(bytes) + " bytes are more than the inbox's limit of " +
           std::to_string(options_.event_bytes_max);
  for (const auto& [text, name] :
       {std::pair{row.topic, "topic"}, std::pair{row.key, "key"}, std::pair{row.type, "type"},
        std::pair{row.content_type, "content type"}})
    if (!is_storable(text)) return std::string{"its "} + name + " is not UTF-8 or holds a NUL byte";
  if (row.headers != "{}" && !json_.is_object(row.headers))
    return "its headers are not a JSON object in UTF-8";
  if (!is_rfc3339_time(row.created_at_ms)) return "its time is not between the years 1970 and 9999";
  append_inbox_frame(row, position, out);
  return std::nullopt;
}

std::unique_ptr<sql::Connection> InboxSink::connect() const {
  auto connection = sql::open(url_);
  store::require_schema(*connection);
  return connection;
}

OpenResult InboxSink::open() {
  close();
  try {
    connection_ = connect();
    OpenResult result = look_at_server();
    if (result.status != Opened::opened) {
      close();
      return result;
    }
    // A write, which shows that it may be written, and by us; and take() knows the stream from now
    // on. deliver() compares the row with what it expects.
    result.tail = sql::transact(*connection_, kWriteWait, [&] {
      sql::insert_inbox_tail(*connection_, stream_);
      return sql::read_inbox_tail(*connection_, stream_);
    });
    result.identity = sql::read_inbox_identity(*connection_);
    return result;
  } catch (const Error& error) {
    close();
    return {.status = status_of(error, url_.scheme == "sqlite"),
            .detail = "inbox: " + error.message(),
            .hint = error.hint()};
  }
}

/// What rules the server out will not change by waiting, except for a standby, which may be
/// promoted. Its tail may lag.
OpenResult InboxSink::look_at_server() {
  const sql::InboxTrouble trouble = sql::find_inbox_trouble(*connection_);
  if (trouble.is_standby)
    return {.status = Opened::retry_later,
            .detail = "inbox: the server is a standby",
            .hint = "name the primary, or all servers and target_session_attrs=primary"};
  if (trouble.is_denied)
    return {.status = Opened::unusable,
            .detail = "inbox: the user may not write it",
            .hint = "grant the user the role outseal_sink"};
  OpenResult result;
  if (trouble.loses_committed) {
    result.detail =
        "inbox: the server runs with fsync or full_page_writes off: a crash of its machine may"
        " lose or spoil events that it has acknowledged";
    result.hint = "set fsync = on and full_page_writes = on in its postgresql.conf";
  }
  return result;
}

DeliveryResult InboxSink::deliver(const Batch& batch, std::size_t from) {
  if (connection_ == nullptr)
    return {.status = Delivery::retry_later, .detail = "inbox: it is not open"};
  DeliveryResult result{.done = batch.size(),
                        .mark = "inbox:" + std::to_string(batch.last().value())};
  if (from == batch.size()) return result;
  try {
    // A mutant takes whatever stands there for what was expected.
    const Tail before = mutant("no_inbox_condition") ? sql::read_inbox_tail(*connection_, stream_)
                                                     : batch.tail_after(from);
    failpoint("inbox.before_store");
    const bool stored = store(batch, from, before);
    failpoint("inbox.after_store");
    if (stored) return result;
    return {.status = Delivery::conflict,
            .done = from,
            .detail = "inbox: its last event is not the one at position " +
                      std::to_string(before.position.value())};
  } catch (const Error& error) {
    close();  // Whatever is left of the transaction ends with its connection.
    if (error.code() == ErrorCode::constraint) return deliver_up_to_known(batch, from, error);
    return {.status = Delivery::retry_later,
            .done = from,
            .detail = "inbox: " + error.message(),
            .hint = error.hint()};
  }
}

/// Some event of the batch is in the inbox already, although the inbox ends before the batch: a
/// producer used its id again after retention had removed the first one. No inbox ever takes it, so
/// it is rejected, behind those before it.
DeliveryResult InboxSink::deliver_up_to_known(const Batch& batch, std::size_t from,
                                              const Error& fault) {
  const std::string held =
      "inbox: it holds events of this batch already, although its last event is an earlier one: ";
  const DeliveryResult later{.status = Delivery::retry_later, .done = from, .detail = held};
  try {
    connection_ = connect();
    const Tail before = batch.tail_after(from);
    if (sql::read_inbox_tail(*connection_, stream_) != before && !mutant("no_inbox_condition"))
      return later;
    for (std::size_t i = from; i < batch.size(); ++i) {
      const auto known = sql::find_inbox_event(*connection_, stream_, batch.entries[i].id);
      if (!known) continue;
      if (*known > before.position) break;  // No event of ours: see below.
      Batch sound = batch;
      sound.entries.resize(i);
      sound.bytes.resize(i == 0 ? 0 : batch.entries[i - 1].end);
      if (i > from && !store(sound, from, before)) return later;
      return {.status = Delivery::rejected,
              .done = i,
              .detail = "its id came back: the inbox has an event with it at position " +
                        std::to_string(known->value())};
    }
  } catch (const Error& error) {
    close();
    return {.status = Delivery::retry_later,
            .done = from,
            .detail = "inbox: " + error.message(),
            .hint = error.hint()};
  }
  close();
  return {.status = Delivery::refused,
          .done = from,
          .detail = held + fault.message(),
          .hint =
              "somebody else writes the inbox: see what differs with outseal-reconcile run"
              " --check journal_sink, and remove what outseal did not put there"};
}

/// False if the inbox's last event is not `before`; then nothing is stored.
bool InboxSink::store(const Batch& batch, std::size_t from, const Tail& before) {
  const sql::TailMove move{
      .stream = stream_, .from = before, .to = {batch.last(), batch.entries.back().id}};
  return connection_->pipelines() ? store_at_once(batch, from, move)
                                  : store_one_by_one(batch, from, move);
}

bool InboxSink::store_at_once(const Batch& batch, std::size_t from, const sql::TailMove& move) {
  std::vector<EventRow> events;
  events.reserve(batch.size() - from);
  for (std::size_t i = from; i < batch.size(); ++i) events.push_back(frame_at(batch, i).row);
  return sql::append_inbox(*connection_, move, events);
}

bool InboxSink::store_one_by_one(const Batch& batch, std::size_t from, const sql::TailMove& move) {
  struct NotTheTail {};
  try {
    sql::transact(*connection_, kWriteWait, [&] {
      const std::int64_t now = connection_->now_ms();
      if (!sql::move_inbox_tail(*connection_, move, now)) throw NotTheTail{};
      for (std::size_t i = from; i < batch.size(); ++i) {
        const InboxFrame frame = frame_at(batch, i);
        sql::insert_inbox_event(*connection_, stream_, frame.position, frame.row, now);
      }
      failpoint("inbox.before_commit");
    });
  } catch (const NotTheTail&) {
    return false;
  }
  return true;
}

void InboxSink::close() noexcept { connection_.reset(); }

std::unique_ptr<SinkReader> InboxSink::read() {
  try {
    return std::make_unique<InboxReader>(connect(), stream_);
  } catch (const Error& error) {
    throw Error{ErrorCode::sink_unreachable,
                "read",
                "inbox: " + error.message(),
                {.hint = error.hint(), .detail_code = error.detail_code()}};
  }
}

}  // namespace outseal::sinks
