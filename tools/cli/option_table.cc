#include <cctype>
#include <cstdint>

#include "options.h"
#include "outseal/error.h"

namespace outseal::tools {

namespace {

using enum OptionKind;
using enum OptionScope;

constexpr std::uint64_t kHour_ms = 3'600'000;
constexpr std::uint64_t kYear_s = 366ULL * 86'400;

// Numbers without another source in the text are chosen by us.
constexpr std::array<OptionRow, kOptionCount> kTable{{
    {Option::db, "db", "URL", text, everywhere, "", 0, 0,
     "The database: postgresql://USER@HOST/DATABASE or sqlite:PATH."},
    {Option::config, "config", "FILE", text, environment, "", 0, 0,
     "A TOML file with values for options that the command line and the environment leave open. "
     "One file may serve all three programs."},
    {Option::json, "json", "", toggle, command_line, "", 0, 0,
     "Print results and errors as JSON, for machines."},
    {Option::log_level, "log-level", "debug|info|warn|error", choice, everywhere, "info", 0, 0,
     "Least important lines to log. debug adds one line for every batch."},

    {Option::to, "to", "N", number, command_line, "", 0, 9'999,
     "Stop at this version. Without it: up, adopt and print go to the newest, down takes back "
     "one."},
    {Option::from, "from", "N", number, command_line, "1", 1, 9'999,
     "The lowest version to print."},
    {Option::down, "down", "", toggle, command_line, "", 0, 0,
     "Print what takes back, the highest version first."},
    {Option::no_transaction, "no-transaction", "", toggle, command_line, "", 0, 0,
     "Leave out BEGIN and COMMIT, for a tool that brings its own."},
    {Option::force, "force", "", toggle, command_line, "", 0, 0,
     "Take back even if unpublished or parked events, or idempotency records that still hold, are "
     "dropped with their table."},

    {Option::sink, "sink", "URL", text, everywhere, "", 0, 0,
     "Where events go; run --help lists the sinks. A subscription keeps to its first sink, unless "
     "it is moved."},
    {Option::subscription, "subscription", "NAME", text, everywhere, "main", 0, 0,
     "The named cursor over the outbox; two relays with one name take turns. With [[subscription]] "
     "tables in the configuration file it picks one of them."},
    {Option::topics, "topics", "PATTERN", list, everywhere, "*", 0, 0,
     "Topics that belong to the subscription; * stands for any characters. Fixed when the "
     "subscription is made."},
    {Option::event_source, "event-source", "URI", text, everywhere, "", 0, 0,
     "The CloudEvents attribute source of every event; /outseal/NAME if not given. Fixed when the "
     "subscription is made."},
    {Option::start, "start", "beginning|now", choice, everywhere, "beginning", 0, 0,
     "Where a new subscription begins: with the oldest event that retention left, or with what "
     "commits from now on. One that exists keeps its place whatever is said here."},
    {Option::drain, "drain", "", toggle, command_line, "", 0, 0,
     "Publish what is committed, then exit with 0."},
    {Option::rebuild, "rebuild", "", toggle, command_line, "", 0, 0,
     "If the sink has lost events that it had acknowledged, send them again from the log."},
    {Option::batch_events, "batch-events", "N", number, everywhere, "", 1, 100'000,
     "Most events in a batch; 1000 on SQLite and 5000 on PostgreSQL if not given. More: fewer "
     "commits and fsyncs an event, more memory and a longer "
     "batch to repeat after a crash. If unsure, keep it."},
    {Option::batch_bytes, "batch-bytes", "N", number, everywhere, "", 1'024, 268'435'456,
     "A batch ends with the event that reaches this size; 1 MiB on SQLite and 4 MiB on PostgreSQL "
     "if not given. The relay holds up to three batches in "
     "memory."},
    {Option::lease_ms, "lease-ms", "N", number, everywhere, "10000", 100, kHour_ms,
     "How long a relay may lead without a renewal. Longer: another one takes over later after a "
     "crash of the machine. Shorter: more renewals. No promise rests on it."},
    {Option::poll_min_ms, "poll-min-ms", "N", number, everywhere, "1", 1, 60'000,
     "First wait after the log has been read to its end; doubles up to --poll-max-ms."},
    {Option::poll_max_ms, "poll-max-ms", "N", number, everywhere, "50", 1, 60'000,
     "Longest wait between two looks at an idle log: most of the delay of the first event."},
    {Option::backoff_min_ms, "backoff-min-ms", "N", number, everywhere, "100", 1, kHour_ms,
     "First wait after the sink or the database failed; doubles, with jitter, up to "
     "--backoff-max-ms."},
    {Option::backoff_max_ms, "backoff-max-ms", "N", number, everywhere, "30000", 1, kHour_ms,
     "Longest wait between two tries."},
    {Option::standby_max_ms, "standby-max-ms", "N", number, everywhere, "30000", 0, kHour_ms,
     "With --drain: give up (exit 5) after another relay has led for this long."},
    {Option::retention_s, "retention-s", "N", number, everywhere, "604800", 0, 100 * kYear_s,
     "How long published events stay in the outbox; 0 keeps them for ever. Longer: more disk, and "
     "more that can be sent again to a sink that lost data. Unpublished and parked events always "
     "stay."},
    {Option::journal_retention_s, "journal-retention-s", "N", number, everywhere, "7776000", 0,
     100 * kYear_s,
     "How long the rows of acknowledged batches stay; 0 keeps them for ever. The reconciler "
     "compares "
     "the sink with them."},
    {Option::retention_step_rows, "retention-step-rows", "N", number, everywhere, "5000", 1, 50'000,
     "Most rows that retention deletes in one transaction. It begins with few and deletes more "
     "while a step takes less than 10 ms: it holds the write lock that long."},

    {Option::event, "event", "EVENT_ID", list, positional, "", 0, 0, "Ids of events."},
    {Option::topic, "topic", "PATTERN", list, positional, "", 0, 0,
     "Topics; * stands for any characters."},
    {Option::undo, "undo", "", toggle, command_line, "", 0, 0, "Takes the same word back."},
    {Option::key, "key", "KEY", text, command_line, "", 0, 0, "Only events of this ordering key."},
    {Option::all, "all", "", toggle, command_line, "", 0, 0, "All parked events."},
    {Option::state, "state", "parked|queued|redriven|discarded|any", choice, command_line, "parked",
     0, 0, "Only events in this state."},
    {Option::reason, "reason", "TEXT", text, command_line, "", 0, 0,
     "Why; kept in the audit trail."},
    {Option::actor, "actor", "NAME", text, environment, "", 0, 0,
     "Who decides, for the audit trail; user@host if not given."},
    {Option::yes, "yes", "", toggle, command_line, "", 0, 0,
     "Give up unpublished and parked events as well."},

    {Option::check, "check", "NAME", list, command_line, "", 0, 0,
     "Only these checks, listed by run --help; all if not given."},
    {Option::subscriptions, "subscription", "NAME", list, command_line, "", 0, 0,
     "Only these subscriptions; all if not given."},
    {Option::read_sink, "sink", "[NAME=]URL", list, command_line, "", 0, 0,
     "Read this sink of subscription NAME instead of the one in the configuration file, for "
     "example a copy. NAME may be left out if one subscription is checked."},
    {Option::grace_stuck_s, "grace-stuck-s", "N", number, everywhere, "300", 0, kYear_s,
     "How long an operation may be open before it counts as stuck, in seconds."},
    {Option::grace_unpublished_s, "grace-unpublished-s", "N", number, everywhere, "300", 0, kYear_s,
     "How long a committed event may wait for its acknowledgement, in seconds."},
    {Option::grace_parked_s, "grace-parked-s", "N", number, everywhere, "3600", 0, kYear_s,
     "How long an event may be parked before the warning becomes an error, in seconds."},
    {Option::findings_max, "findings-max", "N", number, everywhere, "100", 1, 10'000,
     "Findings that each check keeps by name; more are counted. All are written in one "
     "transaction: more hold the write lock longer."},
    {Option::any_state, "all", "", toggle, command_line, "", 0, 0,
     "Closed and decided findings as well."},
    {Option::finding, "finding", "ID", number, positional, "", 1, INT64_MAX,
     "Number of a finding."},
    {Option::decision, "as", "accepted|false_alarm|repaired", choice, command_line, "", 0, 0,
     "accepted and false_alarm stay so while the finding is seen; repaired opens it again if the "
     "next run still sees it."},
}};

constexpr bool in_order() {
  for (std::size_t i = 0; i < kTable.size(); ++i)
    if (static_cast<std::size_t>(kTable[i].option) != i) return false;
  return true;
}
static_assert(in_order(), "option_table.cc must follow the order of Option");

std::string with_underscores(std::string_view name) {
  std::string text{name};
  for (char& c : text)
    if (c == '-') c = '_';
  return text;
}

}  // namespace

std::string OptionRow::flag() const {
  return scope == positional ? std::string{value} : "--" + std::string{name};
}

std::string OptionRow::environment_name() const {
  std::string text = "OUTSEAL_" + with_underscores(name);
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

std::string OptionRow::config_key() const { return with_underscores(name); }

const OptionRow& row_of(Option option) {
  const auto index = static_cast<std::size_t>(option);
  if (index >= kTable.size()) throw Error{ErrorCode::internal, "options", "no such option"};
  return kTable[index];
}

bool is_of_subscription(Option option) {
  switch (option) {
    case Option::subscription:
    case Option::sink:
    case Option::topics:
    case Option::event_source:
    case Option::start:
    case Option::batch_events:
    case Option::batch_bytes:
    case Option::lease_ms:
    case Option::poll_min_ms:
    case Option::poll_max_ms:
    case Option::backoff_min_ms:
    case Option::backoff_max_ms:
    case Option::standby_max_ms:
    case Option::journal_retention_s:
      return true;
    default:  // retention_s and its steps are the outbox's, which all subscriptions share.
      return false;
  }
}

std::string subscription_keys() {
  std::string keys = "name";
  for (const OptionRow& row : kTable)
    if (is_of_subscription(row.option) && row.option != Option::subscription)
      keys += ", " + row.config_key();
  return keys;
}

const std::array<OptionRow, kOptionCount>& option_table() { return kTable; }

}  // namespace outseal::tools
