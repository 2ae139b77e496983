// Every named failpoint, at its first hits and its last one: the process dies there, starts again,
// and the history is right.
#include <doctest/doctest.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "support/paths.h"
#include "support/scale.h"
#include "torture/stage.h"

namespace outseal::test {
namespace {

constexpr std::uint64_t kSeed = 7;
constexpr std::size_t kFirstHits = 3;

/// The file sink refuses events before they have a position, so a settlement never happens here. It
/// is proven by tests/sim and by the store's conformance suite.
const std::set<std::string> kUnreachable{"relay.before_settle", "relay.after_settle"};

/// One program of the scenario, started with more environment; or an act of the test itself.
struct Step {
  std::string name;
  std::function<std::unique_ptr<Process>(const Stage&, const Environment&)> start;
  std::function<void(const Stage&)> act = {};
};

/// A relay died in the middle of a write and left a part of a line.
void tear_tail(const Stage& stage) {
  std::ofstream file{stage.sink_path(), std::ios::app};
  file << R"({"specversion":"1.0","sequence":)";
}

/// Everything is old enough for retention.
void age(const Stage& stage) {
  stage.execute(
      "UPDATE outseal_outbox SET created_at = 1; UPDATE outseal_journal SET acked_at = 1"
      " WHERE acked_at IS NOT NULL");
}

const std::vector<Step>& scenario() {
  static const std::vector<std::string> kRelay{"--drain", "--batch-events", "9"};
  static const std::vector<Step> kSteps{
      {"migrate", [](const Stage& stage, const Environment& e) { return stage.start_migrate(e); }},
      {"produce", [](const Stage& stage,
                     const Environment& e) { return stage.start_producer(kSeed, 1, 150, e); }},
      {"publish",
       [](const Stage& stage, const Environment& e) { return stage.start_relay(kRelay, e); }},
      {"produce more",
       [](const Stage& stage, const Environment& e) {
         return stage.start_producer(kSeed + 1, 1, 40, e);
       },
       tear_tail},
      {"redrive",
       [](const Stage& stage, const Environment& e) {
         return stage.start_parked({"redrive", "--all"}, e);
       }},
      {"publish and retain",
       [](const Stage& stage, const Environment& e) {
         std::vector<std::string> flags = kRelay;
         flags.insert(flags.end(), {"--retention-s", "1", "--journal-retention-s", "1",
                                    "--retention-step-rows", "40"});
         return stage.start_relay(flags, e);
       },
       age}};
  return kSteps;
}

/// A place to die: the `hit`-th time that `step` comes to `failpoint`.
struct Point {
  std::size_t step;
  std::string failpoint;
  std::size_t hit;
};

/// Runs the scenario; where it dies as `point` says, the step is run once more.
void run_scenario(const Stage& stage, const Point* point) {
  for (std::size_t at = 0; at < scenario().size(); ++at) {
    const Step& step = scenario()[at];
    if (step.act) step.act(stage);
    if (point != nullptr && point->step == at) {
      const Exit end = run(step.start(
          stage, {{"OUTSEAL_FAILPOINT", point->failpoint + ":" + std::to_string(point->hit)}}));
      // How often retention gets its turn depends on the clock.
      const bool may_live = point->hit > 1 && point->failpoint.starts_with("retention.");
      REQUIRE_MESSAGE((end.signal == SIGKILL || (may_live && end == Exit{})),
                      "it did not die there, code " << end.code << " signal " << end.signal);
    }
    const Environment traced{
        {"OUTSEAL_FAILPOINT_TRACE", stage.file("trace." + std::to_string(at))}};
    const Exit end = run(step.start(stage, point == nullptr ? traced : Environment{}));
    REQUIRE_MESSAGE(end == Exit{}, step.name << ": code " << end.code << " signal " << end.signal
                                             << '\n'
                                             << stage.log_tail());
  }
  const auto violations = stage.violations(Extent::drained);
  CHECK_MESSAGE(violations.empty(), joined(violations) << stage.log_tail());
}

/// How often each step comes to each failpoint.
std::vector<std::map<std::string, std::size_t>> count_hits() {
  const Stage stage{Stage::Storage::memory};
  run_scenario(stage, nullptr);
  REQUIRE(stage.number("SELECT count(*) FROM outseal_parked WHERE attempts > 1") > 0);
  std::vector<std::map<std::string, std::size_t>> hits(scenario().size());
  for (std::size_t at = 0; at < hits.size(); ++at) {
    std::ifstream trace{stage.file("trace." + std::to_string(at))};
    for (std::string name; std::getline(trace, name);) ++hits[at][name];
  }
  return hits;
}

std::set<std::string> names_in_sources() {
  std::set<std::string> names;
  const std::regex call{R"re([^_a-z]failpoint\("([^"]+)"\))re"};
  const std::filesystem::path root = std::filesystem::path{source_folder()} / "lib" / "src";
  for (const auto& entry : std::filesystem::recursive_directory_iterator{root}) {
    if (entry.path().extension() != ".cc") continue;
    std::ifstream file{entry.path()};
    const std::string text{std::istreambuf_iterator<char>{file}, {}};
    for (std::sregex_iterator it{text.begin(), text.end(), call}; it != std::sregex_iterator{};
         ++it)
      names.insert((*it)[1]);
  }
  return names;
}

/// The scenario's sink is a file: other sinks are killed by the pair tests and sink_kill_cases.cc.
/// Receivers are by poison_test.cc, operations with effects by effect_kill_cases.cc.
bool dies_elsewhere(const std::string& name) {
  return name.starts_with("inbox.") || name.starts_with("http.") || name.starts_with("consume.") ||
         name.starts_with("effect.");
}

TEST_CASE("a process may die at any failpoint") {
  const auto hits = count_hits();
  std::set<std::string> seen;
  std::vector<Point> points;
  for (std::size_t step = 0; step < hits.size(); ++step) {
    for (const auto& [name, count] : hits[step]) {
      seen.insert(name);
      std::set<std::size_t> chosen{count};
      for (std::size_t hit = 1; hit <= std::min(count, kFirstHits); ++hit) chosen.insert(hit);
      for (const std::size_t hit : chosen) points.push_back({step, name, hit});
    }
  }
  for (const std::string& name : names_in_sources()) {
    if (kUnreachable.contains(name) || dies_elsewhere(name)) continue;
    CHECK_MESSAGE(seen.contains(name), "the scenario never comes to failpoint " << name);
  }

  // Scaled down for slow builds: every n-th point.
  const std::size_t stride = std::max<std::size_t>(1, 100 / scaled(100));
  std::size_t died = 0;
  for (std::size_t at = 0; at < points.size(); at += stride, ++died) {
    const Point& point = points[at];
    CAPTURE(scenario()[point.step].name);
    CAPTURE(point.failpoint);
    CAPTURE(point.hit);
    const Stage stage{Stage::Storage::memory};
    run_scenario(stage, &point);
  }
  std::cout << seen.size() << " failpoints, " << died << " crashes" << std::endl;
}

}  // namespace
}  // namespace outseal::test
