#include "store/parked.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "base/text.h"
#include "outseal/error.h"
#include "store/audit.h"

namespace outseal::store {

namespace {

using sql::Query;

constexpr std::chrono::milliseconds kWait{5'000};

/// The parked event that a decision names.
struct Row {
  std::int64_t seq = 0;
  std::string key;
};

void require_subscription(sql::Connection& connection, const std::string& name,
                          Query query = Query::find_subscription) {
  const sql::Use row{connection.statement(query)};
  row->bind_text(0, name);
  if (!row->step())
    throw Error{ErrorCode::invalid_argument,
                "parked",
                "there is no subscription '" + name + "'",
                {.hint = "see the names with: outseal-relay status"}};
}

Row find_parked(sql::Connection& connection, const std::string& subscription, EventId event) {
  const std::string id = event.to_string();
  const sql::Use row{connection.statement(Query::find_parked)};
  row->bind_text(0, subscription);
  row->bind_text(1, id);
  if (!row->step())
    throw Error{ErrorCode::invalid_argument,
                "parked",
                "event " + id + " is not parked in subscription '" + subscription + "'",
                {.hint = "see the ids with: outseal-relay parked list"}};
  if (row->text(2) != "parked")
    throw Error{ErrorCode::invalid_argument,
                "parked",
                "event " + id + " is " + std::string{row->text(2)} + " already",
                {.hint = "only events in the state parked can be decided about"}};
  return {row->integer(0), std::string{row->text(1)}};
}

/// The named events in the order of the log; all of them must be parked.
std::vector<Row> find_all(sql::Connection& connection, const ParkedTarget& target) {
  std::vector<Row> rows;
  for (const EventId& event : target.events)
    rows.push_back(find_parked(connection, target.subscription, event));
  std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.seq < b.seq; });
  return rows;
}

/// The earliest event of the row's key that is still parked before it.
std::optional<std::string> parked_before(sql::Connection& connection, const std::string& name,
                                         const Row& row) {
  if (row.key.empty()) return std::nullopt;
  const sql::Use earlier{connection.statement(Query::parked_before)};
  earlier->bind_text(0, name);
  earlier->bind_text(1, row.key);
  earlier->bind(2, row.seq);
  if (!earlier->step()) return std::nullopt;
  return std::string{earlier->text(0)};
}

/// Runs one of the UPDATEs; all of them take subscription, now, actor, decision first.
class Update {
 public:
  Update(sql::Connection& connection, Query query, const ParkedTarget& target,
         const ParkedDecision& decision, std::string_view word)
      : connection_{connection}, use_{connection.statement(query)} {
    use_->bind_text(0, target.subscription);
    use_->bind(1, connection.now_ms());
    use_->bind_text(2, decision.actor);
    text_ = std::string{word} + (decision.reason.empty() ? "" : ": " + decision.reason);
    use_->bind_text(3, text_);
  }
  Update& with(int index, std::int64_t value) {
    use_->bind(index, value);
    return *this;
  }
  Update& with(int index, const std::optional<std::string>& value) {
    value ? use_->bind_text(index, *value) : use_->bind_null(index);
    return *this;
  }
  std::uint64_t run() {
    use_->step();
    return static_cast<std::uint64_t>(connection_.changes());
  }

 private:
  sql::Connection& connection_;
  sql::Use use_;
  std::string text_;
};

std::uint64_t queue_behind(sql::Connection& connection, const ParkedTarget& target,
                           const ParkedDecision& decision, const Row& row) {
  return Update{connection, Query::queue_behind_one, target, decision, "queued"}
      .with(4, row.key)
      .with(5, row.seq)
      .run();
}

void record(sql::Connection& connection, std::string_view act, const ParkedTarget& target,
            const ParkedDecision& decision, const ParkedCounts& counts) {
  std::string detail = "{\"discarded\":" + std::to_string(counts.discarded) +
                       ",\"queued\":" + std::to_string(counts.queued);
  if (!target.events.empty()) {
    detail += ",\"events\":[";
    for (const EventId& event : target.events)
      detail += (detail.back() == '[' ? "\"" : ",\"") + event.to_string() + "\"";
    detail += "]";
  }
  if (target.key) {
    detail += ",\"key\":";
    append_json_string(detail, *target.key);
  }
  if (!decision.reason.empty()) {
    detail += ",\"reason\":";
    append_json_string(detail, decision.reason);
  }
  append_audit(connection, {decision.actor, act, target.subscription, detail + "}"});
}

void check(const ParkedTarget& target, const ParkedDecision& decision) {
  const int ways = (target.events.empty() ? 0 : 1) + (target.key ? 1 : 0) + (target.all ? 1 : 0);
  if (ways != 1)
    throw Error{ErrorCode::invalid_argument,
                "parked",
                "name events by id, by key, or all of them",
                {.hint = "give one of EVENT_ID, --key KEY and --all"}};
  if (target.key && target.key->empty())
    throw Error{ErrorCode::invalid_argument,
                "parked",
                "events without a key have no order",
                {.hint = "name them by id"}};
  const std::string_view texts[] = {decision.actor, decision.reason,
                                    target.key ? std::string_view{*target.key} : ""};
  for (const std::string_view text : texts)
    if (!is_utf8(text))
      throw Error{ErrorCode::invalid_argument, "parked", "actor, reason and key must be UTF-8"};
}

}  // namespace

