// outseal-reconcile: proves that what happened outside is what was committed inside, or lists what
// differs.
#include <algorithm>
#include <string>

#include "cli/options.h"
#include "reconcile/check.h"
#include "reconcile_commands.h"

namespace outseal::tools {

namespace {

std::string checks_help() {
  constexpr std::size_t kNameColumn = 20;
  std::string text = "Checks:\n";
  for (const auto& check : reconcile::all_checks()) {
    std::string name{check->name()};
    name.resize(std::max(kNameColumn, name.size() + 1), ' ');
    text += "  " + name + std::string{check->summary()} + "\n";
  }
  return text;
}

const Program kProgram{
    .name = "outseal-reconcile",
    .summary = "compares what was committed with what happened, and keeps findings.",
    .commands = {
        {.path = "run",
         .summary = "Runs the checks and writes what they found. Only reads until then; may run "
                    "beside services and relays. Exits with 1 while findings are open.",
         .required = {Option::db},
         .optional = {Option::check, Option::subscriptions, Option::read_sink,
                      Option::grace_stuck_s, Option::grace_unpublished_s, Option::grace_parked_s,
                      Option::findings_max, Option::config, Option::json},
         .run = reconcile_run,
         .notes = checks_help},
        {.path = "findings list",
         .summary = "Lists the open findings. Exits with 1 if there are any.",
         .required = {Option::db},
         .optional = {Option::any_state, Option::config, Option::json},
         .run = findings_list},
        {.path = "findings show",
         .summary = "Shows one finding with its history and what to do about it.",
         .required = {Option::db, Option::finding},
         .optional = {Option::config, Option::json},
         .run = findings_show},
        {.path = "findings resolve",
         .summary = "Records what was decided about a finding.",
         .required = {Option::db, Option::finding, Option::decision, Option::reason},
         .optional = {Option::actor, Option::config, Option::json},
         .run = findings_resolve},
    }};

}  // namespace

}  // namespace outseal::tools

int main(int argc, char** argv) {
  return outseal::tools::run_program(outseal::tools::kProgram, argc, argv);
}
