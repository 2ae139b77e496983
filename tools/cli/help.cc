// What the programs say of themselves, made from the one table: --help, the tables of
// tools/README.md, and man pages.
#include "console.h"
#include "options.h"
#include "outseal/version.h"

namespace outseal::tools {

namespace {

constexpr std::size_t kColumns = 90;

}  // namespace

std::string wrapped(std::string_view text, std::size_t indent) {
  std::string out;
  std::size_t column = kColumns;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (column + 1 + word.size() > kColumns) {
      if (!out.empty()) out += '\n';
      out.append(indent, ' ');
      column = indent;
    } else {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
  }
  return out + "\n";
}

namespace {

std::string value_of(const OptionRow& row) {
  if (row.value.empty() || row.scope == OptionScope::positional) return {};
  return " " + std::string{row.value} + (row.kind == OptionKind::list ? "..." : "");
}

std::string range_of(const OptionRow& row) {
  if (row.kind != OptionKind::number) return {};
  return std::to_string(row.values.min) + " to " + std::to_string(row.values.max);
}

bool is_in_environment(const OptionRow& row) {
  return row.scope == OptionScope::everywhere || row.scope == OptionScope::environment;
}

/// "Default 50, range 1 to 60000; OUTSEAL_POLL_MAX_MS, poll_max_ms."
std::string origin_of(const OptionRow& row) {
  std::string text;
  const auto add = [&text](const std::string& part) {
    if (!part.empty()) text += (text.empty() ? "" : ", ") + part;
  };
  if (!row.fallback().empty()) add("default " + row.fallback());
  if (row.kind == OptionKind::number) add("range " + range_of(row));
  if (is_in_environment(row)) add(row.environment_name());
  if (row.scope == OptionScope::everywhere) add("config " + row.config_key());
  return text.empty() ? text : "[" + text + "]";
}

/// "run --db URL --sink URL [OPTION...]"
std::string usage_of(const Command& command) {
  std::string text{command.path};
  for (const Option option : command.required)
    text += " " + row_of(option).flag() + value_of(row_of(option));
  for (const Option option : command.optional)
    if (row_of(option).scope == OptionScope::positional)
      text += " [" + row_of(option).flag() + "...]";
  return text + " [OPTION...]";
}

std::string exit_codes() { return "Exit codes:\n" + std::string{exit_codes_help()}; }

}  // namespace

std::string help_text(const Program& program) {
  std::string text = std::string{program.name} + ": " + std::string{program.summary} + "\n\n";
  text += "Commands:\n";
  for (const Command& command : program.commands) {
    text += "  " + std::string{program.name} + " " + usage_of(command) + "\n";
    text += wrapped(command.summary, 6);
  }
  text += "\nEach command explains its options with --help. --version prints the version.\n\n";
  return text + exit_codes();
}

std::string help_text(const Program& program, const Command& command) {
  std::string text = std::string{program.name} + " " + usage_of(command) + "\n";
  text += wrapped(command.summary, 0);
  text += "\nOptions (first of flag, environment, configuration file, default):\n";
  for (const Option option : command.options()) {
    const OptionRow& row = row_of(option);
    text += "  " + row.flag() + value_of(row) + "\n" + wrapped(row.help, 6);
    const std::string origin = origin_of(row);
    if (!origin.empty()) text += "      " + origin + "\n";
  }
  if (command.notes != nullptr) text += "\n" + command.notes();
  return text + "\n" + exit_codes();
}

std::string takers_of(const Program& program, Option option) {
  std::string paths;
  for (const Command& command : program.commands)
    if (command.takes(option)) paths += (paths.empty() ? "" : ", ") + std::string{command.path};
  return paths;
}

std::string help_markdown(const Program& program) {
  std::string text = "| flag | commands | default | range | environment, config | meaning |\n";
  text += "|---|---|---|---|---|---|\n";
  for (const OptionRow& row : option_table()) {
    const std::string commands = takers_of(program, row.option);
    if (commands.empty()) continue;
    std::string value = value_of(row);
    for (std::size_t at = 0; (at = value.find('|', at)) != std::string::npos; at += 2)
      value.insert(at, 1, '\\');
    text += "| `" + row.flag() + value + "` | " + commands + " | ";
    text += (row.fallback().empty() ? "" : "`" + row.fallback() + "`") + " | ";
    text += range_of(row) + " | ";
    if (is_in_environment(row)) text += "`" + row.environment_name() + "`";
    if (row.scope == OptionScope::everywhere) text += ", `" + row.config_key() + "`";
    text += " | " + std::string{row.help} + " |\n";
  }
  return text;
}

namespace {

/// `text` as roff shows it unchanged. A minus sign can be copied and searched for, a hyphen cannot.
std::string roff(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if ((c == '.' || c == '\'') && (out.empty() || out.back() == '\n')) out += "\\&";
    if (c == '-') out += '\\';
    out += c;
    if (c == '\\') out += 'e';
  }
  return out;
}

std::string section(std::string_view title) { return ".SH " + std::string{title} + "\n"; }

/// An entry of a list: the term in bold, and what is said of it.
std::string entry(std::string_view term, std::string_view text) {
  return ".TP\n.B " + roff(term) + "\n" + roff(text) + "\n";
}

/// Text whose lines stay as they are.
std::string lines(std::string_view text) { return ".nf\n" + roff(text) + ".fi\n"; }

std::string man_options(const Program& program) {
  std::string text = section("OPTIONS");
  text +=
      roff("A value comes from the first of: flag, environment, configuration file, default.\n");
  for (const OptionRow& row : option_table()) {
    const std::string commands = takers_of(program, row.option);
    if (commands.empty()) continue;
    const std::string origin = origin_of(row);
    text += entry(row.flag() + value_of(row), row.help);
    text += roff("For: " + commands + "." + (origin.empty() ? "" : " " + origin) + "\n");
  }
  text += entry("--help", "What a command does, and its options.");
  return text + entry("--version", "The version.");
}

std::string man_environment(const Program& program) {
  std::string text = section("ENVIRONMENT");
  for (const OptionRow& row : option_table())
    if (is_in_environment(row) && !takers_of(program, row.option).empty())
      text += entry(row.environment_name(), "Instead of " + row.flag() + ".");
  return text;
}

std::string man_file(const Program& program) {
  std::string keys;
  for (const OptionRow& row : option_table())
    if (row.scope == OptionScope::everywhere && !takers_of(program, row.option).empty())
      keys += (keys.empty() ? "" : ", ") + row.config_key();
  return section("CONFIGURATION FILE") +
         roff("The TOML file of --config. Keys that this program uses: " + keys +
              ". Those of the other programs may stand there as well.\n");
}

}  // namespace

std::string man_page(const Program& program) {
  const std::string name{program.name};
  const std::string_view summary = program.summary.substr(0, program.summary.size() - 1);
  std::string text = ".TH " + roff(name) + " 1 \"\" \"outseal " OUTSEAL_VERSION "\" outseal\n";
  text += section("NAME") + roff(name + " - " + std::string{summary} + "\n");
  text += section("SYNOPSIS");
  for (const Command& command : program.commands)
    text += ".br\n.B " + roff(name + " " + usage_of(command)) + "\n";
  text += section("COMMANDS");
  for (const Command& command : program.commands) text += entry(command.path, command.summary);
  text += man_options(program) + man_environment(program) + man_file(program);
  for (const Command& command : program.commands)
    if (command.notes != nullptr)
      text += section("NOTES ON " + std::string{command.path}) + lines(command.notes());
  return text + section("EXIT STATUS") + lines(exit_codes_help());
}

}  // namespace outseal::tools
