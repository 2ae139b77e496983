// Options of the programs. One table (option_table.cc) declares each option once and feeds flags,
// environment names, configuration keys, --help and the tables in tools/README.md.
//
// A value comes from the first of: flag, environment, configuration file, default. CLI11 only
// splits the command line: its own layering would let the configuration file win over the
// environment.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace outseal::tools {

/// Every option of every program, in the order of the table.
enum class Option {
  // Everywhere.
  db,
  config,
  json,
  log_level,
  // outseal-migrate.
  to,
  from,
  down,
  no_transaction,
  force,
  // outseal-relay.
  sink,
  subscription,
  topics,
  event_source,
  start,
  drain,
  rebuild,
  batch_events,
  batch_bytes,
  lease_ms,
  poll_min_ms,
  poll_max_ms,
  backoff_min_ms,
  backoff_max_ms,
  standby_max_ms,
  retention_s,
  journal_retention_s,
  retention_step_rows,
  // outseal-relay parked.
  event,
  topic,
  undo,
  key,
  all,
  state,
  reason,
  actor,
  yes,
  // outseal-reconcile.
  check,
  subscriptions,
  read_sink,
  grace_stuck_s,
  grace_unpublished_s,
  grace_parked_s,
  findings_max,
  any_state,
  finding,
  decision,
  // outseal-reconcile effects.
  effect_state,
  operation,
  effect,
  verdict,
  reference,
  amount,
  currency,
  seen_version,
  // outseal-reconcile replay-check.
  service_url,
  requests,
  times,
  concurrency,
  timeout_ms,
  header,
  count_,
};
inline constexpr std::size_t kOptionCount = static_cast<std::size_t>(Option::count_);

enum class OptionKind { text, list, toggle, number, choice };

/// Where a value may come from besides the command line.
enum class OptionScope {
  everywhere,    ///< Flag, environment and configuration file.
  environment,   ///< Flag and environment.
  command_line,  ///< Flag only: it says what to do now, not how.
  positional,    ///< An argument without a flag.
};

/// Whether a [[subscription]] table of the configuration file may say it for itself.
enum class PerSubscription {
  no,
  may,   ///< A flag or variable holds for all of them.
  must,  ///< No two have the same: a flag or variable needs a single one.
};

/// The default of an option, and for numbers the range; the unit is the end of the option's name.
/// What the library knows comes from its options structs.
struct OptionValues {
  std::string_view text = {};  ///< Default of what is no number; empty: none.
  std::optional<std::uint64_t> number = {};
  std::uint64_t min = 0;
  std::uint64_t max = 0;
};

/// One row of the table. From `name` "batch-events" follow the flag --batch-events, the environment
/// variable OUTSEAL_BATCH_EVENTS and the configuration key batch_events.
struct OptionRow {
  Option option;
  std::string_view name;
  std::string_view value;  ///< Placeholder in --help: "URL", "N"; a choice lists its values: "a|b".
  OptionKind kind;
  OptionScope scope;
  OptionValues values;
  std::string_view help;  ///< Meaning, and what is traded when it grows.
  PerSubscription per_subscription = PerSubscription::no;

  std::string flag() const;
  /// The default; empty: none.
  std::string fallback() const;
  std::string environment_name() const;
  std::string config_key() const;
};

const OptionRow& row_of(Option option);
/// The keys of a [[subscription]] table.
std::string subscription_keys();
const std::array<OptionRow, kOptionCount>& option_table();

/// The values of one command's options: complete, and within the limits of the table.
///
/// Threads: Immutable.
class Settings {
 public:
  using Values = std::map<Option, std::vector<std::string>>;
  using Origins = std::map<Option, std::string>;
  Settings(Values values, Origins origins)
      : values_{std::move(values)}, origins_{std::move(origins)} {}

  /// True if the option has a value, be it the default.
  bool has(Option option) const { return values_.contains(option); }
  /// Empty if the option has no value.
  std::string text(Option option) const;
  std::vector<std::string> list(Option option) const;
  bool toggle(Option option) const { return has(option); }
  /// @throws Error{internal} if the option has neither value nor default.
  std::uint64_t number(Option option) const;
  std::chrono::milliseconds milliseconds(Option option) const;
  /// Where the value came from, for errors about it: "--db", "OUTSEAL_DB" or "FILE:LINE db".
  std::string origin(Option option) const;

 private:
  Values values_;
  Origins origins_;
};

/// One verb of a program, for example "parked list".
struct Command {
  std::string_view path;
  std::string_view summary;
  std::vector<Option> required;
  std::vector<Option> optional;
  /// Does the work and returns the exit code; throws Error.
  int (*run)(const Settings&) = nullptr;
  /// Instead of `run`, if it may be about several subscriptions at once: the settings of each.
  int (*run_each)(const std::vector<Settings>&) = nullptr;
  /// More text for --help, after the options; may be empty.
  std::string (*notes)() = nullptr;

  /// The required ones, then the others.
  std::vector<Option> options() const;
  bool takes(Option option) const;
};

struct Program {
  std::string_view name;
  std::string_view summary;
  std::vector<Command> commands;
};

/// The `main` of a program: reads the command line, answers --help and --version, runs the command,
/// reports errors. @returns the exit code.
int run_program(const Program& program, int argc, const char* const* argv);

/// Settings of `command` from what the command line gave, the environment and the configuration:
/// one, or for a command with `run_each` one for each subscription of the configuration.
/// @throws Error{invalid_config} naming where the bad value came from.
std::vector<Settings> resolve(const Command& command, const Settings::Values& given);

/// @throws Error{invalid_config} if a value breaks the row's kind or limits; `where` names its
///         origin.
void check_values(const OptionRow& row, const std::string& where,
                  const std::vector<std::string>& values);

/// Width of --help.
inline constexpr std::size_t kHelpColumns = 90;
/// `text` in lines as --help has them, each behind `indent` spaces.
std::string wrapped(std::string_view text, std::size_t indent, std::size_t columns = kHelpColumns);
/// --help of the program, or of one command.
std::string help_text(const Program& program);
std::string help_text(const Program& program, const Command& command);
/// The program's part of the tables in tools/README.md.
std::string help_markdown(const Program& program);
/// Its man page, for section 1.
std::string man_page(const Program& program);
/// What makes bash complete its commands, options, and values that are one of few.
std::string bash_completion(const Program& program);

}  // namespace outseal::tools
