// What the tree must look like: layers, lengths, seams. Each rule is a function from a file to the
// complaints about it, so that it can be shown a bad file too (last test case).
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <regex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "support/paths.h"

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kFileLinesMax = 400;
constexpr std::size_t kLineColumnsMax = 100;
constexpr std::size_t kFunctionLinesMax = 70;

struct File {
  std::string path;  // relative to the root, with '/'
  std::vector<std::string> lines;
};
using Complaints = std::vector<std::string>;

bool starts_with_any(std::string_view text, std::initializer_list<std::string_view> prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](std::string_view prefix) { return text.starts_with(prefix); });
}

bool is_cpp(std::string_view path) { return path.ends_with(".cc") || path.ends_with(".h"); }

bool is_code(std::string_view path) {
  return is_cpp(path) || path.ends_with(".sql") || path.ends_with(".sh") ||
         path.ends_with(".cmake") || path.ends_with(".in") || path.ends_with("CMakeLists.txt");
}

std::string at(const File& file, std::size_t index, std::string_view what) {
  return file.path + ":" + std::to_string(index + 1) + ": " + std::string{what};
}

std::size_t columns(std::string_view line) {
  return static_cast<std::size_t>(std::count_if(line.begin(), line.end(), [](char byte) {
    return (static_cast<unsigned char>(byte) & 0xC0U) != 0x80U;
  }));
}

Complaints check_lengths(const File& file) {
  Complaints found;
  if (file.lines.size() > kFileLinesMax) {
    found.push_back(file.path + ": " + std::to_string(file.lines.size()) + " lines");
  }
  for (std::size_t i = 0; i < file.lines.size(); ++i) {
    if (columns(file.lines[i]) > kLineColumnsMax) found.push_back(at(file, i, "line too long"));
  }
  return found;
}

// A block that opens behind a parenthesis and closes with a brace in its own column: functions, and
// inside of them loops and lambdas, which are shorter than their function anyway.
Complaints check_functions(const File& file) {
  static const std::regex opening{R"(^( *)[^ /#].*\).*\{$)"};
  Complaints found;
  for (std::size_t i = 0; i < file.lines.size(); ++i) {
    std::smatch match;
    if (!std::regex_match(file.lines[i], match, opening)) continue;
    const std::string closing = match[1].str() + "}";
    std::size_t end = i + 1;
    while (end < file.lines.size() && !file.lines[end].starts_with(closing)) ++end;
    const std::size_t length = end - i + 1;
    if (end < file.lines.size() && length > kFunctionLinesMax) {
      found.push_back(at(file, i, "function of " + std::to_string(length) + " lines"));
    }
  }
  return found;
}

Complaints check_leftovers(const File& file) {
  static const std::regex word{
      "\\b(FIX"
      "ME|TO"
      "DO|XX"
      "X)\\b"};
  Complaints found;
  for (std::size_t i = 0; i < file.lines.size(); ++i) {
    if (std::regex_search(file.lines[i], word)) found.push_back(at(file, i, "left over"));
  }
  return found;
}

// What was to be filled in, for example a measurement, stands between two of these.
Complaints check_placeholders(const File& file) {
  Complaints found;
  for (std::size_t i = 0; i < file.lines.size(); ++i) {
    if (file.lines[i].find("@@") != std::string::npos) found.push_back(at(file, i, "placeholder"));
  }
  return found;
}

std::optional<std::string> included(const std::string& line) {
  static const std::regex include{R"(^\s*#\s*include\s*[<"]([^>"]+)[>"].*)"};
  std::smatch match;
  if (!std::regex_match(line, match, include)) return {};
  return match[1].str();
}

// base -> model -> observe -> sql -> store -> operation | relay | reconcile | sinks -> tools: left
// may not know right.
std::optional<int> rank_of(const std::string& layer) {
  static const std::map<std::string, int> ranks{
      {"base", 0},      {"model", 1}, {"observe", 2},   {"sql", 3},   {"store", 4},
      {"operation", 5}, {"relay", 5}, {"reconcile", 5}, {"sinks", 5}, {"tools", 6}};
  const auto rank = ranks.find(layer);
  return rank == ranks.end() ? std::nullopt : std::optional{rank->second};
}

