// outseal-relay move, remove: an operator gives a subscription another sink, or gives it up.
#include <string>

#include "cli/console.h"
#include "cli/database.h"
#include "outseal/error.h"
#include "relay_commands.h"
#include "sink_choice.h"
#include "store/subscription.h"
#include "store/subscription_acts.h"

namespace outseal::tools {

int relay_move(const Settings& settings) {
  const std::string name = settings.text(Option::subscription);
  const SinkChoice chosen{settings};
  const auto connection = open_database(settings);
  const auto known = sql::find_subscription(*connection, name);
  const auto sink = chosen.make(known ? known->event_source : "/outseal/" + name);
  const store::Moved moved =
      store::move_subscription(*connection, name, {chosen.identity(), *sink}, act_of(settings));
  if (settings.toggle(Option::json))
    print_line(JsonObject{}
                   .add("subscription", name)
                   .add("from", moved.from)
                   .add("to", chosen.identity())
                   .add("tail_position", moved.tail.position.value())
                   .add("verified", moved.is_verified)
                   .text());
  else
    print_line(printable(name) + " moved from " + printable(moved.from) + " to " +
               printable(chosen.identity()) +
               (moved.is_verified
                    ? ", which ends at position " + std::to_string(moved.tail.position.value())
                    : ", whose end cannot be compared"));
  return kExitFine;
}

int relay_remove(const Settings& settings) {
  const std::string name = settings.text(Option::subscription);
  const auto connection = open_database(settings);
  const store::Removed removed =
      store::remove_subscription(*connection, name, settings.toggle(Option::yes), act_of(settings));
  if (settings.toggle(Option::json))
    print_line(JsonObject{}
                   .add("subscription", name)
                   .add("unpublished", removed.unpublished)
                   .add("parked", removed.parked)
                   .text());
  else
    print_line(printable(name) + " removed, with " + std::to_string(removed.unpublished) +
               " unpublished and " + std::to_string(removed.parked) + " parked events");
  return kExitFine;
}

}  // namespace outseal::tools
