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

#ifdef OUTSEAL_REPLAY_CHECK
std::string replay_check_notes() {
  return "The file of requests holds one JSON object a line:\n"
         "  path     what comes behind --url\n"
         "  method   POST if not given\n"
         "  key      the idempotency key; a new one if not given\n"
         "  headers  an object of strings\n"
         "  body     text as it is sent, or other JSON\n"
         "\n"
         "The key is sent as Idempotency-Key. 202, and 409, 425, 429 or 503 with Retry-After, are\n"
         "asked again, and so is a connection that broke. The final answers of a request must "
         "have\n"
         "the same status, body and header fields, and all but one Idempotent-Replayed: true.\n"
         "Fields of the connection and the moment are not compared: Date, Age, Server, Via,\n"
         "Set-Cookie, Content-Length, ids of requests and traces.\n";
}
#endif

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
        {.path = "effects list",
         .summary = "Lists the effects of operations that wait for a person: nobody knows what "
                    "became of them at their provider. Exits with 1 if there are any.",
         .required = {Option::db},
         .optional = {Option::effect_state, Option::config, Option::json},
         .run = effects_list},
        {.path = "effects decide",
         .summary = "Records what a person has found out about an effect. After the last one of an "
                    "operation, a retry with its key goes on from there.",
         .required = {Option::db, Option::operation, Option::effect, Option::verdict,
                      Option::seen_version, Option::reason},
         .optional = {Option::reference, Option::amount, Option::currency, Option::actor,
                      Option::config, Option::json},
         .run = effects_decide},
#ifdef OUTSEAL_REPLAY_CHECK
        {.path = "replay-check",
         .summary =
             "Sends each request of a file many times at once, as clients that retry do, and "
             "compares the answers. Exits with 1 if a request had more than one effect or "
             "answer. For tests: it has effects.",
         .required = {Option::service_url, Option::requests},
         .optional = {Option::times, Option::concurrency, Option::timeout_ms, Option::header,
                      Option::json},
         .run = replay_check,
         .notes = replay_check_notes},
#endif
    }};

}  // namespace

}  // namespace outseal::tools

int main(int argc, char** argv) {
  return outseal::tools::run_program(outseal::tools::kProgram, argc, argv);
}
