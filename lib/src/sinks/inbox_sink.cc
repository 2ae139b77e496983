#include "sinks/inbox_sink.h"

#include <chrono>
#include <string_view>
#include <utility>
#include <vector>

#include "base/failpoint.h"
#include "base/text.h"
#include "outseal/error.h"
#include "outseal/inbox.h"
#include "sinks/inbox_frame.h"
#include "sinks/inbox_reader.h"
#include "store/migrations.h"

namespace outseal::sinks {
namespace {

using sql::Query;
using Opened = OpenResult::Status;
using Delivery = DeliveryResult::Status;

/// How long a write waits for other writers of an SQLite file. PostgreSQL has its own limit, see
/// setting_of().
constexpr std::chrono::milliseconds kWriteWait{5'000};
constexpr std::string_view kEventBytes = "event_bytes_max";

std::int64_t as_number(Position position) { return static_cast<std::int64_t>(position.value()); }

/// As the databases' columns hold it: no event has no id.
std::string id_text(const EventId& id) { return id.is_nil() ? std::string{} : id.to_string(); }

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

/// The events of a batch as the arrays that one statement inserts.
struct Columns {
  using Texts = std::vector<std::string_view>;
  std::vector<EventId> ids;
  Texts topics, keys, types, headers, payloads, content_types;
  std::vector<std::int64_t> times;

  Columns(const Batch& batch, std::size_t from) {
    const std::size_t count = batch.size() - from;
    ids.reserve(count);
    times.reserve(count);
    for (Texts* texts : {&topics, &keys, &types, &headers, &payloads, &content_types})
      texts->reserve(count);
    for (std::size_t i = from; i < batch.size(); ++i) {
      const EventRow row = frame_at(batch, i).row;
      ids.push_back(row.id);
      topics.push_back(row.topic);
      keys.push_back(row.key);
      types.push_back(row.type);
      headers.push_back(row.headers);
      payloads.push_back(row.payload);
      content_types.push_back(row.content_type);
      times.push_back(row.created_at_ms);
    }
  }
};

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
  return {.has_tail = true, .conditional_append = true, .readable = true};
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
    // In a transaction: on a file this shows that it may be written, and by us.
    result.tail = sql::transact(*connection_, kWriteWait, [&] { return read_tail(); });
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
  const sql::Use trouble{connection_->statement(Query::inbox_trouble)};
  trouble->step();
  if (trouble->integer(0) != 0)
    return {.status = Opened::retry_later,
            .detail = "inbox: the server is a standby",
            .hint = "name the primary, or all servers and target_session_attrs=primary"};
  if (trouble->integer(1) != 0)
    return {.status = Opened::unusable,
            .detail = "inbox: the user may not write it",
            .hint = "grant the user the role outseal_sink"};
  if (trouble->integer(2) != 0)
    return {.status = Opened::unusable,
            .detail = "inbox: the database's encoding is not UTF8",
            .hint = "make the receiver's database with ENCODING 'UTF8'"};
  OpenResult result;
  if (trouble->integer(3) != 0) {
    result.detail =
        "inbox: the server runs with fsync or full_page_writes off: a crash of its machine may"
        " lose or spoil events that it has acknowledged";
    result.hint = "set fsync = on and full_page_writes = on in its postgresql.conf";
  }
  return result;
}

Tail InboxSink::read_tail() {
  const sql::Use read{connection_->statement(Query::read_inbox_position)};
  read->bind_text(0, stream_);
  if (!read->step()) return {};
  return {Position{static_cast<std::uint64_t>(read->integer(0))}, read->event_id(1)};
}

DeliveryResult InboxSink::deliver(const Batch& batch, std::size_t from) {
  if (connection_ == nullptr)
    return {.status = Delivery::retry_later, .detail = "inbox: it is not open"};
  DeliveryResult result{.done = batch.size(),
                        .mark = "inbox:" + std::to_string(batch.last().value())};
  if (from == batch.size()) return result;
  try {
    // A mutant takes whatever stands there for what was expected.
    const Tail before = mutant("no_inbox_condition") ? read_tail() : batch.tail_after(from);
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
    if (error.code() == ErrorCode::constraint)
      return {.status = Delivery::refused,
              .done = from,
              .detail =
                  "inbox: it holds events of this batch already, although its last event is"
                  " an earlier one: " +
                  error.message(),
              .hint =
                  "the outbox was restored to an older state, somebody else writes the inbox, or"
                  " a producer used an event's id again after retention had removed the event:"
                  " find out which before anything else is published"};
    return {.status = Delivery::retry_later,
            .done = from,
            .detail = "inbox: " + error.message(),
            .hint = error.hint()};
  }
}

/// False if the inbox's last event is not `before`; then nothing is stored.
bool InboxSink::store(const Batch& batch, std::size_t from, const Tail& before) {
  return connection_->pipelines() ? store_at_once(batch, from, before)
                                  : store_one_by_one(batch, from, before);
}

bool InboxSink::store_at_once(const Batch& batch, std::size_t from, const Tail& before) {
  if (before.position == Position{}) insert_position();
  const Columns columns{batch, from};
  const std::string before_id = id_text(before.event_id);
  const std::string last_id = batch.entries.back().id.to_string();
  const sql::Use append{connection_->statement(Query::append_inbox)};
  append->bind_text(0, stream_);
  append->bind(1, as_number(before.position));
  append->bind_text(2, before_id);
  append->bind(3, as_number(batch.last()));
  append->bind_text(4, last_id);
  append->bind_ids(5, columns.ids);
  append->bind_texts(6, columns.topics);
  append->bind_texts(7, columns.keys);
  append->bind_texts(8, columns.types);
  append->bind_texts(9, columns.headers);
  append->bind_blobs(10, columns.payloads);
  append->bind_texts(11, columns.content_types);
  append->bind_times(12, columns.times);
  append->step();  // With BEGIN and COMMIT, in one round trip; see setting_of().
  return connection_->changes() > 0;
}

bool InboxSink::store_one_by_one(const Batch& batch, std::size_t from, const Tail& before) {
  struct NotTheTail {};
  try {
    sql::transact(*connection_, kWriteWait, [&] {
      if (before.position == Position{}) insert_position();
      const std::int64_t now = connection_->now_ms();
      const std::string before_id = id_text(before.event_id);
      const std::string last_id = batch.entries.back().id.to_string();
      const sql::Use move{connection_->statement(Query::move_inbox_tail)};
      move->bind_text(0, stream_);
      move->bind(1, as_number(before.position));
      move->bind_text(2, before_id);
      move->bind(3, as_number(batch.last()));
      move->bind_text(4, last_id);
      move->bind(5, now);
      move->step();
      if (connection_->changes() != 1) throw NotTheTail{};
      for (std::size_t i = from; i < batch.size(); ++i) {
        const InboxFrame frame = frame_at(batch, i);
        const std::string id = frame.row.id.to_string();
        const sql::Use insert{connection_->statement(Query::insert_inbox_event)};
        insert->bind_text(0, stream_);
        insert->bind(1, as_number(frame.position));
        insert->bind_text(2, id);
        insert->bind_text(3, frame.row.topic);
        insert->bind_text(4, frame.row.key);
        insert->bind_text(5, frame.row.type);
        insert->bind_text(6, frame.row.headers);
        insert->bind_blob(7, frame.row.payload);
        insert->bind_text(8, frame.row.content_type);
        insert->bind(9, frame.row.created_at_ms);
        insert->bind(10, now);
        insert->step();
      }
      failpoint("inbox.before_commit");
    });
  } catch (const NotTheTail&) {
    return false;
  }
  return true;
}

/// The row that is compared must exist. At position 0 it says what a missing one does.
void InboxSink::insert_position() {
  const sql::Use insert{connection_->statement(Query::insert_inbox_position)};
  insert->bind_text(0, stream_);
  insert->step();
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

std::unique_ptr<Sink> make_inbox_sink(const Url& url, const SinkContext& context) {
  using Options = InboxSinkOptions;
  const Options options{.event_bytes_max =
                            url.number(kEventBytes, Options::kEventBytesDefault,
                                       Options::kEventBytesMin, Options::kEventBytesMax)};
  Url database = url;
  database.parameters.erase(std::string{kEventBytes});
  if (url.scheme == "sqlite") url.refuse_parameters_except(kEventBytes);
  sql::check_url(database);
  return std::make_unique<InboxSink>(std::move(database), context.stream, options);
}

}  // namespace outseal::sinks
