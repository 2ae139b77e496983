// How a subscription begins: what it is made of, and where in the log it starts.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "model/limits.h"
#include "outseal/error.h"
#include "store/audit.h"
#include "store/subscription.h"

namespace outseal::store {
namespace {

constexpr std::string_view kStartAct = "subscription.start";

std::string topics_as_json(const std::vector<std::string>& topics) {
  return nlohmann::json(topics).dump();
}

void refuse_change(const std::string& name, std::string_view what, const std::string& is,
                   const std::string& asked) {
  if (is == asked) return;
  throw Error{
      ErrorCode::refused,
      "declare",
      "subscription " + name + " has the " + std::string{what} + " " + is + ", not " + asked,
      {.hint = "positions are bound to it: use the same " + std::string{what} +
               ", or another --subscription"}};
}

}  // namespace

void SubscriptionSpec::validate() const {
  Faults faults{"subscription"};
  const auto is_name_character = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' || c == '-';
  };
  if (name.empty() || name.size() > 100 ||
      !std::all_of(name.begin(), name.end(), is_name_character))
    faults.add("name '" + name + "' is not 1 to 100 of A-Z a-z 0-9 . _ -");
  if (topics.empty()) faults.add("there is no topic pattern");
  for (const std::string& topic : topics)
    if (topic.empty() || topic.size() > kTopicBytesMax)
      faults.add("topic pattern '" + topic + "' is not 1 to 255 bytes");
  if (sink.empty()) faults.add("there is no sink");
  faults.raise();
}

std::vector<std::string> topics_from_json(std::string_view json) {
  return nlohmann::json::parse(json).get<std::vector<std::string>>();
}

std::optional<SubscriptionSpec> find_subscription(sql::Connection& connection,
                                                  std::string_view name) {
  const sql::Use find{connection.statement(sql::Query::find_subscription)};
  find->bind_text(0, name);
  if (!find->step()) return std::nullopt;
  return SubscriptionSpec{.name = std::string{name},
                          .topics = topics_from_json(find->text(0)),
                          .sink = std::string{find->text(1)},
                          .event_source = std::string{find->text(2)}};
}

std::optional<Seq> oldest_event(sql::Connection& connection) {
  const sql::Use find{connection.statement(sql::Query::oldest_event)};
  return find->step() ? std::optional{Seq{find->integer(0)}} : std::nullopt;
}

/// Where a new subscription starts is on record: an operator decided that what was committed before
/// is not sent, and the reconciler must not take it for lost.
void SubscriptionLog::record_start(const std::string& name, const SourceIdentity& source) {
  nlohmann::ordered_json detail{{"start", "now"}};
  {
    const sql::Use made{connection_.statement(sql::Query::read_subscription)};
    made->bind_text(0, name);
    made->step();
    detail["after_seq"] = made->integer(1);
    detail["snapshot"] = std::string{made->text(9)};
  }
  detail["system"] = source.system;
  append_audit(connection_, {current_actor(), kStartAct, name, detail.dump()});
}

/// True if the row was written now, and not by another relay at the same time.
bool SubscriptionLog::insert(const SubscriptionSpec& spec, const SourceIdentity& source) {
  const bool now = spec.start == Start::now;
  const std::string topics = topics_as_json(spec.topics);
  return sql::transact(connection_, kWriteWait, [&] {
    {
      const sql::Use write{connection_.statement(sql::Query::insert_subscription)};
      write->bind_text(0, spec.name);
      write->bind_text(1, topics);
      write->bind_text(2, spec.sink);
      write->bind_text(3, spec.event_source);
      write->bind(4, connection_.now_ms());
      write->bind_text(5, now ? "now" : "beginning");
      // A snapshot means nothing in another cluster; the beginning is the same in each.
      now && !source.system.empty() ? write->bind_text(6, source.system) : write->bind_null(6);
      now && !source.system.empty() ? write->bind(7, source.timeline) : write->bind_null(7);
      write->step();
      if (connection_.changes() == 0) return false;
    }
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
  const std::string topics = topics_as_json(asked.topics);
  const auto known = find_subscription(connection_, asked.name);
  const bool made = !known && insert(asked, source);
  if (known && (known->sink != asked.sink || known->topics != asked.topics ||
                known->event_source != asked.event_source)) {
    sql::transact(connection_, kWriteWait, [&] {
      const sql::Use write{connection_.statement(sql::Query::redeclare_subscription)};
      write->bind_text(0, asked.name);
      write->bind_text(1, topics);
      write->bind_text(2, asked.sink);
      write->bind_text(3, asked.event_source);
      write->bind(4, connection_.now_ms());
      write->step();
    });
  }
  const SubscriptionSpec is = *find_subscription(connection_, asked.name);
  refuse_change(asked.name, "sink", is.sink, asked.sink);
  refuse_change(asked.name, "topics", topics_as_json(is.topics), topics);
  refuse_change(asked.name, "event source", is.event_source, asked.event_source);
  return made;
}

std::optional<Cursor> find_start(sql::Connection& connection, std::string_view name) {
  const sql::Use find{connection.statement(sql::Query::find_start)};
  find->bind_text(0, kStartAct);
  find->bind_text(1, name);
  if (!find->step() || find->is_null(0)) return Cursor{};
  const auto detail = nlohmann::json::parse(find->text(0));
  if (detail.at("system").get<std::string>() != find->text(1)) return std::nullopt;
  return Cursor{.after_seq = Seq{detail.at("after_seq").get<std::int64_t>()},
                .snap_from = detail.at("snapshot").get<std::string>(),
                .snap_to = {}};
}

}  // namespace outseal::store
