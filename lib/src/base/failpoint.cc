#include "base/failpoint.h"

#ifdef OUTSEAL_FAULTS

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <string>
#include <string_view>

namespace outseal {
namespace {

struct Plan {
  std::string name;
  long hit = 1;
};

Plan plan_from_environment() {
  const char* text = std::getenv("OUTSEAL_FAILPOINT");
  if (text == nullptr) return {};
  const std::string spec{text};
  const auto colon = spec.find(':');
  if (colon == std::string::npos) return {spec, 1};
  return {spec.substr(0, colon), std::strtol(spec.c_str() + colon + 1, nullptr, 10)};
}

void trace(const char* name) {
  static const int file = [] {
    const char* path = std::getenv("OUTSEAL_FAILPOINT_TRACE");
    if (path == nullptr) return -1;
    return ::open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  }();
  if (file < 0) return;
  const std::string line = std::string{name} + '\n';
  if (::write(file, line.data(), line.size()) < 0) std::abort();
}

}  // namespace

void failpoint(const char* name) {
  static const Plan plan = plan_from_environment();
  static std::atomic<long> hits{0};
  trace(name);
  if (plan.name != name) return;
  if (++hits != plan.hit) return;
  // To this thread: a signal to the process may reach another one first, and this one would go on
  // for a moment, for example into a transaction.
  const int signal = std::getenv("OUTSEAL_FAILPOINT_SIGNAL") == nullptr ? SIGKILL : SIGSTOP;
  if (::raise(signal) != 0) std::abort();
}

bool mutant(const char* name) {
  static const char* const chosen = std::getenv("OUTSEAL_MUTANT");
  return chosen != nullptr && std::string_view{chosen} == name;
}

}  // namespace outseal

#endif