std::string layer_of(const std::string& path) {
  if (path.starts_with("tools/")) return "tools";
  const std::string_view source = "lib/src/";
  if (!path.starts_with(source)) return {};
  return path.substr(source.size(), path.find('/', source.size()) - source.size());
}

/// A pure state machine: it runs without any database or sink, for example in the simulation.
bool is_core(const std::string& path) {
  return starts_with_any(path, {"lib/src/operation/core", "lib/src/operation/effect_core",
                                "lib/src/operation/effect_view", "lib/src/relay/core"});
}

Complaints check_includes(const File& file) {
  Complaints found;
  const std::string layer = layer_of(file.path);
  const auto rank = rank_of(layer);
  for (std::size_t i = 0; i < file.lines.size(); ++i) {
    const auto header = included(file.lines[i]);
    if (!header) continue;
    if (header->find("../") != std::string::npos) found.push_back(at(file, i, "relative include"));
    const std::string other = header->substr(0, header->find('/'));
    const auto other_rank = rank_of(other);
    if (!rank || !other_rank || header->find('/') == std::string::npos || other == layer) continue;
    if (*other_rank >= *rank) found.push_back(at(file, i, layer + " must not know " + other));
    if (is_core(file.path) && *other_rank >= *rank_of("sql"))
      found.push_back(at(file, i, "a core must not know " + other));
  }
  return found;
}

/// The folder of a kind of sink, or "common"; empty for what is not in one.
std::string sink_folder_of(std::string_view path) {
  const std::string_view source = "lib/src/sinks/";
  if (path.starts_with(source))
    path.remove_prefix(source.size() - std::string_view{"sinks/"}.size());
  if (!path.starts_with("sinks/")) return {};
  path.remove_prefix(std::string_view{"sinks/"}.size());
  const auto slash = path.find('/');
  return slash == std::string_view::npos ? std::string{} : std::string{path.substr(0, slash)};
}

// A kind of sink is its folder: it stands on kind.h and common/, and only the registry knows it.
Complaints check_sinks(const File& file) {
  Complaints found;
  const std::string own = sink_folder_of(file.path);
  for (std::size_t i = 0; i < file.lines.size(); ++i) {
    const auto header = included(file.lines[i]);
    if (!header || own.empty()) continue;
    const std::string other = sink_folder_of(*header);
    if (*header == "sinks/registry.h" || (!other.empty() && other != own && other != "common"))
      found.push_back(at(file, i, "a sink must not know " + *header));
  }
  return found;
}

Complaints check_public_header(const File& file) {
  Complaints found;
  for (std::size_t i = 0; i < file.lines.size(); ++i) {
    const auto header = included(file.lines[i]);
    if (!header) continue;
    if (starts_with_any(*header, {"soci", "sqlite3", "libpq", "postgres", "pqxx", "openssl"})) {
      found.push_back(at(file, i, "a public header includes " + *header));
    } else if (header->find('/') != std::string::npos && !header->starts_with("outseal/")) {
      found.push_back(at(file, i, "a public header includes a private one"));
    }
  }
  return found;
}

/// A complaint about each line whose code, without its comment, has `pattern`.
Complaints check_code(const File& file, const std::regex& pattern, std::string_view what) {
  Complaints found;
  for (std::size_t i = 0; i < file.lines.size(); ++i) {
    const std::string code = file.lines[i].substr(0, file.lines[i].find("//"));
    if (std::regex_search(code, pattern)) found.push_back(at(file, i, what));
  }
  return found;
}

Complaints check_sql(const File& file) {
  static const std::regex sql{
      "\\b(SELECT |INSERT (OR \\w+ )?INTO |DELETE FROM |UPDATE outseal|CREATE TABLE |PRAGMA )"};
  return check_code(file, sql, "SQL outside of lib/src/sql");
}

