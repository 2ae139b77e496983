#include "options.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <optional>

#include "config_file.h"
#include "outseal/error.h"

namespace outseal::tools {

namespace {

[[noreturn]] void refuse(const std::string& where, const std::string& message,
                         const std::string& hint = {}) {
  throw Error{ErrorCode::invalid_config, where, message, {.hint = hint}};
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (true) {
    const std::size_t end = text.find(separator);
    if (end != 0) parts.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

/// Refuses a value that breaks the row's kind or limits; `where` names its origin.
void check_value(const OptionRow& row, const std::string& where, const std::string& value) {
  if (row.kind == OptionKind::number) {
    std::uint64_t number = 0;
    const char* const end = value.data() + value.size();
    const auto [stop, fault] = std::from_chars(value.data(), end, number);
    if (fault == std::errc::invalid_argument || stop != end)
      refuse(where, "'" + value + "' is no whole number");
    if (fault != std::errc{} || number < row.values.min || number > row.values.max)
      refuse(where, value + " is out of range: " + std::to_string(row.values.min) + " to " +
                        std::to_string(row.values.max));
  } else if (row.kind == OptionKind::choice) {
    for (const std::string& known : split(row.value, '|'))
      if (known == value) return;
    refuse(where, "'" + value + "' is not one of " + std::string{row.value});
  } else if (value.empty()) {
    refuse(where, "an empty value", "give it a value or leave it out");
  }
}

/// An empty variable counts as not set, so that a wrapper can switch one off.
std::optional<std::vector<std::string>> read_environment(const OptionRow& row) {
  if (row.scope != OptionScope::everywhere && row.scope != OptionScope::environment)
    return std::nullopt;
  const char* const value = std::getenv(row.environment_name().c_str());
  if (value == nullptr || *value == '\0') return std::nullopt;
  return row.kind == OptionKind::list ? split(value, ',') : std::vector<std::string>{value};
}

std::string missing_hint(const OptionRow& row) {
  if (row.scope == OptionScope::positional) return "give " + row.flag();
  if (row.scope == OptionScope::command_line)
    return "give " + row.flag() + " " + std::string{row.value};
  return "give " + row.flag() + " " + std::string{row.value} + ", or set " + row.environment_name();
}

/// What the command line and the environment give.
struct Call {
  Settings::Values values;
  Settings::Origins origins;
};

Call read_call(const std::vector<Option>& wanted, const Settings::Values& given) {
  Call call;
  const auto take = [&call](const OptionRow& row, const std::string& where,
                            const std::vector<std::string>& texts) {
    check_values(row, where, texts);
    call.values[row.option] = texts;
    call.origins[row.option] = where;
  };
  for (const Option option : wanted) {
    const OptionRow& row = row_of(option);
    if (const auto flag = given.find(option); flag != given.end()) {
      take(row, row.flag(), flag->second);
    } else if (const auto variable = read_environment(row)) {
      take(row, row.environment_name(), *variable);
    }
  }
  return call;
}

std::string names_of(const std::vector<ConfigTable>& tables) {
  std::string names;
  for (const ConfigTable& table : tables) names += (names.empty() ? "" : ", ") + table.name();
  return names;
}

/// What is one subscription's alone cannot be said of several at once.
void refuse_for_several(const Call& call, std::size_t count) {
  for (const auto& [option, origin] : call.origins)
    if (const OptionRow& row = row_of(option); row.per_subscription == PerSubscription::must)
      refuse(origin,
             "belongs to one subscription, and the configuration file has " + std::to_string(count),
             "pick one with --subscription NAME, or write " + row.config_key() +
                 " in each [[subscription]]");
}

/// The [[subscription]] tables that the command is about; nullptr for a subscription without one.
std::vector<const ConfigTable*> choose_tables(const Command& command, const Call& call,
                                              const std::vector<ConfigTable>& tables) {
  if (tables.empty() || !command.takes(Option::subscription)) return {nullptr};
  const bool takes_several = command.run_each != nullptr;
  if (const auto named = call.values.find(Option::subscription); named != call.values.end()) {
    for (const ConfigTable& table : tables)
      if (table.name() == named->second.front()) return {&table};
    if (!takes_several) return {nullptr};  // The database may know it all the same.
    refuse(call.origins.at(Option::subscription),
           "the configuration file has no subscription '" + named->second.front() + "'",
           "it has: " + names_of(tables));
  }
  if (tables.size() > 1 && !takes_several)
    refuse(std::string{command.path}, "the configuration file has several subscriptions",
           "pick one with --subscription NAME: " + names_of(tables));
  if (tables.size() > 1) refuse_for_several(call, tables.size());
  std::vector<const ConfigTable*> all;
  all.reserve(tables.size());
  for (const ConfigTable& table : tables) all.push_back(&table);
  return all;
}

Settings complete(const Command& command, const Call& call, const ConfigTable* table,
                  const ConfigTable& top) {
  Settings::Values values = call.values;
  Settings::Origins origins = call.origins;
  for (const Option option : command.options()) {
    const OptionRow& row = row_of(option);
    if (values.contains(option)) continue;
    for (const ConfigTable* const from : {table, &top}) {
      if (from == nullptr || !from->values.contains(option)) continue;
      values[option] = from->values.at(option);
      origins[option] = from->origins.at(option);
      break;
    }
    const bool is_required = std::find(command.required.begin(), command.required.end(), option) !=
                             command.required.end();
    if (!values.contains(option) && !row.fallback().empty() && !is_required)
      values[option] = {row.fallback()};
  }
  for (const Option option : command.required) {
    if (values.contains(option)) continue;
    const OptionRow& row = row_of(option);
    if (table != nullptr && row.per_subscription != PerSubscription::no)
      refuse(table->place, "[[subscription]] " + table->name() + " has no " + row.config_key(),
             "write " + row.config_key() + " = \"" + std::string{row.value} + "\" in it");
    refuse(std::string{command.path}, row.flag() + " is missing", missing_hint(row));
  }
  return Settings{std::move(values), std::move(origins)};
}

}  // namespace

void check_values(const OptionRow& row, const std::string& where,
                  const std::vector<std::string>& values) {
  if (row.kind == OptionKind::toggle) return;
  if (values.empty()) refuse(where, "an empty value", "give it a value or leave it out");
  for (const std::string& value : values) check_value(row, where, value);
}

std::string Settings::text(Option option) const {
  const auto found = values_.find(option);
  return found == values_.end() || found->second.empty() ? std::string{} : found->second.front();
}

std::vector<std::string> Settings::list(Option option) const {
  const auto found = values_.find(option);
  return found == values_.end() ? std::vector<std::string>{} : found->second;
}

std::uint64_t Settings::number(Option option) const {
  const std::string value = text(option);
  std::uint64_t number = 0;
  const auto [stop, fault] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (value.empty() || fault != std::errc{})
    throw Error{ErrorCode::internal, "options", row_of(option).flag() + " has no number"};
  return number;
}

std::chrono::milliseconds Settings::milliseconds(Option option) const {
  return std::chrono::milliseconds{number(option)};
}

std::string Settings::origin(Option option) const {
  const auto found = origins_.find(option);
  return found == origins_.end() ? row_of(option).flag() : found->second;
}

std::vector<Option> Command::options() const {
  std::vector<Option> options = required;
  options.insert(options.end(), optional.begin(), optional.end());
  return options;
}

bool Command::takes(Option option) const {
  const std::vector<Option> all = options();
  return std::find(all.begin(), all.end(), option) != all.end();
}

std::vector<Settings> resolve(const Command& command, const Settings::Values& given) {
  const Call call = read_call(command.options(), given);
  Config config;
  if (const auto path = call.values.find(Option::config); path != call.values.end())
    config = read_config(path->second.front());
  std::vector<Settings> all;
  for (const ConfigTable* const table : choose_tables(command, call, config.subscriptions))
    all.push_back(complete(command, call, table, config.top));
  return all;
}

}  // namespace outseal::tools
