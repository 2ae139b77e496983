#include <cctype>
#include <chrono>
#include <cstdint>

#include "base/number_range.h"
#include "model/subscription.h"
#include "options.h"
#include "outseal/error.h"
#include "reconcile/check.h"
#include "relay/core.h"
#include "store/log_reader.h"
#include "store/migrations.h"
#include "store/retention.h"

namespace outseal::tools {

namespace {

using enum OptionKind;
using enum OptionScope;
using enum PerSubscription;

using reconcile::CheckOptions;
using relay::CoreOptions;
using store::PageLimits;
using store::RetentionOptions;
using store::ScriptOptions;

constexpr OptionValues none;

constexpr OptionValues text_of(std::string_view fallback) { return {.text = fallback}; }

constexpr OptionValues between(std::uint64_t min, std::uint64_t max) {
  return {.min = min, .max = max};
}

template <typename Number>
constexpr OptionValues count(const NumberRange<Number>& range) {
  return {.number = range.fallback, .min = range.min, .max = range.max};
}

template <typename Unit>
constexpr OptionValues count_in(const NumberRange<std::chrono::milliseconds>& range) {
  const auto units = [](std::chrono::milliseconds time) {
    return static_cast<std::uint64_t>(std::chrono::duration_cast<Unit>(time).count());
  };
  return {.number = units(range.fallback), .min = units(range.min), .max = units(range.max)};
}

constexpr OptionValues in_ms(const NumberRange<std::chrono::milliseconds>& range) {
  return count_in<std::chrono::milliseconds>(range);
}

constexpr OptionValues in_s(const NumberRange<std::chrono::milliseconds>& range) {
  return count_in<std::chrono::seconds>(range);
}

// The default of --batch-events and --batch-bytes depends on the database: their text says it.
constexpr std::array<OptionRow, kOptionCount> kTable{{
    {Option::db, "db", "URL", text, everywhere, none,
     "The database: postgresql://USER@HOST/DATABASE or sqlite:PATH."},
    {Option::config, "config", "FILE", text, environment, none,
     "A TOML file with values for options that the command line and the environment leave open. "
     "One file may serve all three programs."},
    {Option::json, "json", "", toggle, command_line, none,
     "Print results and errors as JSON, for machines."},
    {Option::log_level, "log-level", "debug|info|warn|error", choice, everywhere, text_of("info"),
     "Least important lines to log. debug adds one line for every batch."},

    {Option::to, "to", "N", number, command_line, between(0, ScriptOptions::kFrom.max),
     "Stop at this version. Without it: up, adopt and print go to the newest, down takes back "
     "one."},
    {Option::from, "from", "N", number, command_line, count(ScriptOptions::kFrom),
     "The lowest version to print."},
    {Option::down, "down", "", toggle, command_line, none,
     "Print what takes back, the highest version first."},
    {Option::no_transaction, "no-transaction", "", toggle, command_line, none,
     "Leave out BEGIN and COMMIT, for a tool that brings its own."},
    {Option::force, "force", "", toggle, command_line, none,
     "Take back even if unpublished or parked events, or idempotency records that still hold, are "
     "dropped with their table."},

    {Option::sink, "sink", "URL", text, everywhere, none,
     "Where events go; run --help lists the sinks. A subscription keeps to its first sink, unless "
     "it is moved.",
     must},
    {Option::subscription, "subscription", "NAME", text, everywhere,
     text_of(SubscriptionSpec::kNameDefault),
     "The named cursor over the outbox; two relays with one name take turns. With [[subscription]] "
     "tables in the configuration file it picks one of them.",
     may},
    {Option::topics, "topics", "PATTERN", list, everywhere,
     text_of(SubscriptionSpec::kTopicsDefault),
     "Topics that belong to the subscription; * stands for any characters. Fixed when the "
     "subscription is made.",
     must},
    {Option::event_source, "event-source", "URI", text, everywhere, none,
     "The CloudEvents attribute source of every event; /outseal/NAME if not given. Fixed when the "
     "subscription is made.",
     must},
    {Option::start, "start", "beginning|now", choice, everywhere, text_of("beginning"),
     "Where a new subscription begins: with the oldest event that retention left, or with what "
     "commits from now on. One that exists keeps its place whatever is said here.",
     may},
    {Option::drain, "drain", "", toggle, command_line, none,
     "Publish what is committed, then exit with 0."},
    {Option::rebuild, "rebuild", "", toggle, command_line, none,
     "If the sink has lost events that it had acknowledged, send them again from the log."},
    {Option::batch_events, "batch-events", "N", number, everywhere,
     between(PageLimits::kEvents.min, PageLimits::kEvents.max),
     "Most events in a batch; 1000 on SQLite and 5000 on PostgreSQL if not given. More: fewer "
     "commits and fsyncs an event, more memory and a longer "
     "batch to repeat after a crash. If unsure, keep it.",
     may},
    {Option::batch_bytes, "batch-bytes", "N", number, everywhere,
     between(PageLimits::kBytes.min, PageLimits::kBytes.max),
     "A batch ends with the event that reaches this size; 1 MiB on SQLite and 4 MiB on PostgreSQL "
     "if not given. The relay holds up to three batches in "
     "memory.",
     may},
    {Option::lease_ms, "lease-ms", "N", number, everywhere, in_ms(kLease),
     "How long a relay may lead without a renewal. Longer: another one takes over later after a "
     "crash of the machine. Shorter: more renewals. No promise rests on it.",
     may},
    {Option::poll_min_ms, "poll-min-ms", "N", number, everywhere, in_ms(CoreOptions::kPollMin),
     "First wait after the log has been read to its end; doubles up to --poll-max-ms.", may},
    {Option::poll_max_ms, "poll-max-ms", "N", number, everywhere, in_ms(CoreOptions::kPollMax),
     "Longest wait between two looks at an idle log: most of the delay of the first event.", may},
    {Option::backoff_min_ms, "backoff-min-ms", "N", number, everywhere,
     in_ms(CoreOptions::kBackoffMin),
     "First wait after the sink or the database failed; doubles, with jitter, up to "
     "--backoff-max-ms.",
     may},
    {Option::backoff_max_ms, "backoff-max-ms", "N", number, everywhere,
     in_ms(CoreOptions::kBackoffMax), "Longest wait between two tries.", may},
    {Option::standby_max_ms, "standby-max-ms", "N", number, everywhere,
     in_ms(CoreOptions::kStandbyMax),
     "With --drain: give up (exit 5) after another relay has led for this long.", may},
    {Option::retention_s, "retention-s", "N", number, everywhere, in_s(RetentionOptions::kEvents),
     "How long published events stay in the outbox; 0 keeps them for ever. Longer: more disk, and "
     "more that can be sent again to a sink that lost data. Unpublished and parked events always "
     "stay."},
    {Option::journal_retention_s, "journal-retention-s", "N", number, everywhere,
     in_s(RetentionOptions::kJournal),
     "How long the rows of acknowledged batches stay, and those of events that are still in the "
     "outbox longer; 0 keeps them for ever. The reconciler compares the sink with them.",
     may},
    {Option::retention_step_rows, "retention-step-rows", "N", number, everywhere,
     count(RetentionOptions::kStepRows),
     "Most rows that retention deletes in one transaction. It begins with few and deletes more "
     "while a step takes less than 10 ms: it holds the write lock that long."},

    {Option::event, "event", "EVENT_ID", list, positional, none, "Ids of events."},
    {Option::topic, "topic", "PATTERN", list, positional, none,
     "Topics; * stands for any characters."},
    {Option::undo, "undo", "", toggle, command_line, none, "Takes the same word back."},
    {Option::key, "key", "KEY", text, command_line, none, "Only events of this ordering key."},
    {Option::all, "all", "", toggle, command_line, none, "All parked events."},
    {Option::state, "state", "parked|queued|redriven|discarded|any", choice, command_line,
     text_of("parked"), "Only events in this state."},
    {Option::reason, "reason", "TEXT", text, command_line, none, "Why; kept in the audit trail."},
    {Option::actor, "actor", "NAME", text, environment, none,
     "Who decides, for the audit trail; user@host if not given."},
    {Option::yes, "yes", "", toggle, command_line, none,
     "Give up unpublished and parked events as well."},

    {Option::check, "check", "NAME", list, command_line, none,
     "Only these checks, listed by run --help; all if not given."},
    {Option::subscriptions, "subscription", "NAME", list, command_line, none,
     "Only these subscriptions; all if not given."},
    {Option::read_sink, "sink", "[NAME=]URL", list, command_line, none,
     "Read this sink of subscription NAME instead of the one in the configuration file, for "
     "example a copy. NAME may be left out if one subscription is checked."},
    {Option::grace_stuck_s, "grace-stuck-s", "N", number, everywhere,
     in_s(CheckOptions::kGraceStuck),
     "How long an operation may be open before it counts as stuck, in seconds."},
    {Option::grace_unpublished_s, "grace-unpublished-s", "N", number, everywhere,
     in_s(CheckOptions::kGraceUnpublished),
     "How long a committed event may wait for its acknowledgement, in seconds."},
    {Option::grace_parked_s, "grace-parked-s", "N", number, everywhere,
     in_s(CheckOptions::kGraceParked),
     "How long an event may be parked before the warning becomes an error, in seconds."},
    {Option::findings_max, "findings-max", "N", number, everywhere, count(CheckOptions::kFindings),
     "Findings that each check keeps by name; more are counted. All are written in one "
     "transaction: more hold the write lock longer."},
    {Option::any_state, "all", "", toggle, command_line, none,
     "Closed and decided findings as well."},
    {Option::finding, "finding", "ID", number, positional, between(1, INT64_MAX),
     "Number of a finding."},
    {Option::decision, "as", "accepted|false_alarm|repaired", choice, command_line, none,
     "accepted and false_alarm stay so while the finding is seen; repaired opens it again if the "
     "next run still sees it."},

    {Option::effect_state, "state", "unknown|disputed|intended", choice, command_line, none,
     "Only effects in this state; unknown and disputed ones if not given. Those that are intended "
     "may be at work."},
    {Option::operation, "operation", "OPERATION", text, positional, none,
     "An operation: its handle, or at least the first 32 digits of its key's hash."},
    {Option::effect, "effect", "EFFECT", text, positional, none, "The name of one of its effects."},
    {Option::verdict, "as", "applied|not_applied|abandoned", choice, command_line, none,
     "applied: the provider did it. not_applied: it is proven that it did not, and that no request "
     "can still arrive. abandoned: nobody will ever know."},
    {Option::reference, "reference", "TEXT", text, command_line, none,
     "The provider's name for what it applied, for example a charge id."},
    {Option::amount, "amount", "N", number, command_line, between(0, INT64_MAX),
     "What the provider applied, in the currency's smallest unit; what was asked for if not "
     "given."},
    {Option::currency, "currency", "CODE", text, command_line, none,
     "The currency of --amount: three capital letters."},
    {Option::seen_version, "seen-version", "N", number, command_line, between(1, INT64_MAX),
     "The effect's version when you looked at it; refused if it has changed since."},

    {Option::service_url, "url", "URL", text, command_line, none,
     "Where the service listens: http://HOST:PORT, with a path if all requests share one."},
    {Option::requests, "requests", "FILE", text, command_line, none,
     "The requests, one JSON object a line."},
    {Option::times,
     "times",
     "N",
     number,
     command_line,
     {.number = 20, .min = 1, .max = 1'000'000},
     "How often each request is sent."},
    {Option::concurrency,
     "concurrency",
     "N",
     number,
     command_line,
     {.number = 8, .min = 1, .max = 256},
     "How many clients send a request at the same time."},
    {Option::timeout_ms,
     "timeout-ms",
     "N",
     number,
     command_line,
     {.number = 60'000, .min = 1, .max = 3'600'000},
     "How long one of the times may take until its final answer, with its retries."},
    {Option::header, "header", "NAME:VALUE", list, command_line, none,
     "A header field for each request. What is secret is better kept in the file of requests: "
     "others on the machine see the command line."},
}};

constexpr bool is_sound() {
  for (std::size_t i = 0; i < kTable.size(); ++i) {
    const OptionRow& row = kTable[i];
    const OptionValues& values = row.values;
    if (static_cast<std::size_t>(row.option) != i) return false;
    if ((row.kind == number) != (values.max > 0)) return false;
    if (values.number && (*values.number < values.min || *values.number > values.max)) return false;
    if (row.per_subscription != no && row.scope != everywhere) return false;
  }
  return true;
}
static_assert(
    is_sound(),
    "rows follow the order of Option, defaults are in their ranges, and what may stand in "
    "a [[subscription]] may stand in the configuration file");

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

std::string OptionRow::fallback() const {
  return values.number ? std::to_string(*values.number) : std::string{values.text};
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

std::string subscription_keys() {
  std::string keys = "name";
  for (const OptionRow& row : kTable)
    if (row.per_subscription != PerSubscription::no && row.option != Option::subscription)
      keys += ", " + row.config_key();
  return keys;
}

const std::array<OptionRow, kOptionCount>& option_table() { return kTable; }

}  // namespace outseal::tools