// Parameters and columns are known by their order in one place, beside the statement's text.
Complaints check_indexes(const File& file) {
  static const std::regex call{
      R"((->|\.)(bind|bind_\w+|integer|text|blob|event_id|is_null)\([0-9])"};
  return check_code(file, call, "a statement's index outside of lib/src/sql");
}

// What is the process's own: signals, the allocator's settings.
Complaints check_process(const File& file) {
  static const std::regex call{"\\b(signal|sigaction|mallopt)\\("};
  return check_code(file, call, "belongs to the programs");
}

// Which kinds are part of the build.
Complaints check_kinds(const File& file) {
  static const std::regex macro{"\\bOUTSEAL_SINK_[A-Z]"};
  return check_code(file, macro, "belongs to the registry of sinks");
}

Complaints check(const File& file) {
  Complaints found;
  const auto add = [&](const Complaints& more) {
    found.insert(found.end(), more.begin(), more.end());
  };
  if (file.path.ends_with(".md")) add(check_placeholders(file));
  if (!is_code(file.path)) return found;
  add(check_lengths(file));
  add(check_leftovers(file));
  if (!is_cpp(file.path)) return found;
  add(check_functions(file));
  add(check_includes(file));
  add(check_sinks(file));
  if (file.path.starts_with("lib/include/")) add(check_public_header(file));
  if (file.path.starts_with("lib/")) add(check_process(file));
  if (starts_with_any(file.path, {"lib/", "tools/"}) && file.path != "lib/src/sinks/registry.cc")
    add(check_kinds(file));
  if (starts_with_any(file.path, {"lib/", "tools/"}) && !file.path.starts_with("lib/src/sql/")) {
    add(check_sql(file));
    add(check_indexes(file));
  }
  return found;
}

const fs::path kRoot{outseal::test::source_folder()};

File read(const fs::path& path) {
  File file{fs::relative(path, kRoot).generic_string(), {}};
  std::ifstream in{path};
  for (std::string line; std::getline(in, line);) file.lines.push_back(line);
  return file;
}

std::vector<File> tree() {
  std::vector<File> files{read(kRoot / "README.md")};
  for (const char* top : {"lib", "tools", "migrations", "tests", "examples"}) {
    for (const auto& entry : fs::recursive_directory_iterator{kRoot / top}) {
      if (entry.is_regular_file()) files.push_back(read(entry.path()));
    }
  }
  return files;
}

std::set<std::string> names_in(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator{folder}) {
    names.insert(entry.path().filename().string());
  }
  return names;
}

std::string joined(const Complaints& complaints) {
  std::string text;
  for (const auto& complaint : complaints) text += "\n" + complaint;
  return text;
}

}  // namespace

TEST_CASE("every file keeps the rules of layers, lengths and seams") {
  const auto files = tree();
  CHECK(files.size() > 50);
  for (const auto& file : files) {
    const auto complaints = check(file);
    CHECK_MESSAGE(complaints.empty(), joined(complaints));
  }
}

TEST_CASE("the top level holds what the design lists and nothing else") {
  const std::set<std::string> allowed{"CMakeLists.txt", "lib",      "tools",    "migrations",
                                      "tests",          "examples", "README.md"};
  for (const auto& name : names_in(kRoot)) {
    if (name.starts_with(".") || name.starts_with("build")) continue;
    CHECK_MESSAGE(allowed.count(name) == 1, name);
  }
}

TEST_CASE("every source file is part of the build") {
  const auto files = tree();
  std::string lists;
  for (const auto& file : files) {
    if (!file.path.ends_with("CMakeLists.txt")) continue;
    for (const auto& line : file.lines) lists += line + "\n";
  }
  for (const auto& file : files) {
    const std::string name = fs::path{file.path}.filename().string();
    if (!name.ends_with(".cc")) continue;
    CHECK_MESSAGE(lists.find(name) != std::string::npos, file.path);
  }
}

