// The way of one command line: split by CLI11, resolved by the table, run, reported.
#include <CLI/CLI.hpp>
#include <algorithm>

#include "console.h"
#include "options.h"
#include "outseal/error.h"
#include "outseal/version.h"

namespace outseal::tools {

namespace {

struct Parsed {
  const Command* command = nullptr;  ///< Empty: the program was called without one.
  Settings::Values values;
  bool help = false;
  bool version = false;
  std::string (*document)(const Program&) = nullptr;  ///< What one of kDocuments asked for.
};

/// What a build makes documents and completion from; not for people, and so not in --help.
struct Document {
  const char* flag;
  std::string (*make)(const Program&);
};
constexpr Document kDocuments[] = {
    {"--help-markdown", help_markdown}, {"--help-man", man_page}, {"--help-bash", bash_completion}};

using OptionsByName = std::map<Option, CLI::Option*>;

OptionsByName declare(CLI::App& app, const Command& command) {
  OptionsByName declared;
  const auto add = [&](Option option) {
    const OptionRow& row = row_of(option);
    if (row.kind == OptionKind::toggle) {
      declared[option] = app.add_flag(row.flag());
      return;
    }
    // The values are taken from the results, as they were typed: CLI11's conversions are not used.
    const CLI::callback_t accept = [](const CLI::results_t&) { return true; };
    const std::string name =
        row.scope == OptionScope::positional ? std::string{row.name} : row.flag();
    CLI::Option* const added = app.add_option(name, accept);
    if (row.kind == OptionKind::list) added->expected(1, 10'000)->delimiter(',');
    // CLI11 gives a positional no more than its minimum otherwise.
    if (row.scope == OptionScope::positional && row.kind == OptionKind::list)
      added->allow_extra_args();
    declared[option] = added;
  };
  for (const Option option : command.required) add(option);
  for (const Option option : command.optional) add(option);
  return declared;
}

/// The app of "parked list" below that of "parked"; each answers --help.
CLI::App* app_of(CLI::App& root, std::string_view path, bool& help) {
  CLI::App* app = &root;
  while (!path.empty()) {
    const std::size_t end = std::min(path.find(' '), path.size());
    const std::string name{path.substr(0, end)};
    path.remove_prefix(std::min(end + 1, path.size()));
    const auto found =
        app->get_subcommands([&name](CLI::App* sub) { return sub->get_name() == name; });
    CLI::App* next = found.empty() ? app->add_subcommand(name) : found.front();
    if (found.empty()) {
      next->set_help_flag();
      next->add_flag("--help,-h", help);
      next->require_subcommand(0, 1);
    }
    app = next;
  }
  return app;
}

/// What CLI11 complains about, without what may be a password: an argument that it did not expect
/// is shown up to its first colon or equals sign.
std::string complaint_of(const CLI::App& root, const CLI::ParseError& fault) {
  const std::vector<std::string> rest = root.remaining(true);
  if (rest.empty()) return fault.what();
  const std::string& argument = rest.front();
  const std::size_t end = argument.find_first_of(":=");
  const bool whole = end == std::string::npos;
  return "unexpected argument " + argument.substr(0, end) + (whole ? "" : "...");
}

bool is_toggle(std::string_view flag) {
  if (flag == "--help" || flag == "--version") return true;
  for (const Document& document : kDocuments)
    if (flag == document.flag) return true;
  const auto& table = option_table();
  return std::any_of(table.begin(), table.end(), [flag](const OptionRow& row) {
    return row.kind == OptionKind::toggle && row.flag() == flag;
  });
}

bool takes_value(std::string_view flag) {
  const auto& table = option_table();
  return std::any_of(table.begin(), table.end(), [flag](const OptionRow& row) {
    return row.kind != OptionKind::toggle && row.flag() == flag;
  });
}

/// Refuses what CLI11 would take without a word: --force=no as --force, and the flag that follows
/// an option without a value as its value.
void check_arguments(int argc, const char* const* argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument{argv[i]};
    if (argument == "--") return;
    const std::string flag{argument.substr(0, argument.find('='))};
    if (flag.size() < argument.size() && is_toggle(flag))
      throw Error{ErrorCode::invalid_config,
                  flag,
                  "takes no value",
                  {.hint = "give " + flag + " alone, or leave it out"}};
    const bool next_is_flag = i + 1 < argc && std::string_view{argv[i + 1]}.starts_with("--");
    if (flag.size() == argument.size() && next_is_flag && takes_value(flag))
      throw Error{ErrorCode::invalid_config,
                  flag,
                  "a value is missing",
                  {.hint = "one that begins with -- is given as " + flag + "=VALUE"}};
  }
}

Parsed parse(const Program& program, int argc, const char* const* argv) {
  check_arguments(argc, argv);
  CLI::App root;
  root.set_help_flag();
  root.require_subcommand(0, 1);
  Parsed parsed;
  root.add_flag("--version", parsed.version);
  for (const Document& document : kDocuments)
    root.add_flag_callback(document.flag,
                           [&parsed, &document] { parsed.document = document.make; });
  root.add_flag("--help,-h", parsed.help);

  std::vector<CLI::App*> apps;
  std::vector<OptionsByName> declared;
  for (const Command& command : program.commands) {
    CLI::App* const app = app_of(root, command.path, parsed.help);
    apps.push_back(app);
    declared.push_back(declare(*app, command));
  }
  try {
    root.parse(argc, argv);
  } catch (const CLI::ParseError& fault) {
    throw Error{ErrorCode::invalid_config,
                std::string{program.name},
                complaint_of(root, fault),
                {.hint = "see " + std::string{program.name} + " --help"}};
  }
  for (std::size_t i = 0; i < apps.size(); ++i) {
    if (!apps[i]->parsed()) continue;
    parsed.command = &program.commands[i];
    for (const auto& [option, seen] : declared[i])
      if (seen->count() > 0) parsed.values[option] = seen->results();
  }
  return parsed;
}

int run_command(const Program& program, int argc, const char* const* argv) {
  const Parsed parsed = parse(program, argc, argv);
  if (parsed.version) {
    print_line(std::string{program.name} + " " OUTSEAL_VERSION);
    return kExitFine;
  }
  if (parsed.document != nullptr) {
    print_text(parsed.document(program));
    return kExitFine;
  }
  if (parsed.help) {
    print_text(parsed.command ? help_text(program, *parsed.command) : help_text(program));
    return kExitFine;
  }
  if (parsed.command == nullptr)
    throw Error{ErrorCode::invalid_config,
                std::string{program.name},
                "no command given",
                {.hint = "see " + std::string{program.name} + " --help"}};
  const std::vector<Settings> settings = resolve(*parsed.command, parsed.values);
  return parsed.command->run_each != nullptr ? parsed.command->run_each(settings)
                                             : parsed.command->run(settings.front());
}

}  // namespace

int run_program(const Program& program, int argc, const char* const* argv) {
  open_standard_descriptors();
  int code = kExitInternal;
  // Known before the command line is understood, for errors in the command line itself.
  bool json = false;
  for (int i = 1; i < argc; ++i) json = json || std::string_view{argv[i]} == "--json";
  try {
    code = run_command(program, argc, argv);
    flush_results();
  } catch (...) {
    code = report_error(std::current_exception(), json);
  }
  flush_errors();
  return code;
}

}  // namespace outseal::tools
