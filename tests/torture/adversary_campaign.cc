#include "torture/adversary_campaign.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <random>
#include <vector>

#include "support/mutant.h"
#include "support/scale.h"
#include "torture/adversary_model.h"
#include "torture/adversary_service.h"

namespace outseal::test::adversary {
namespace {

constexpr unsigned kHangSeconds = 60;  // Far beyond any wait of a program.

struct Child {
  Facts facts;
  std::string trace;
  int status = 0;

  bool was_killed() const { return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL; }
  bool ended_well() const { return WIFEXITED(status) && WEXITSTATUS(status) == 0; }
};

[[noreturn]] void be_child(int out, const std::function<void(const Service::Tell&)>& work) {
  for (const int signal : {SIGABRT, SIGSEGV, SIGFPE, SIGILL, SIGINT, SIGTERM})
    ::signal(signal, SIG_DFL);  // Not those of the test framework.
  ::alarm(kHangSeconds);
  ::dup2(out, STDERR_FILENO);
  try {
    work([out](const std::string& line) {
      const std::string whole = line + '\n';
      if (::write(out, whole.data(), whole.size()) < 0) ::_exit(2);
    });
  } catch (const std::exception& error) {
    std::cerr << "bad ended by " << error.what() << '\n';
    ::_exit(1);
  }
  ::_exit(0);
}

/// Forks, and reads what the child tells until it has ended. `kill_at`: kills it when it begins
/// that move; 0: never.
Child in_child(int kill_at, const std::function<void(const Service::Tell&)>& work) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t pid = ::fork();
  REQUIRE(pid >= 0);
  if (pid == 0) {
    ::close(ends[0]);
    be_child(ends[1], work);
  }
  ::close(ends[1]);
  Child child;
  std::string rest;
  char bytes[4096];
  for (ssize_t got = 0; (got = ::read(ends[0], bytes, sizeof bytes)) > 0;) {
    rest.append(bytes, static_cast<std::size_t>(got));
    std::size_t end = 0;
    while ((end = rest.find('\n')) != std::string::npos) {
      const std::string line = rest.substr(0, end);
      rest.erase(0, end + 1);
      child.trace += "  " + line + '\n';
      child.facts.take(line);
      if (kill_at > 0 && child.facts.moves == kill_at) ::kill(pid, SIGKILL);
    }
  }
  ::close(ends[0]);
  REQUIRE(::waitpid(pid, &child.status, 0) == pid);
  return child;
}

class Campaign {
 public:
  Campaign(const Site& site, Coverage& coverage) : site_{site}, coverage_{coverage} {}

  /// False, with everything printed, if something is wrong.
  bool run(std::uint64_t seed) {
    const Program program = make_program(seed, site_.postgres());
    with_reader([&](soci::session& reader) { clear(site_, reader); });
    const int outside = program.kill == Kill::from_outside ? static_cast<int>(program.kill_at) : 0;
    const Child child = in_child(outside, [&](const Service::Tell& tell) {
      if (program.kill == Kill::at_failpoint)
        ::setenv("OUTSEAL_FAILPOINT",
                 (program.failpoint + ":" + std::to_string(program.kill_at)).c_str(), 1);
      Service{site_, program, tell}.run();
    });
    const bool killed = program.kill != Kill::never && child.was_killed();
    Committed now;
    with_reader([&](soci::session& reader) {
      site_.settle(reader);
      now = read_committed(site_, reader);
    });
    std::vector<std::string> found = complaints(site_, child.facts, now, killed);
    if (!killed && !child.ended_well())
      found.push_back("ended with status " + std::to_string(child.status));
    count(child, now, killed);
    std::string trace = child.trace;
    if (found.empty()) found = execute_again(program, child.facts, now, trace);
    if (found.empty()) return true;
    std::cout << "program " << seed << " (OUTSEAL_SEED=" << seed << " repeats it), kill "
              << static_cast<int>(program.kill) << " at " << program.failpoint << ' '
              << program.kill_at << ":\n"
              << trace;
    for (const std::string& complaint : found) std::cout << "WRONG: " << complaint << '\n';
    std::cout << std::flush;
    return false;
  }

