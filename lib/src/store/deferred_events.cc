#include <utility>

#include "base/failpoint.h"
#include "sql/refusal.h"
#include "store/transaction.h"

namespace outseal::store {
namespace {

constexpr std::size_t kBytesMax = 1U << 20U;
constexpr std::size_t kEventsMax = 1'000;

}  // namespace

void run_insert(sql::Statement& insert, std::span<const NewEvent> events) {
  const sql::StatementScope use{insert};
  try {
    insert.step();
  } catch (const Error& error) {
    throw_clearer(error, "append", subject_of(events));
  }
}

void throw_dropped(std::string_view operation, std::string_view table) {
  throw Error{ErrorCode::invalid_config,
              operation,
              "a trigger or rule of somebody's dropped a row of " + std::string{table},
              {.hint = "drop the trigger: outseal's tables take none but outseal's own",
               .table = std::string{table}}};
}

std::string name_of_table(const sql::Connection& connection, std::string_view table) {
  return (connection.dialect() == "sqlite" ? "outseal_" : "outseal.") + std::string{table};
}

void require_stored(sql::Connection& connection, std::string_view operation,
                    std::string_view table) {
  if (connection.changes() == 1) return;
  throw_dropped(operation, name_of_table(connection, table));
}

void throw_clearer(const Error& error, std::string_view operation, std::string_view subject) {
  switch (sql::refusal_of(error)) {
    case sql::Refusal::dropped:
      throw_dropped(operation, sql::dropped_table(error));
    case sql::Refusal::overtaken:
      throw Error{ErrorCode::invalid_config,
                  operation,
                  "a trigger or SQL of the service appended events to the same transaction: their "
                  "order beside those of append() would not be known",
                  {.hint = "set append_at_once in TransactionOptions or ExecuteOptions"}};
    case sql::Refusal::another_transaction:
      throw Error{ErrorCode::storage,
                  operation,
                  "the session is in another transaction than the one that was begun",
                  {.hint = "the service ended it; nothing of it was committed"}};
    case sql::Refusal::none:
      break;
  }
  const bool of_outbox =
      error.table().ends_with("outbox") || error.constraint().starts_with("outbox_");
  if (error.code() != ErrorCode::constraint || subject.empty() || !of_outbox) throw Error{error};
  const bool is_used = error.detail_code() == "23505" || error.detail_code() == "2067";
  throw Error{
      ErrorCode::constraint,
      operation,
      std::string{subject} + " was refused: " + error.message(),
      {.hint = is_used ? "an event id is used once; leave it out to get a new one" : error.hint(),
       .detail_code = error.detail_code(),
       .table = error.table(),
       .constraint = error.constraint()}};
}

std::string subject_of(std::span<const NewEvent> events) {
  return events.size() == 1 ? "event " + events.front().id : "an event";
}

std::string_view DeferredEvents::identity() const {
  return mutant("no_identity") ? std::string_view{} : own_.identity();
}

sql::Statement& DeferredEvents::bind(std::span<const NewEvent> events, bool prove_order,
                                     const sql::NewRecord* record) {
  const bool in_order = prove_order && !mutant("no_order_check") && !mutant("no_identity");
  return sql::append_own_events(connection_, events,
                                {.transaction = identity(), .in_order = in_order, .last = last_},
                                record);
}

void DeferredEvents::write(std::span<const NewEvent> events, bool prove_order) {
  in_parts(events, [&](std::span<const NewEvent> part) {
    run_insert(bind(part, prove_order, nullptr), part);
    prove_order = false;  // The rest follows at once.
  });
}

void DeferredEvents::append(std::vector<NewEvent> events) {
  if (!at_once_ && !own_.has_savepoint()) {
    for (NewEvent& event : events) {
      if (events_.empty()) appended_at_ = connection_.statements_run();
      bytes_ += event.payload.size() + event.headers.size();
      events_.push_back(std::move(event));
      if (bytes_ < kBytesMax && events_.size() < kEventsMax) continue;
      // Before any savepoint: nothing but the transaction's end undoes this.
      write(events_, connection_.statements_run() != appended_at_);
      last_ = std::move(events_.back().id);
      events_.clear();
      bytes_ = 0;
    }
    return;
  }
  if (needs_write()) {
    write(events_, written_ || connection_.statements_run() != appended_at_);
    written_ = true;
  }
  write(events, false);
}

bool DeferredEvents::needs_write() {
  if (events_.empty()) return false;
  return !written_ || (own_.take_return() && !is_written(connection_));
}

bool DeferredEvents::is_written(sql::Connection& connection) const {
  return sql::is_appended(connection, own_.identity(), events_.back().id);
}

sql::Statement* DeferredEvents::flush(const sql::NewRecord* record) {
  if (needs_write())
    return &bind(events_, written_ || connection_.statements_run() != appended_at_, record);
  return record != nullptr ? &sql::complete_operation(connection_, *record, identity()) : nullptr;
}

std::span<const NewEvent> DeferredEvents::missing(sql::Connection& connection) {
  if (written_ && !events_.empty() && is_written(connection)) return {};
  return events_;
}

}  // namespace outseal::store
