#include "base/owner.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace outseal {
namespace {

/// Start time of a process in clock ticks since boot, so that a reused pid is not taken for the
/// same process; "none" if it ended and was not waited for, empty if it cannot be seen. Source:
/// proc(5), /proc/[pid]/stat, field 22.
std::string start_ticks(long pid) {
  std::ifstream file{"/proc/" + std::to_string(pid) + "/stat"};
  std::string line;
  if (!std::getline(file, line)) return {};
  const auto name_end = line.rfind(')');  // The program's name may hold anything.
  if (name_end == std::string::npos) return {};
  std::istringstream fields{line.substr(name_end + 1)};
  std::string field;
  for (int number = 3; number <= 22 && fields >> field; ++number) {
    if (number == 3 && field == "Z") return "none";  // A zombie of the kernel's kind.
  }
  return field;
}

/// Machine and PID namespace: within it a pid means something.
std::string this_place() {
  char host[256] = "";
  if (::gethostname(host, sizeof host - 1) != 0) host[0] = '\0';
  struct stat info {};
  if (::stat("/proc/self/ns/pid", &info) != 0) info.st_ino = 0;
  return "host=" + std::string{host} + " pidns=" + std::to_string(info.st_ino);
}

}  // namespace

std::string this_owner() {
  // Read once, and again behind a fork().
  thread_local long read_by = 0;
  thread_local std::string owner;
  const long pid = ::getpid();
  if (read_by != pid) {
    owner = this_place() + " pid=" + std::to_string(pid) + " start=" + start_ticks(pid);
    read_by = pid;
  }
  return owner;
}

bool is_certainly_gone(std::string_view owner) {
  const std::string prefix = this_place() + " pid=";
  if (owner.substr(0, prefix.size()) != prefix) return false;
  const std::string rest{owner.substr(prefix.size())};
  const long pid = std::strtol(rest.c_str(), nullptr, 10);
  const auto start = rest.find(" start=");
  if (pid <= 0 || start == std::string::npos) return false;
  if (::kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH) return true;
  const std::string ticks = start_ticks(pid);  // Empty: hidden from this user, so it may run.
  return !ticks.empty() && ticks != rest.substr(start + 7);
}

}  // namespace outseal
