// Completion for bash, made from the one table.
#include <map>
#include <set>
#include <string>

#include "help_parts.h"
#include "options.h"

namespace outseal::tools {

namespace {

/// "outseal-relay" as the name of a function.
std::string function_of(const Program& program) {
  std::string name = "_" + std::string{program.name};
  for (char& c : name)
    if (c == '-') c = '_';
  return name;
}

/// The arguments with which compgen(1) lists the values of `row`; empty if nobody can guess them.
std::string generator_of(const OptionRow& row) {
  if (row.value == "FILE") return "-f";
  if (row.kind != OptionKind::choice) return {};
  std::string values{row.value};
  for (char& c : values)
    if (c == '|') c = ' ';
  return "-W '" + values + "'";
}

/// The cases of $prev: flags whose value comes next.
std::string cases_of_values(const Program& program) {
  std::map<std::string, std::string> flags;  // By generator.
  for (const OptionRow& row : option_table()) {
    if (row.kind == OptionKind::toggle || row.scope == OptionScope::positional) continue;
    if (takers_of(program, row.option).empty()) continue;
    std::string& same = flags[generator_of(row)];
    same += (same.empty() ? "" : "|") + row.flag();
  }
  std::string cases;
  for (const auto& [generator, names] : flags)
    cases +=
        "    " + names + ")" +
        (generator.empty() ? ""
                           : " mapfile -t COMPREPLY < <(compgen " + generator + " -- \"$cur\");") +
        " return ;;\n";
  return cases;
}

std::string flags_of(const Command& command) {
  std::string flags;
  for (const Option option : command.options())
    if (const OptionRow& row = row_of(option); row.scope != OptionScope::positional)
      flags += row.flag() + " ";
  return flags;
}

/// What may follow the words of each path: the next words of commands, and flags behind them.
std::map<std::string, std::string> words_of(const Program& program) {
  std::map<std::string, std::string> words;
  std::set<std::string> known;
  for (const Command& command : program.commands) {
    const std::string path{command.path};
    for (std::size_t begin = 0; begin < path.size();) {
      const std::size_t end = std::min(path.find(' ', begin), path.size());
      if (known.insert(path.substr(0, end)).second)
        words[path.substr(0, begin == 0 ? 0 : begin - 1)] += path.substr(begin, end - begin) + " ";
      begin = end + 1;
    }
    words[path] += flags_of(command);
  }
  words[""] += "--version ";
  for (auto& [path, next] : words) next += "--help";
  return words;
}

}  // namespace

std::string bash_completion(const Program& program) {
  std::string paths;
  std::string words;
  for (const auto& [path, next] : words_of(program)) {
    if (!path.empty()) paths += (paths.empty() ? "'" : " | '") + path + "'";
    words += "    '" + path + "') words='" + next + "' ;;\n";
  }
  const std::string function = function_of(program);
  return function + "() {\n" +
         R"(  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} path= word words=
  COMPREPLY=()
  # Bash takes the equals sign of --flag=value for a word.
  if [[ $cur == = ]]; then
    cur=
  elif [[ $prev == = ]]; then
    prev=${COMP_WORDS[COMP_CWORD-2]}
  fi
  case $prev in
)" + cases_of_values(program) +
         R"(  esac
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "${path:+$path }$word" in
      )" +
         paths + R"() path=${path:+$path }$word ;;
    esac
  done
  case $path in
)" + words +
         R"(  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -F )" +
         function + " " + std::string{program.name} + "\n";
}

}  // namespace outseal::tools
