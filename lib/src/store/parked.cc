#include "store/parked.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "base/text.h"
#include "outseal/error.h"
#include "sql/parked.h"
#include "sql/subscription.h"
#include "store/audit.h"

namespace outseal::store {

namespace {

using sql::ParkedPlace;

constexpr std::chrono::milliseconds kWait{5'000};

/// `is_there`: what asking for the subscription said.
void require_subscription(const std::string& name, bool is_there) {
  if (!is_there)
    throw Error{ErrorCode::invalid_argument,
                "parked",
                "there is no subscription '" + name + "'",
                {.hint = "see the names with: outseal-relay status"}};
}

ParkedPlace find_one(sql::Connection& connection, const std::string& subscription, EventId event) {
  auto place = sql::find_parked(connection, subscription, event);
  const std::string id = event.to_string();
  if (!place)
    throw Error{ErrorCode::invalid_argument,
                "parked",
                "event " + id + " is not parked in subscription '" + subscription + "'",
                {.hint = "see the ids with: outseal-relay parked list"}};
  if (place->state != "parked")
    throw Error{ErrorCode::invalid_argument,
                "parked",
                "event " + id + " is " + place->state + " already",
                {.hint = "only events in the state parked can be decided about"}};
  return std::move(*place);
}

/// The named events in the order of the log; all of them must be parked.
std::vector<ParkedPlace> find_all(sql::Connection& connection, const ParkedTarget& target) {
  std::vector<ParkedPlace> places;
  for (const EventId& event : target.events)
    places.push_back(find_one(connection, target.subscription, event));
  std::sort(places.begin(), places.end(),
            [](const ParkedPlace& a, const ParkedPlace& b) { return a.seq < b.seq; });
  return places;
}

/// The earliest event of the same key that is still parked before it.
std::optional<EventId> parked_before(sql::Connection& connection, const std::string& name,
                                     const ParkedPlace& place) {
  if (place.key.empty()) return std::nullopt;
  return sql::find_parked_before(connection, name, place.key, place.seq);
}

/// What is noted with the events that `act` decides about.
std::string noted(std::string_view word, const Act& act) {
  return std::string{word} + (act.reason.empty() ? "" : ": " + act.reason);
}

void record(sql::Connection& connection, std::string_view word, const ParkedTarget& target,
            const Act& act, const ParkedCounts& counts) {
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
  if (!act.reason.empty()) {
    detail += ",\"reason\":";
    append_json_string(detail, act.reason);
  }
  append_audit(connection, {act.actor, word, target.subscription, detail + "}"});
}

void check(const ParkedTarget& target, const Act& act) {
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
  const std::string_view texts[] = {act.actor, act.reason,
                                    target.key ? std::string_view{*target.key} : ""};
  for (const std::string_view text : texts)
    if (!is_utf8(text))
      throw Error{ErrorCode::invalid_argument, "parked", "actor, reason and key must be UTF-8"};
}

}  // namespace

void list_parked(sql::Connection& connection, const ParkedFilter& filter,
                 const std::function<void(const ParkedEvent&)>& show) {
  require_subscription(filter.subscription,
                       sql::find_subscription(connection, filter.subscription).has_value());
  sql::list_parked(connection, filter, show);
}

void park(sql::Connection& connection, const std::string& subscription, EventId event,
          const Act& act) {
  const ParkedTarget target{.subscription = subscription, .events = {event}};
  check(target, act);
  require_reason("park", act);
  const std::string id = event.to_string();
  const auto refuse = [&id](const std::string& why, const std::string& hint) {
    throw Error{ErrorCode::invalid_argument, "park", "event " + id + " " + why, {.hint = hint}};
  };
  sql::transact(connection, kWait, [&] {
    require_subscription(subscription, sql::lock_subscription(connection, subscription));
    if (const auto parked = sql::find_parked(connection, subscription, event))
      refuse("is " + parked->state + " already",
             "see it with: outseal-relay parked list --state any");
    const auto place = sql::find_in_outbox(connection, subscription, event);
    if (!place) refuse("is not in the outbox", "copy its id from the outbox");
    const auto topics = sql::find_subscription(connection, subscription)->topics;
    if (!topic_matches_any(topics, place->topic))
      refuse("does not match the topics of subscription " + subscription,
             "it is not published there");
    if (place->passed)
      refuse("is bound to a position already, or published",
             "what was bound is sent; only the sink can still refuse it");
    sql::park_event(
        connection, subscription, BatchKind::log,
        {.seq = place->seq, .behind = false, .reason = "an operator parked it: " + act.reason},
        connection.now_ms());
    sql::fence_subscription(connection, subscription);
    record(connection, "parked.park", target, act, {});
  });
}

ParkedCounts redrive(sql::Connection& connection, const ParkedTarget& target, const Act& act) {
  check(target, act);
  return sql::transact(connection, kWait, [&] {
    require_subscription(target.subscription,
                         sql::lock_subscription(connection, target.subscription));
    const std::int64_t now_ms = connection.now_ms();
    const std::string redriven = noted("redrive", act);
    const std::string queued = noted("queued", act);
    const sql::Decision send{target.subscription, now_ms, act.actor, redriven};
    const sql::Decision set_free{target.subscription, now_ms, act.actor, queued};
    ParkedCounts counts;
    for (const ParkedPlace& place : find_all(connection, target)) {
      if (const auto earlier = parked_before(connection, target.subscription, place))
        throw Error{
            ErrorCode::invalid_argument,
            "redrive",
            "event " + earlier->to_string() + " of the same key is parked before it",
            {.hint = "decide about " + earlier->to_string() + " first, or redrive the whole key"}};
      counts.queued += sql::queue_one(connection, send, place.seq);
      counts.queued += sql::queue_behind(connection, set_free, place.key, place.seq);
    }
    if (target.events.empty()) counts.queued = sql::queue_all(connection, send, target.key);
    record(connection, "parked.redrive", target, act, counts);
    return counts;
  });
}

ParkedCounts discard(sql::Connection& connection, const ParkedTarget& target, const Act& act) {
  check(target, act);
  require_reason("discard", act);
  return sql::transact(connection, kWait, [&] {
    require_subscription(target.subscription,
                         sql::lock_subscription(connection, target.subscription));
    const std::int64_t now_ms = connection.now_ms();
    const std::string discarded = noted("discard", act);
    const std::string queued = noted("queued", act);
    const sql::Decision give_up{target.subscription, now_ms, act.actor, discarded};
    const sql::Decision set_free{target.subscription, now_ms, act.actor, queued};
    ParkedCounts counts;
    const std::vector<ParkedPlace> places = find_all(connection, target);
    for (const ParkedPlace& place : places)
      counts.discarded += sql::discard_one(connection, give_up, place.seq);
    for (const ParkedPlace& place : places)
      // With an earlier one still parked, those behind this one stand behind that one as well.
      if (!parked_before(connection, target.subscription, place))
        counts.queued += sql::queue_behind(connection, set_free, place.key, place.seq);
    if (target.events.empty()) {
      counts.discarded = sql::discard_refused(connection, give_up, target.key);
      counts.queued = sql::queue_all(connection, set_free, target.key);
    }
    record(connection, "parked.discard", target, act, counts);
    return counts;
  });
}

}  // namespace outseal::store
