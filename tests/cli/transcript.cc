// Runs transcripts: text files that show what somebody types and what the programs answer.
//
//   # a comment
//   $ command                 run by bash in a fresh folder that all commands of the file share
//   > more of it              continues the command on a new line
//   expected output           stdout and stderr together; [..] stands for any text within a line,
//                             [...] alone on a line for any number of lines
//   ? 3                       the exit code; without this line it must be 0
//
// Empty lines at the end of an output are left out on both sides. The programs are first on PATH,
// no OUTSEAL_... variable is set, and SOURCE names the source tree. sqlite3 waits for a relay that
// writes at the same moment. A command that waits for what never comes is ended, and fails.
//
// Usage: transcript BIN_DIR FILE
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

extern char** environ;

namespace {

namespace fs = std::filesystem;
using Lines = std::vector<std::string>;

struct Step {
  std::size_t line = 0;  ///< Where the command stands in the file.
  std::string command;
  Lines expected;
  int exit_code = 0;
};

std::vector<Step> read_steps(const fs::path& path) {
  std::ifstream file{path};
  std::vector<Step> steps;
  std::string text;
  for (std::size_t number = 1; std::getline(file, text); ++number) {
    if (text.starts_with("# ") || text == "#") continue;
    if (text.starts_with("$ ")) {
      steps.push_back({.line = number, .command = text.substr(2), .expected = {}, .exit_code = 0});
    } else if (steps.empty()) {
      if (!text.empty()) throw std::runtime_error{"output before the first command"};
    } else if (text.starts_with("> ")) {
      steps.back().command += "\n" + text.substr(2);
    } else if (text.starts_with("? ")) {
      steps.back().exit_code = std::stoi(text.substr(2));
    } else {
      steps.back().expected.push_back(text);
    }
  }
  if (steps.empty()) throw std::runtime_error{"no command in " + path.string()};
  return steps;
}

void strip_end(Lines& lines) {
  while (!lines.empty() && lines.back().empty()) lines.pop_back();
}

/// Classic matching of one wildcard that stands for any text.
bool line_matches(std::string_view pattern, std::string_view text) {
  const std::size_t at = pattern.find("[..]");
  if (at == std::string_view::npos) return pattern == text;
  if (!text.starts_with(pattern.substr(0, at))) return false;
  text.remove_prefix(at);
  pattern.remove_prefix(at + 4);
  for (std::size_t skip = 0; skip <= text.size(); ++skip)
    if (line_matches(pattern, text.substr(skip))) return true;
  return false;
}

bool output_matches(const Lines& expected, std::size_t i, const Lines& actual, std::size_t j) {
  if (i == expected.size()) return j == actual.size();
  if (expected[i] == "[...]") {
    for (std::size_t next = j; next <= actual.size(); ++next)
      if (output_matches(expected, i + 1, actual, next)) return true;
    return false;
  }
  return j < actual.size() && line_matches(expected[i], actual[j]) &&
         output_matches(expected, i + 1, actual, j + 1);
}

/// Runs `command` and collects what it prints.
Lines run(const std::string& command, const fs::path& script, int& exit_code) {
  std::ofstream{script} << command << '\n';
  // With all that it has started.
  FILE* const pipe =
      ::popen(("exec timeout -k 5 300 bash '" + script.string() + "' 2>&1").c_str(), "r");
  if (pipe == nullptr) throw std::runtime_error{"cannot start bash"};
  std::string output;
  char buffer[4096];
  for (std::size_t got = 0; (got = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;)
    output.append(buffer, got);
  const int status = ::pclose(pipe);
  exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  Lines lines;
  for (std::size_t at = 0; at < output.size();) {
    const std::size_t end = std::min(output.find('\n', at), output.size());
    lines.push_back(output.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

void show(std::string_view title, const Lines& lines, int exit_code) {
  std::cout << "--- " << title << '\n';
  for (const std::string& line : lines) std::cout << line << '\n';
  std::cout << "? " << exit_code << '\n';
}

bool passes(Step step, const fs::path& file, const fs::path& script) {
  int exit_code = 0;
  Lines actual = run(step.command, script, exit_code);
  strip_end(step.expected);
  strip_end(actual);
  if (exit_code == step.exit_code && output_matches(step.expected, 0, actual, 0)) return true;
  std::cout << file.string() << ":" << step.line << ": $ " << step.command << '\n';
  show("expected", step.expected, step.exit_code);
  show("actual", actual, exit_code);
  return false;
}

void prepare_environment(const fs::path& programs) {
  std::vector<std::string> ours;
  for (char** entry = environ; *entry != nullptr; ++entry)
    if (const std::string_view text{*entry}; text.starts_with("OUTSEAL_"))
      ours.emplace_back(text.substr(0, text.find('=')));
  for (const std::string& name : ours) ::unsetenv(name.c_str());
  const char* const path = std::getenv("PATH");
  ::setenv("PATH", (programs.string() + ":" + (path != nullptr ? path : "/usr/bin:/bin")).c_str(),
           1);
  ::setenv("SOURCE", OUTSEAL_SOURCE_DIR, 1);
}

int run_transcript(const fs::path& programs, const fs::path& file) {
  const std::vector<Step> steps = read_steps(file);
  prepare_environment(programs);
  std::string pattern = (fs::temp_directory_path() / "outseal-transcript-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error{"cannot make " + pattern};
  const fs::path folder{pattern};
  fs::create_directory(folder / "work");
  std::ofstream{folder / "functions"}
      << "sqlite3() { command sqlite3 -cmd '.timeout 10000' \"$@\"; }\n";
  ::setenv("BASH_ENV", (folder / "functions").c_str(), 1);
  fs::current_path(folder / "work");
  int failures = 0;
  // All steps are run and shown: one change of a message is then seen wherever it matters.
  for (const Step& step : steps)
    if (!passes(step, file, folder / "script")) ++failures;
  fs::current_path("/");
  fs::remove_all(folder);
  std::cout << file.filename().string() << ": " << steps.size() << " commands, " << failures
            << " failed\n";
  return failures == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: transcript BIN_DIR FILE\n";
    return 2;
  }
  try {
    return run_transcript(argv[1], fs::absolute(argv[2]));
  } catch (const std::exception& fault) {
    std::cerr << argv[2] << ": " << fault.what() << '\n';
    return 2;
  }
}
