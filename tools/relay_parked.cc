// outseal-relay parked list, redrive, discard: events that were set aside.
#include <string>
#include <vector>

#include "base/text.h"
#include "console.h"
#include "database.h"
#include "outseal/error.h"
#include "relay_commands.h"
#include "store/audit.h"
#include "store/parked.h"

namespace outseal::tools {

namespace {

void print_json(const store::ParkedEvent& event) {
  JsonObject object;
  object.add("event_id", event.event_id).add("topic", event.topic).add("key", event.key);
  object.add("cause", event.cause).add("state", event.state).add("reason", event.reason);
  object.add("attempts", event.attempts).add("parked_at", to_rfc3339(event.parked_at_ms));
  if (event.position) object.add("position", event.position->value());
  if (!event.decided_by.empty())
    object.add("decided_by", event.decided_by).add("decision", event.decision);
  print_line(object.text());
}

/// What the command line names: each id is a target of its own; a key or all is one.
std::vector<store::ParkedTarget> targets_of(const Settings& settings) {
  const std::string subscription = settings.text(Option::subscription);
  const std::vector<std::string> ids = settings.list(Option::event);
  const bool by_key = settings.has(Option::key);
  const bool all = settings.toggle(Option::all);
  if ((ids.empty() ? 0 : 1) + (by_key ? 1 : 0) + (all ? 1 : 0) != 1)
    throw Error{ErrorCode::invalid_argument, "parked", "name events by id, by key, or all of them",
                {.hint = "give one of EVENT_ID, --key KEY and --all"}};
  std::vector<store::ParkedTarget> targets;
  if (by_key)
    targets.push_back({.subscription = subscription, .key = settings.text(Option::key)});
  else if (all)
    targets.push_back({.subscription = subscription, .all = true});
  for (const std::string& id : ids) {
    const auto event = EventId::parse(id);
    if (!event)
      throw Error{ErrorCode::invalid_argument, "EVENT_ID", "'" + id + "' is no event id",
                  {.hint = "copy it from: outseal-relay parked list"}};
    targets.push_back({.subscription = subscription, .event = event});
  }
  return targets;
}

using Decide = store::ParkedCounts (*)(sql::Connection&, const std::vector<store::ParkedTarget>&,
                                       const store::ParkedDecision&);

int decide(const Settings& settings, Decide decide_all) {
  const auto targets = targets_of(settings);
  const std::string actor = settings.text(Option::actor);
  const store::ParkedDecision decision{.actor = actor.empty() ? store::current_actor() : actor,
                                       .reason = settings.text(Option::reason)};
  const auto connection = open_database(settings);
  const store::ParkedCounts counts = decide_all(*connection, targets, decision);
  if (settings.toggle(Option::json))
    print_line(JsonObject{}.add("discarded", counts.discarded).add("queued", counts.queued).text());
  else
    print_line("discarded " + std::to_string(counts.discarded) + ", queued " +
               std::to_string(counts.queued));
  return kExitFine;
}

}  // namespace

int parked_list(const Settings& settings) {
  store::ParkedFilter filter{.subscription = settings.text(Option::subscription)};
  if (settings.text(Option::state) != "any") filter.state = settings.text(Option::state);
  if (settings.has(Option::key)) filter.key = settings.text(Option::key);
  const auto connection = open_database(settings);
  if (settings.toggle(Option::json)) {
    store::list_parked(*connection, filter, print_json);
    return kExitFine;
  }
  std::vector<std::vector<std::string>> rows;
  store::list_parked(*connection, filter, [&rows](const store::ParkedEvent& event) {
    rows.push_back({std::string{event.event_id}, printable(event.topic), printable(event.key),
                    std::string{event.cause}, std::string{event.state},
                    std::to_string(event.attempts), to_rfc3339(event.parked_at_ms),
                    printable(event.reason)});
  });
  if (rows.empty())
    print_line("none");
  else
    print_table({"EVENT", "TOPIC", "KEY", "CAUSE", "STATE", "ATTEMPTS", "SINCE", "REASON"}, rows);
  return kExitFine;
}

int parked_redrive(const Settings& settings) { return decide(settings, store::redrive); }

int parked_discard(const Settings& settings) { return decide(settings, store::discard); }

}  // namespace outseal::tools
