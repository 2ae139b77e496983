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

/// What the command line names; store::redrive and store::discard check that it is one way.
store::ParkedTarget target_of(const Settings& settings) {
  store::ParkedTarget target{.subscription = settings.text(Option::subscription),
                             .all = settings.toggle(Option::all)};
  if (settings.has(Option::key)) target.key = settings.text(Option::key);
  for (const std::string& id : settings.list(Option::event)) {
    const auto event = EventId::parse(id);
    if (!event)
      throw Error{ErrorCode::invalid_argument,
                  "EVENT_ID",
                  "'" + id + "' is no event id",
                  {.hint = "copy it from: outseal-relay parked list"}};
    target.events.push_back(*event);
  }
  return target;
}

using Decide = store::ParkedCounts (*)(sql::Connection&, const store::ParkedTarget&,
                                       const store::ParkedDecision&);

int decide(const Settings& settings, Decide decide_about) {
  const store::ParkedTarget target = target_of(settings);
  const std::string actor = settings.text(Option::actor);
  const store::ParkedDecision decision{.actor = actor.empty() ? store::current_actor() : actor,
                                       .reason = settings.text(Option::reason)};
  const auto connection = open_database(settings);
  const store::ParkedCounts counts = decide_about(*connection, target, decision);
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
