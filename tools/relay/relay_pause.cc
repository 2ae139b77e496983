// outseal-relay pause, resume: an operator stops a subscription without stopping its relays.
#include <string>

#include "cli/console.h"
#include "cli/database.h"
#include "relay_commands.h"
#include "store/pause.h"

namespace outseal::tools {

namespace {

using Change = bool (*)(sql::Connection&, std::string_view, const store::Act&);

int change(const Settings& settings, Change make, const std::string& state) {
  const std::string name = settings.text(Option::subscription);
  const store::Act act = act_of(settings);
  const auto connection = open_database(settings);
  const bool changed = make(*connection, name, act);
  if (settings.toggle(Option::json))
    print_line(
        JsonObject{}.add("subscription", name).add("state", state).add("changed", changed).text());
  else
    print_line(name + (changed ? " is " : " was already ") + state);
  return kExitFine;
}

}  // namespace

int relay_pause(const Settings& settings) { return change(settings, store::pause, "paused"); }

int relay_resume(const Settings& settings) { return change(settings, store::resume, "running"); }

}  // namespace outseal::tools
