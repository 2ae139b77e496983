// Man pages, made from the one table.
#include <string>

#include "console.h"
#include "help_parts.h"
#include "options.h"
#include "outseal/version.h"

namespace outseal::tools {

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
    text += ".br\n.B " + roff(usage_of(program, command)) + "\n";
  text += section("COMMANDS");
  for (const Command& command : program.commands) text += entry(command.path, command.summary);
  text += man_options(program) + man_environment(program) + man_file(program);
  for (const Command& command : program.commands)
    if (command.notes != nullptr)
      text += section("NOTES ON " + std::string{command.path}) + lines(command.notes());
  return text + section("EXIT STATUS") + lines(exit_codes_help());
}

}  // namespace outseal::tools
