// Every refusal (exit 5) names a command that leads on: its hint has one that exists. Where a
// refusal is made is found in the sources, so a new one cannot be forgotten.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "support/paths.h"

namespace outseal::test {
namespace {

namespace fs = std::filesystem;

std::string text_of(const fs::path& path) {
  std::ifstream file{path};
  return {std::istreambuf_iterator<char>{file}, {}};
}

std::string output_of(const std::string& command) {
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe{::popen(command.c_str(), "r"), ::pclose};
  REQUIRE(pipe != nullptr);
  std::string text;
  for (int c = 0; (c = std::fgetc(pipe.get())) != EOF;) text += static_cast<char>(c);
  return text;
}

/// "outseal-relay run", "outseal-migrate up", ...: program and first word of each command.
std::set<std::string> commands() {
  std::set<std::string> all;
  for (const std::string program : {"outseal-migrate", "outseal-relay", "outseal-reconcile"}) {
    const std::string help = output_of(program_path(program) + " --help");
    const std::regex usage{"\n  (" + program + " [a-z]+)"};
    for (std::sregex_iterator at{help.begin(), help.end(), usage}, end; at != end; ++at)
      all.insert((*at)[1]);
  }
  return all;
}

/// The pieces of a literal that stands in several lines become one.
std::string joined(const std::string& text) {
  static const std::regex kSeam{"\"\\s*\n\\s*\""};
  return std::regex_replace(text, kSeam, "");
}

/// A place that makes a refusal, up to the end of its statement.
struct Place {
  std::string where;
  std::string statement;
};

/// The helpers of a file that make a refusal out of a message and a hint.
std::set<std::string> helpers_in(const std::string& text) {
  static const std::regex kHelper{R"((\w+)\([^;{}]*\) \{\s*(if [^;]*;\s*)?)"
                                  R"((throw Error\{\s*|halt_due_ = Halt\{)ErrorCode::refused)"};
  std::set<std::string> helpers;
  for (std::sregex_iterator at{text.begin(), text.end(), kHelper}, end; at != end; ++at)
    helpers.insert((*at)[1]);
  return helpers;
}

std::vector<Place> places_in(const fs::path& path) {
  // How a refusal begins: the code or status itself, or a helper of the file that takes the hint.
  static const std::regex kBegin{
      R"(ErrorCode::refused|ErrorCode::lease_lost|(Status|Opened|Delivery)::refused)"
      R"(|\b(refuse|halt_if_leading|refuse_change)\()"};
  // Comparisons and tables, and the helpers themselves.
  static const std::regex kOther{R"((==|!=|case|\?|case [A-Za-z:]*)\s*$)"
                                 R"(|\b(void|OpenResult|DeliveryResult)\s+([A-Za-z]+::)?$)"};
  const std::string text = text_of(path);
  const std::set<std::string> helpers = helpers_in(text);
  std::vector<Place> places;
  for (std::sregex_iterator at{text.begin(), text.end(), kBegin}, end; at != end; ++at) {
    const auto begin = static_cast<std::size_t>(at->position());
    const std::size_t line = text.rfind('\n', begin) + 1;
    const std::string before = text.substr(line, begin - line);
    if ((*at)[2].matched && !helpers.contains((*at)[2])) continue;
    if (std::regex_search(before, kOther) || before.find("//") != std::string::npos) continue;
    std::size_t stop = text.find(";\n", begin);
    if (before.find("CodeRule") != std::string::npos) stop = text.find("},", begin);
    const auto number = std::count(text.begin(), text.begin() + at->position(), '\n') + 1;
    places.push_back(
        {path.string() + ":" + std::to_string(number), joined(text.substr(begin, stop - begin))});
  }
  return places;
}

/// The statement itself, or the constant that it names as its hint, with the constant's value.
std::string with_constants(const std::string& statement, const std::string& file) {
  std::string all = statement;
  static const std::regex kName{R"(\b(kHint\w*|way_out)\b)"};
  for (std::sregex_iterator at{statement.begin(), statement.end(), kName}, end; at != end; ++at) {
    const std::size_t defined = file.find((*at)[1].str() + " =");
    if (defined != std::string::npos)
      all += joined(file.substr(defined, file.find(";\n", defined) - defined));
  }
  return all;
}

/// True if the hint comes from elsewhere, where it is looked at.
bool passes_on(const std::string& statement) {
  static const std::regex kPassed{R"([.](hint = (std::string\{)?hint\b|hint = \w+[.]hint\b)"
                                  R"(|hint\(\))|\w+[.]hint\)|std::string\{kHintForeign\})"
                                  R"(|std::move\(hint\))"};
  return std::regex_search(statement, kPassed);
}

TEST_CASE("every refusal names a command that leads on, and the command exists") {
  const std::set<std::string> known = commands();
  REQUIRE(known.contains("outseal-relay rebase"));
  static const std::regex kCommand{"outseal-[a-z]+ [a-z]+"};
  int refusals = 0;
  for (const std::string top : {"/lib/src", "/tools"})
    for (const auto& entry : fs::recursive_directory_iterator{source_folder() + top}) {
      if (entry.path().extension() != ".cc" || entry.path().filename() == "error.cc") continue;
      // There the one who is refused is a service, and goes on by a call.
      if (entry.path().string().find("/operation/") != std::string::npos) continue;
      const std::string file = text_of(entry.path());
      for (const Place& place : places_in(entry.path())) {
        const std::string all = with_constants(place.statement, file);
        std::smatch command;
        ++refusals;
        if (std::regex_search(all, command, kCommand))
          CHECK_MESSAGE(known.contains(command.str()), place.where, ": ", command.str());
        else
          CHECK_MESSAGE(passes_on(all), place.where, ": ", place.statement);
      }
    }
  CHECK(refusals > 30);
}

}  // namespace
}  // namespace outseal::test