// A server has more to it (sessions that it shares, windows, roles), so it may have more files.
TEST_CASE("what SQLite has, every SQL dialect has under the same file name") {
  for (const char* place : {"lib/src/sql", "migrations"}) {
    const auto common = names_in(kRoot / place / "sqlite");
    for (const auto& entry : fs::directory_iterator{kRoot / place}) {
      if (!entry.is_directory()) continue;
      const auto names = names_in(entry.path());
      for (const auto& name : common)
        CHECK_MESSAGE(names.contains(name), (entry.path() / name).string());
    }
  }
}

TEST_CASE("the README quotes the code of examples/01_append.cc") {
  std::string snippet;
  bool inside = false;
  for (const auto& line : read(kRoot / "examples/01_append.cc").lines) {
    if (line == "  // [append]") {
      inside = !inside;
    } else if (inside) {
      snippet += line.substr(std::min<std::size_t>(2, line.size())) + "\n";
    }
  }
  std::string readme;
  for (const auto& line : read(kRoot / "README.md").lines) readme += line + "\n";
  CHECK(!snippet.empty());
  CHECK_MESSAGE(readme.find(snippet) != std::string::npos, snippet);
}

TEST_CASE("a file that breaks a rule is caught") {
  const std::vector<std::string> long_function = [] {
    std::vector<std::string> lines(kFunctionLinesMax + 2, "  work();");
    lines.front() = "void f() {";
    lines.back() = "}";
    return lines;
  }();
  const std::vector<File> bad{
      {"lib/src/base/a.cc", {"#include \"store/outbox.h\""}},
      {"lib/src/relay/a.cc", {"#include \"reconcile/run.h\""}},
      {"lib/src/sinks/a.cc", {"#include \"relay/core.h\""}},
      {"lib/src/sinks/file/a.cc", {"#include \"sinks/nats/message.h\""}},
      {"lib/src/sinks/common/a.cc", {"#include \"sinks/file/sink.h\""}},
      {"lib/src/sinks/file/a.cc", {"#include \"sinks/registry.h\""}},
      {"lib/src/sinks/file/a.cc", {"#ifdef OUTSEAL_SINK_HTTP"}},
      {"lib/src/relay/core.cc", {"#include \"sql/connection.h\""}},
      {"lib/src/observe/a.cc", {"#include \"sql/connection.h\""}},
      {"lib/src/operation/core.h", {"#include \"sql/operation.h\""}},
      {"lib/src/relay/a.cc", {"#include \"operation/store.h\""}},
      {"lib/src/store/a.cc", {"#include \"../base/url.h\""}},
      {"lib/include/outseal/a.h", {"#include <soci/soci.h>"}},
      {"lib/include/outseal/a.h", {"#include \"sql/connection.h\""}},
      {"lib/src/store/a.cc", {"  run(\"SELECT 1\");"}},
      {"lib/src/sinks/a.cc", {"  ::signal(SIGPIPE, SIG_IGN);"}},
      {"lib/src/store/a.cc", {"  row->bind_text(0, name);"}},
      {"lib/src/store/a.cc", {"  return row.integer(3);"}},
      {"tools/a.cc", {"  run(\"INSERT INTO outseal_outbox\");"}},
      {"lib/src/store/a.cc", {std::string(kLineColumnsMax + 1, 'x')}},
      {"lib/src/store/a.cc", std::vector<std::string>(kFileLinesMax + 1)},
      {"lib/src/store/a.cc",
       {"// TO"
        "DO: later"}},
      {"lib/src/store/a.cc", long_function},
      {"README.md", {"@@FIGURES@@"}},
  };
  for (const auto& file : bad) CHECK_MESSAGE(check(file).size() == 1, file.lines.front());
  const File good{"lib/src/store/a.cc", {"#include \"base/url.h\"  // SELECT nothing", "int x;"}};
  CHECK(check(good).empty());
}
