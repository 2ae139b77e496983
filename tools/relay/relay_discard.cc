// outseal-relay discard: gives up the events of topics that no subscription takes.
#include <string>

#include "cli/console.h"
#include "cli/database.h"
#include "relay_commands.h"
#include "relay_config.h"
#include "store/topics.h"

namespace outseal::tools {

int relay_discard(const Settings& settings) {
  check_topics(settings, Option::topic);
  const bool undo = settings.toggle(Option::undo);
  const store::Act act = act_of(settings);
  const auto connection = open_database(settings);
  for (const std::string& pattern : settings.list(Option::topic)) {
    store::decide_topic(*connection, {.pattern = pattern, .give_up = !undo, .act = act});
    if (settings.toggle(Option::json))
      print_line(JsonObject{}.add("topic", pattern).add("given_up", !undo).text());
    else
      print_line(pattern + (undo ? ": events that no subscription takes are kept again"
                                 : ": retention removes events that no subscription takes"));
  }
  return kExitFine;
}

}  // namespace outseal::tools