void list_parked(sql::Connection& connection, const ParkedFilter& filter,
                 const std::function<void(const ParkedEvent&)>& show) {
  require_subscription(connection, filter.subscription);
  const sql::Use rows{connection.statement(Query::list_parked)};
  rows->bind_text(0, filter.subscription);
  filter.state ? rows->bind_text(1, *filter.state) : rows->bind_null(1);
  filter.key ? rows->bind_text(2, *filter.key) : rows->bind_null(2);
  while (rows->step()) {
    ParkedEvent event{.event_id = rows->text(0),
                      .topic = rows->text(1),
                      .key = rows->text(2),
                      .cause = rows->text(3),
                      .state = rows->text(4),
                      .reason = rows->text(5),
                      .attempts = static_cast<std::uint64_t>(rows->integer(6)),
                      .position = std::nullopt,
                      .parked_at_ms = rows->integer(8),
                      .decided_by = rows->text(9),
                      .decision = rows->text(10)};
    if (!rows->is_null(7)) event.position = Position{static_cast<std::uint64_t>(rows->integer(7))};
    show(event);
  }
}

ParkedCounts redrive(sql::Connection& connection, const ParkedTarget& target,
                     const ParkedDecision& decision) {
  check(target, decision);
  return sql::transact(connection, kWait, [&] {
    require_subscription(connection, target.subscription, Query::lock_subscription);
    ParkedCounts counts;
    for (const Row& row : find_all(connection, target)) {
      if (const auto earlier = parked_before(connection, target.subscription, row))
        throw Error{ErrorCode::invalid_argument,
                    "redrive",
                    "event " + *earlier + " of the same key is parked before it",
                    {.hint = "decide about " + *earlier + " first, or redrive the whole key"}};
      counts.queued +=
          Update{connection, Query::queue_one, target, decision, "redrive"}.with(4, row.seq).run();
      counts.queued += queue_behind(connection, target, decision, row);
    }
    if (target.events.empty())
      counts.queued = Update{connection, Query::queue_all, target, decision, "redrive"}
                          .with(4, target.key)
                          .run();
    record(connection, "parked.redrive", target, decision, counts);
    return counts;
  });
}

ParkedCounts discard(sql::Connection& connection, const ParkedTarget& target,
                     const ParkedDecision& decision) {
  check(target, decision);
  if (decision.reason.empty())
    throw Error{ErrorCode::invalid_argument,
                "discard",
                "a reason is missing",
                {.hint = "say why with --reason TEXT; it is kept in the audit trail"}};
  return sql::transact(connection, kWait, [&] {
    require_subscription(connection, target.subscription, Query::lock_subscription);
    ParkedCounts counts;
    const std::vector<Row> rows = find_all(connection, target);
    for (const Row& row : rows)
      counts.discarded += Update{connection, Query::discard_one, target, decision, "discard"}
                              .with(4, row.seq)
                              .run();
    for (const Row& row : rows)
      // With an earlier one still parked, those behind this one stand behind that one as well.
      if (!parked_before(connection, target.subscription, row))
        counts.queued += queue_behind(connection, target, decision, row);
    if (target.events.empty()) {
      counts.discarded = Update{connection, Query::discard_refused, target, decision, "discard"}
                             .with(4, target.key)
                             .run();
      counts.queued = Update{connection, Query::queue_all, target, decision, "queued"}
                          .with(4, target.key)
                          .run();
    }
    record(connection, "parked.discard", target, decision, counts);
    return counts;
  });
}

}  // namespace outseal::store