 private:
  /// SQLite's connections must not pass through a fork.
  void with_reader(const std::function<void(soci::session&)>& work) {
    if (reader_ == nullptr) {
      reader_ = site_.open();
      site_.prepare(*reader_);
    }
    work(*reader_);
    if (!site_.postgres()) reader_.reset();
  }

  /// The client asks again for each key: once in all must it take effect.
  std::vector<std::string> execute_again(const Program& program, const Facts& before,
                                         const Committed& then, std::string& trace) {
    std::vector<std::string> keys;
    for (const auto& [key, facts] : before.keys) keys.push_back(key);
    if (keys.empty()) return {};
    const Child child = in_child(0, [&](const Service::Tell& tell) {
      Service{site_, program, tell}.run_keys_again(keys);
    });
    trace += child.trace;
    Committed now;
    with_reader([&](soci::session& reader) {
      site_.settle(reader);
      now = read_committed(site_, reader);
    });
    std::vector<std::string> found;
    for (const std::string& key : keys) {
      const auto again = child.facts.keys.find(key);
      const bool ran = again != child.facts.keys.end() && !again->second.runs.empty();
      const bool known = then.records.contains(key);
      if (ran == known) found.push_back("key " + key + (ran ? " ran again" : " did not run"));
      if (!now.records.contains(key) ||
          now.records.at(key) != (known ? then.records.at(key) : "success"))
        found.push_back("key " + key + " is not recorded as it must be");
    }
    if (!child.ended_well()) found.push_back("the retry ended badly");
    return found;
  }

  void count(const Child& child, const Committed& now, bool killed) {
    ++coverage_.programs;
    if (killed) ++coverage_.killed;
    for (const auto& [label, tx] : child.facts.transactions)
      if (tx.committed) ++coverage_.committed;
    for (const std::string& outcome : child.facts.outcomes) ++coverage_.outcomes[outcome];
    std::set<std::string> stored;
    for (const Committed::Event& event : now.events) stored.insert(event.id);
    for (const EventFact& event : child.facts.events)
      if (now.rows.contains(event.n) && !stored.contains(event.id)) ++coverage_.lost;
  }

  const Site& site_;
  Coverage& coverage_;
  std::unique_ptr<soci::session> reader_;
};

bool is_full_run() { return std::getenv("OUTSEAL_SEED") == nullptr && scaled(100) == 100; }

}  // namespace

std::uint64_t Coverage::of(const std::string& outcome) const {
  const auto at = outcomes.find(outcome);
  return at == outcomes.end() ? 0 : at->second;
}

void run_campaign(const Site& site, std::uint64_t count, Coverage& coverage) {
  Campaign campaign{site, coverage};
  if (const char* chosen = std::getenv("OUTSEAL_SEED")) {
    CHECK(campaign.run(std::strtoull(chosen, nullptr, 10)));
    return;
  }
  const std::uint64_t first = std::random_device{}();
  for (std::uint64_t i = 0; i < count; ++i) {
    if (campaign.run(first + i)) continue;
    FAIL_CHECK("program " << i + 1 << " is wrong");
    break;
  }
}

void check_coverage(const Coverage& coverage, const std::vector<std::string>& outcomes) {
  std::cout << coverage.programs << " programs, " << coverage.killed << " killed, "
            << coverage.committed << " commits, " << coverage.lost << " events lost as stated\n";
  for (const auto& [outcome, times] : coverage.outcomes)
    std::cout << "  " << outcome << ": " << times << '\n';
  if (!is_full_run()) return;
  CHECK(coverage.killed > 0);
  for (const std::string& outcome : outcomes) {
    CAPTURE(outcome);
    CHECK(coverage.of(outcome) > 0);
  }
}

void check_mutants(const std::vector<std::string>& mutants, const std::string& name) {
  if (!is_full_run()) return;
  for (const std::string& mutant : mutants) {
    CAPTURE(mutant);
    CHECK_FALSE(passes_with_mutant(mutant, name));
  }
}

}  // namespace outseal::test::adversary
