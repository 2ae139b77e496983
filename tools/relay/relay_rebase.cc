// outseal-relay rebase: lets a subscription go on after a failover, a restore or a copy.
#include <string>

#include "cli/console.h"
#include "cli/database.h"
#include "outseal/error.h"
#include "relay_commands.h"
#include "sink_choice.h"
#include "sinks/registry.h"
#include "store/rebase.h"
#include "store/subscription.h"

namespace outseal::tools {

namespace {

void print_json(const store::RebaseResult& result) {
  JsonObject object;
  object.add("needed", result.needed).add("translated", result.translated);
  object.add("acked", result.acked.value()).add("tail", result.tail.value());
  object.add("known", result.known).add("ghosts", result.ghosts);
  object.add("unread", result.unread).add("renumbered", result.renumbered);
  object.add_raw("ghost_ids", json_array(result.ghost_ids));
  print_line(object.text());
}

void print_text(const std::string& name, const store::RebaseResult& result) {
  if (result.renumbered > 0)
    print_line("events that no relay had read, and that will be published now: " +
               std::to_string(result.renumbered));
  if (!result.needed) {
    if (result.renumbered > 0) return;
    print_line("nothing to do: the cursor of " + name + " belongs to this database");
    return;
  }
  if (result.translated) print_line("the log was stamped anew: it came from another cluster");
  if (result.unread) {
    print_line("the sink cannot be read back; what is bound behind position " +
               std::to_string(result.acked.value()) + " is sent again");
    print_line(
        "a receiver that keeps a position must not be ahead of the database: compare its "
        "row with outseal-relay status before you start the relay");
    return;
  }
  print_line(name + " goes on behind position " + std::to_string(result.tail.value()) +
             "; the database knew of " + std::to_string(result.acked.value()));
  print_line("in the sink and in the database " + std::to_string(result.known) +
             ", in the sink alone " + std::to_string(result.ghosts));
  for (const std::string& id : result.ghost_ids)
    print_line("  published, then lost by the database: " + id);
}

}  // namespace

int relay_rebase(const Settings& settings) {
  const std::string name = settings.text(Option::subscription);
  const SinkChoice chosen{settings};
  const auto connection = open_database(settings);
  const auto spec = sql::find_subscription(*connection, name);
  if (!spec)
    throw Error{ErrorCode::invalid_argument,
                "rebase",
                "there is no subscription '" + name + "'",
                {.hint = "see the names with: outseal-relay status"}};
  if (!sinks::is_same_sink(Url::parse("sink", spec->sink), chosen.url()))
    throw Error{ErrorCode::refused,
                "rebase",
                "subscription " + name + " has the sink " + spec->sink,
                {.hint = "give the same sink; one that holds the same events takes its place with"
                         " outseal-relay move"}};
  const auto sink = chosen.make(spec->event_source);
  const store::RebaseResult result = store::rebase(*connection, name, *sink, actor_of(settings));
  settings.toggle(Option::json) ? print_json(result) : print_text(name, result);
  return result.ghosts > 0 ? kExitFindings : kExitFine;
}

}  // namespace outseal::tools
