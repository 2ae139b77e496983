// How a subscription begins: what it is made of, and where in the log it starts.
#include <nlohmann/json.hpp>

#include "model/stop_budget.h"
#include "outseal/error.h"
#include "store/audit.h"
#include "store/subscription.h"

namespace outseal::store {
namespace {

constexpr std::string_view kStartAct = "subscription.start";

constexpr std::string_view kHintMove =
    "positions are bound to it: use the same; if this one holds the same events, say so with"
    " outseal-relay move";
constexpr std::string_view kHintFixed =
    "positions are bound to it: use the same, or another --subscription; outseal-relay remove gives"
    " up this one";

void refuse_change(const std::string& name, std::string_view what, const std::string& is,
                   const std::string& asked, std::string_view hint) {
  if (is == asked) return;
  throw Error{
      ErrorCode::refused,
      "declare",
      "subscription " + name + " has the " + std::string{what} + " " + is + ", not " + asked,
      {.hint = std::string{hint}}};
}

}  // namespace

void set_sink(sql::Connection& connection, std::string_view name, std::string_view address,
              std::string_view identity) {
  sql::transact(connection, StopBudget::kWrite,
                [&] { sql::set_sink(connection, name, address, identity); });
}

/// Where a new subscription starts is on record: an operator decided that what was committed before
/// is not sent, and the reconciler must not take it for lost.
void SubscriptionLog::record_start(const std::string& name, const SourceIdentity& source) {
  const auto made = sql::read_subscription(connection_, name).value();
  const nlohmann::ordered_json detail{{"start", "now"},
                                      {"after_seq", made.cursor.after_seq.value()},
                                      {"snapshot", made.cursor.snap_from},
                                      {"system", source.system}};
  append_audit(connection_, {current_actor(), kStartAct, name, detail.dump()});
}

/// True if the row was written now, and not by another relay at the same time.
bool SubscriptionLog::insert(const SubscriptionSpec& spec, const SourceIdentity& source) {
  const bool now = spec.start == Start::now;
  return sql::transact(connection_, StopBudget::kWrite, [&] {
    // A snapshot means nothing in another cluster; the beginning is the same in each.
    if (!sql::insert_subscription(connection_, spec, now ? source : SourceIdentity{},
                                  connection_.now_ms()))
      return false;
    if (now) record_start(spec.name, source);
    return true;
  });
}

bool SubscriptionLog::declare(const SubscriptionSpec& spec) {
  spec.validate();
  // Nothing is written down on a server that cannot be read.
  const SourceIdentity source = reader_->identify({}, std::nullopt);
  SubscriptionSpec asked = spec;
  if (asked.event_source.empty()) asked.event_source = "/outseal/" + asked.name;
  const auto known = sql::find_subscription(connection_, asked.name);
  const bool made = !known && insert(asked, source);
  if (known && (known->sink != asked.sink || known->topics != asked.topics ||
                known->event_source != asked.event_source)) {
    sql::transact(connection_, StopBudget::kWrite,
                  [&] { sql::redeclare_subscription(connection_, asked, connection_.now_ms()); });
  }
  const SubscriptionSpec is = *sql::find_subscription(connection_, asked.name);
  refuse_change(asked.name, "sink", is.sink, asked.sink, kHintMove);
  refuse_change(asked.name, "topics", sql::topics_as_json(is.topics),
                sql::topics_as_json(asked.topics), kHintFixed);
  refuse_change(asked.name, "event source", is.event_source, asked.event_source, kHintFixed);
  return made;
}

std::optional<Cursor> find_start(sql::Connection& connection, std::string_view name) {
  const auto note = sql::find_start(connection, kStartAct, name);
  if (!note || !note->detail) return Cursor{};
  const auto detail = nlohmann::json::parse(*note->detail);
  if (detail.at("system").get<std::string>() != note->system) return std::nullopt;
  return Cursor{.after_seq = Seq{detail.at("after_seq").get<std::int64_t>()},
                .snap_from = detail.at("snapshot").get<std::string>(),
                .snap_to = {}};
}

}  // namespace outseal::store
