#include "options.h"

#include <toml++/toml.h>

#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <set>
#include <sstream>

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
    if (fault != std::errc{} || number < row.min || number > row.max)
      refuse(where, value + " is out of range: " + std::to_string(row.min) + " to " +
                        std::to_string(row.max));
  } else if (row.kind == OptionKind::choice) {
    for (const std::string& known : split(row.value, '|'))
      if (known == value) return;
    refuse(where, "'" + value + "' is not one of " + std::string{row.value});
  } else if (value.empty()) {
    refuse(where, "an empty value", "give it a value or leave it out");
  }
}

void check_values(const OptionRow& row, const std::string& where,
                  const std::vector<std::string>& values) {
  if (row.kind == OptionKind::toggle) return;
  if (values.empty()) refuse(where, "an empty value", "give it a value or leave it out");
  for (const std::string& value : values) check_value(row, where, value);
}

const OptionRow* find_config_key(std::string_view key) {
  for (const OptionRow& row : option_table())
    if (row.scope == OptionScope::everywhere && row.config_key() == key) return &row;
  return nullptr;
}

/// The text form of a TOML value, as a flag would give it; empty if it has the wrong type.
std::optional<std::vector<std::string>> as_texts(const OptionRow& row, const toml::node& node) {
  if (row.kind == OptionKind::number) {
    const auto number = node.value_exact<std::int64_t>();
    if (!number) return std::nullopt;
    return std::vector{std::to_string(*number)};
  }
  if (row.kind == OptionKind::list && node.is_array()) {
    std::vector<std::string> texts;
    for (const toml::node& element : *node.as_array()) {
      const auto text = element.value_exact<std::string>();
      if (!text) return std::nullopt;
      texts.push_back(*text);
    }
    return texts;
  }
  const auto text = node.value_exact<std::string>();
  if (!text) return std::nullopt;
  return std::vector{*text};
}

/// All values of the file, those that other programs use included: a misspelt or bad one is never
/// passed over in silence. `origins` gets the line of each.
Settings::Values read_config(const std::string& path, Settings::Origins& origins) {
  // A folder can be opened as well, and reads as if it were empty.
  std::error_code ignored;
  if (std::filesystem::exists(path, ignored) && !std::filesystem::is_regular_file(path, ignored))
    refuse(path, "is not a file", "check the path given to --config");
  std::ifstream file{path, std::ios::binary};
  std::ostringstream content;
  // An empty file has no buffer to insert, which sets failbit on `content` alone.
  if (file) content << file.rdbuf();
  if (!file || file.bad())
    refuse(path, "cannot read the configuration file", "check the path given to --config");

  Settings::Values values;
  try {
    const toml::table table = toml::parse(content.view(), path);
    for (const auto& [key, node] : table) {
      const std::string where = path + ":" + std::to_string(key.source().begin.line);
      const OptionRow* const row = find_config_key(key.str());
      if (row == nullptr)
        refuse(where, "unknown key '" + std::string{key.str()} + "'",
               "keys are flags with underscores: --batch-events is batch_events");
      const auto texts = as_texts(*row, node);
      if (!texts) {
        const bool is_number = row->kind == OptionKind::number;
        refuse(where, std::string{key.str()} + " must be " + (is_number ? "an integer" : "text"),
               is_number ? "write " + row->config_key() + " = " + std::string{row->fallback}
                         : "write it in quotes");
      }
      const std::string origin = where + " " + row->config_key();
      check_values(*row, origin, *texts);
      values[row->option] = *texts;
      origins[row->option] = origin;
    }
  } catch (const toml::parse_error& fault) {
    refuse(path + ":" + std::to_string(fault.source().begin.line),
           "malformed TOML: " + std::string{fault.description()},
           "write KEY = VALUE, text in quotes: db = \"sqlite:shop.db\"");
  }
  return values;
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

}  // namespace

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

Settings resolve(const Command& command, const Settings::Values& given) {
  std::vector<Option> wanted = command.required;
  wanted.insert(wanted.end(), command.optional.begin(), command.optional.end());

  Settings::Values values;
  Settings::Origins origins;
  const auto take = [&](const OptionRow& row, const std::string& where,
                        const std::vector<std::string>& texts) {
    check_values(row, where, texts);
    values[row.option] = texts;
    origins[row.option] = where;
  };
  for (const Option option : wanted) {
    const OptionRow& row = row_of(option);
    if (const auto flag = given.find(option); flag != given.end()) {
      take(row, row.flag(), flag->second);
    } else if (const auto variable = read_environment(row)) {
      take(row, row.environment_name(), *variable);
    }
  }
  Settings::Values config;
  Settings::Origins lines;
  if (const auto path = values.find(Option::config); path != values.end())
    config = read_config(path->second.front(), lines);
  for (const Option option : wanted) {
    const OptionRow& row = row_of(option);
    if (values.contains(option)) continue;
    if (const auto found = config.find(option); found != config.end()) {
      values[option] = found->second;
      origins[option] = lines[option];
    } else if (!row.fallback.empty()) {
      values[option] = {std::string{row.fallback}};
    }
  }
  for (const Option option : command.required)
    if (!values.contains(option))
      refuse(std::string{command.path}, row_of(option).flag() + " is missing",
             missing_hint(row_of(option)));
  return Settings{std::move(values), std::move(origins)};
}

}  // namespace outseal::tools
