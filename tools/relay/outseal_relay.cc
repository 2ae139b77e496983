// outseal-relay: publishes the outbox, shows how far it is, decides about parked events.
#include "cli/options.h"
#include "relay_commands.h"

namespace outseal::tools {

namespace {

std::string run_notes() {
  return "Sinks:\n" + sink_help() + "\nSeveral subscriptions:\n" +
         wrapped(
             "Each [[subscription]] table of the configuration file is one; without "
             "--subscription all of them run, each with a lease and connections of its own. "
             "Keys of a table: " +
                 subscription_keys() +
                 "; what it leaves open is taken from the same key before the first table. One "
                 "that halts is logged, tried again with a pause that grows, and holds no other. "
                 "The "
                 "exit code is the highest of theirs.",
             2);
}

const Program kProgram{
    .name = "outseal-relay",
    .summary = "publishes each committed event once, in the order of its key.",
    .commands = {
        {.path = "run",
         .summary = "Publishes until SIGTERM, or until everything committed is published. Any "
                    "number may run: one leads, the others stand by.",
         .required = {Option::db, Option::sink},
         .optional = {Option::subscription,
                      Option::topics,
                      Option::event_source,
                      Option::start,
                      Option::drain,
                      Option::rebuild,
                      Option::batch_events,
                      Option::batch_bytes,
                      Option::lease_ms,
                      Option::poll_min_ms,
                      Option::poll_max_ms,
                      Option::backoff_min_ms,
                      Option::backoff_max_ms,
                      Option::standby_max_ms,
                      Option::retention_s,
                      Option::journal_retention_s,
                      Option::retention_step_rows,
                      Option::log_level,
                      Option::config,
                      Option::json},
         .run_each = relay_run,
         .notes = run_notes},
        {.path = "status",
         .summary = "Shows each subscription: published, waiting, leader, parked.",
         .required = {Option::db},
         .optional = {Option::config, Option::json},
         .run = relay_status},
        {.path = "sinks",
         .summary =
             "Lists the kinds of sinks: their URLs, what each guarantees, how it keeps out a "
             "second copy of an event, and its parameters.",
         .required = {},
         .optional = {Option::json},
         .run = relay_sinks},
        {.path = "rebase",
         .summary = "After a failover, a restore or a copy of the database: compares with the sink "
                    "and lets the subscription go on behind its end, so that nothing is published "
                    "twice. Exits with 1 if the sink holds events that the database has lost.",
         .required = {Option::db, Option::sink},
         .optional = {Option::subscription, Option::actor, Option::config, Option::json},
         .run = relay_rebase},
        {.path = "pause",
         .summary = "Stops a subscription without stopping its relays: whoever leads is fenced at "
                    "once, and nobody leads until resume. A batch that is on its way to the sink "
                    "may still arrive; it is found there, or sent again to a sink that cannot be "
                    "asked.",
         .required = {Option::db},
         .optional = {Option::subscription, Option::reason, Option::actor, Option::config,
                      Option::json},
         .run = relay_pause},
        {.path = "resume",
         .summary = "Lets a paused subscription go on where it was.",
         .required = {Option::db},
         .optional = {Option::subscription, Option::reason, Option::actor, Option::config,
                      Option::json},
         .run = relay_resume},
        {.path = "move",
         .summary = "Lets a subscription go on into another sink that holds the same events, for "
                    "example the same one under another address. Compares its end with what was "
                    "acknowledged; one that has no end to compare is taken at your word.",
         .required = {Option::db, Option::sink},
         .optional = {Option::subscription, Option::reason, Option::actor, Option::config,
                      Option::json},
         .run = relay_move},
        {.path = "remove",
         .summary = "Gives up a subscription, with its journal and parked events. Refused while "
                    "events are unpublished or parked, unless --yes is given.",
         .required = {Option::db, Option::subscription, Option::reason},
         .optional = {Option::yes, Option::actor, Option::config, Option::json},
         .run = relay_remove},
        {.path = "park",
         .summary = "Parks events that are not bound yet: the sink does not get them, and later "
                    "events of their keys wait until they are redriven or discarded.",
         .required = {Option::db, Option::event, Option::reason},
         .optional = {Option::subscription, Option::actor, Option::config, Option::json},
         .run = relay_park},
        {.path = "discard",
         .summary =
             "Gives up events of topics that no subscription takes, present and future ones: "
             "retention keeps those until then. Events that a subscription takes are not "
             "touched.",
         .required = {Option::db, Option::topic, Option::reason},
         .optional = {Option::undo, Option::actor, Option::config, Option::json},
         .run = relay_discard},
        {.path = "parked list",
         .summary = "Lists events that were set aside, in the order of the log.",
         .required = {Option::db},
         .optional = {Option::subscription, Option::state, Option::key, Option::config,
                      Option::json},
         .run = parked_list},
        {.path = "parked redrive",
         .summary = "Queues parked events to be published again: by id each with those that only "
                    "stand behind it, by key or all everything parked there.",
         .required = {Option::db},
         .optional = {Option::event, Option::key, Option::all, Option::subscription, Option::reason,
                      Option::actor, Option::config, Option::json},
         .run = parked_redrive},
        {.path = "parked discard",
         .summary = "Gives up on parked events for good and queues those that only stood behind "
                    "them. By key or all it discards only what the sink itself refused.",
         .required = {Option::db, Option::reason},
         .optional = {Option::event, Option::key, Option::all, Option::subscription, Option::actor,
                      Option::config, Option::json},
         .run = parked_discard},
    }};

}  // namespace

}  // namespace outseal::tools

int main(int argc, char** argv) {
  return outseal::tools::run_program(outseal::tools::kProgram, argc, argv);
}
