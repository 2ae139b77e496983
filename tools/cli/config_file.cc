#include "config_file.h"

// The parser asserts on some malformed documents, for which it has an error as well.
#define TOML_ASSERT(condition) static_cast<void>(0)
#include <toml++/toml.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <sstream>

#include "outseal/error.h"

namespace outseal::tools {

namespace {

[[noreturn]] void refuse(const std::string& where, const std::string& message,
                         const std::string& hint) {
  throw Error{ErrorCode::invalid_config, where, message, {.hint = hint}};
}

const OptionRow* find_config_key(std::string_view key) {
  for (const OptionRow& row : option_table())
    if (row.scope == OptionScope::everywhere && row.config_key() == key) return &row;
  return nullptr;
}

/// Within a [[subscription]] its name is `name`.
const OptionRow* find_subscription_key(std::string_view key) {
  if (key == "name") return &row_of(Option::subscription);
  if (key == "subscription") return nullptr;
  const OptionRow* const row = find_config_key(key);
  const bool may = row != nullptr && row->per_subscription != PerSubscription::no;
  return may ? row : nullptr;
}

std::string place_of(const std::string& path, const toml::source_region& source) {
  return path + ":" + std::to_string(source.begin.line);
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

void take(const OptionRow& row, const std::string& where, const toml::key& key,
          const toml::node& node, ConfigTable& into) {
  const std::string name{key.str()};
  const auto texts = as_texts(row, node);
  if (!texts) {
    const bool is_number = row.kind == OptionKind::number;
    refuse(where, name + " must be " + (is_number ? "an integer" : "text"),
           is_number
               ? "write " + name + " = " +
                     (row.fallback().empty() ? std::to_string(row.values.min) : row.fallback())
               : "write it in quotes");
  }
  const std::string origin = where + " " + name;
  check_values(row, origin, *texts);
  into.values[row.option] = *texts;
  into.origins[row.option] = origin;
}

/// `[[subscription]] NAME`, as far as it has a name.
std::string title_of(const toml::table& table) {
  const auto name = table["name"].value_exact<std::string>();
  return "[[subscription]]" + (name ? " " + *name : "");
}

ConfigTable read_subscription(const std::string& path, const toml::table& table) {
  ConfigTable read;
  read.place = place_of(path, table.source());
  for (const auto& [key, node] : table) {
    const std::string where = place_of(path, key.source());
    const std::string name{key.str()};
    const OptionRow* const row = find_subscription_key(name);
    if (row == nullptr && name != "subscription" && find_config_key(name) != nullptr)
      refuse(where, "'" + name + "' does not belong to one subscription: " + title_of(table),
             "write it before the first [[subscription]], for all of them");
    if (row == nullptr)
      refuse(where, "unknown key '" + name + "' in " + title_of(table),
             "keys of a [[subscription]]: " + subscription_keys());
    take(*row, where, key, node, read);
  }
  if (!read.values.contains(Option::subscription))
    refuse(read.place, "a [[subscription]] has no name", "write name = \"orders\" in it");
  return read;
}

void read_subscriptions(const std::string& path, const toml::array& tables, Config& config) {
  std::set<std::string> names;
  for (const toml::node& table : tables) {
    ConfigTable read = read_subscription(path, *table.as_table());
    if (!names.insert(read.name()).second)
      refuse(read.origins.at(Option::subscription),
             "'" + read.name() + "' is the name of another [[subscription]] already",
             "give each subscription a name of its own");
    config.subscriptions.push_back(std::move(read));
  }
}

Config read_tables(const std::string& path, const toml::table& table) {
  Config config;
  for (const auto& [key, node] : table) {
    const std::string where = place_of(path, key.source());
    if (key.str() == row_of(Option::subscription).config_key()) {
      if (node.is_array_of_tables()) {
        read_subscriptions(path, *node.as_array(), config);
        continue;
      }
      if (node.is_table())
        refuse(where, "[subscription] is one table, not a list of tables",
               "write [[subscription]]");
    }
    const OptionRow* const row = find_config_key(key.str());
    if (row == nullptr)
      refuse(where, "unknown key '" + std::string{key.str()} + "'",
             "keys are flags with underscores: --batch-events is batch_events");
    take(*row, where, key, node, config.top);
  }
  return config;
}

/// What to do about TOML that cannot be read.
std::string_view hint_for(std::string_view fault) {
  if (fault.find("redefine") != std::string_view::npos)
    return "each key stands once; where there are [[subscription]] tables, the name of one is name "
           "= \"orders\" in it";
  return "write KEY = VALUE, text in quotes: db = \"sqlite:shop.db\"";
}

}  // namespace

Config read_config(const std::string& path) {
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
  try {
    return read_tables(path, toml::parse(content.view(), path));
  } catch (const toml::parse_error& fault) {
    refuse(place_of(path, fault.source()), "malformed TOML: " + std::string{fault.description()},
           std::string{hint_for(fault.description())});
  }
}

}  // namespace outseal::tools
