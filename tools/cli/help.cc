// Help, as text for terminals and as the tables of tools/README.md, both made from the one table.
#include "console.h"
#include "help_parts.h"
#include "options.h"

namespace outseal::tools {

std::string wrapped(std::string_view text, std::size_t indent, std::size_t columns) {
  std::string out;
  std::size_t column = columns;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (column + 1 + word.size() > columns) {
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

std::string value_of(const OptionRow& row) {
  if (row.value.empty() || row.scope == OptionScope::positional) return {};
  return " " + std::string{row.value} + (row.kind == OptionKind::list ? "..." : "");
}

namespace {

std::string range_of(const OptionRow& row) {
  if (row.kind != OptionKind::number) return {};
  return std::to_string(row.values.min) + " to " + std::to_string(row.values.max);
}

}  // namespace

bool is_in_environment(const OptionRow& row) {
  return row.scope == OptionScope::everywhere || row.scope == OptionScope::environment;
}

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

std::string usage_of(const Program& program, const Command& command) {
  std::string text = std::string{program.name} + " " + std::string{command.path};
  for (const Option option : command.required)
    text += " " + row_of(option).flag() + value_of(row_of(option));
  for (const Option option : command.optional)
    if (row_of(option).scope == OptionScope::positional)
      text += " [" + row_of(option).flag() + "...]";
  return text + " [OPTION...]";
}

std::string takers_of(const Program& program, Option option) {
  std::string paths;
  for (const Command& command : program.commands)
    if (command.takes(option)) paths += (paths.empty() ? "" : ", ") + std::string{command.path};
  return paths;
}

namespace {

std::string exit_codes() { return "Exit codes:\n" + std::string{exit_codes_help()}; }

}  // namespace

std::string help_text(const Program& program) {
  std::string text = std::string{program.name} + ": " + std::string{program.summary} + "\n\n";
  text += "Commands:\n";
  for (const Command& command : program.commands) {
    text += "  " + usage_of(program, command) + "\n";
    text += wrapped(command.summary, 6);
  }
  text += "\nEach command explains its options with --help. --version prints the version.\n\n";
  return text + exit_codes();
}

std::string help_text(const Program& program, const Command& command) {
  std::string text = usage_of(program, command) + "\n" + wrapped(command.summary, 0);
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

}  // namespace outseal::tools
