// outseal-relay park; parked list, redrive, discard: events that were set aside.
#include <string>
#include <vector>

#include "base/text.h"
#include "cli/console.h"
#include "cli/database.h"
#include "outseal/error.h"
#include "relay_commands.h"
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
/// `source` is where ids of such events are seen.
store::ParkedTarget target_of(const Settings& settings, const std::string& source) {
  store::ParkedTarget target{.subscription = settings.text(Option::subscription),
                             .all = settings.toggle(Option::all)};
  if (settings.has(Option::key)) target.key = settings.text(Option::key);
  for (const std::string& id : settings.list(Option::event)) {
    const auto event = EventId::parse(id);
    if (!event)
      throw Error{ErrorCode::invalid_argument,
                  "EVENT_ID",
                  "'" + id + "' is no event id",
                  {.hint = "copy it from: " + source}};
    target.events.push_back(*event);
  }
  return target;
}

using Decide = store::ParkedCounts (*)(sql::Connection&, const store::ParkedTarget&,
                                       const store::Act&);

store::ParkedCounts decide(const Settings& settings, Decide decide_about) {
  const store::ParkedTarget target = target_of(settings, "outseal-relay parked list");
  const store::Act act = act_of(settings);
  const auto connection = open_database(settings);
  return decide_about(*connection, target, act);
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

int relay_park(const Settings& settings) {
  const store::ParkedTarget target = target_of(settings, "the event_id of its row in the outbox");
  const store::Act act = act_of(settings);
  const auto connection = open_database(settings);
  for (const EventId& event : target.events) {
    store::park(*connection, target.subscription, event, act);
    if (settings.toggle(Option::json))
      print_line(JsonObject{}.add("parked", event.to_string()).text());
    else
      print_line("parked " + event.to_string());
  }
  return kExitFine;
}

int parked_redrive(const Settings& settings) {
  const store::ParkedCounts counts = decide(settings, store::redrive);
  if (settings.toggle(Option::json))
    print_line(JsonObject{}.add("queued", counts.queued).text());
  else
    print_line("queued " + std::to_string(counts.queued));
  return kExitFine;
}

int parked_discard(const Settings& settings) {
  const store::ParkedCounts counts = decide(settings, store::discard);
  if (settings.toggle(Option::json))
    print_line(JsonObject{}.add("discarded", counts.discarded).add("queued", counts.queued).text());
  else
    print_line("discarded " + std::to_string(counts.discarded) + ", queued " +
               std::to_string(counts.queued));
  return kExitFine;
}

}  // namespace outseal::tools
