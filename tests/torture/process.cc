#include "torture/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>
#include <thread>

namespace outseal::test {
namespace {

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

Process::Process(const std::vector<std::string>& arguments,
                 const std::map<std::string, std::string>& environment, const std::string& log) {
  std::vector<std::string> words = arguments;
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable)
    variables.emplace_back(*variable);
  for (const auto& [name, value] : environment) {
    std::string setting = name;
    setting += '=';
    setting += value;
    variables.push_back(std::move(setting));
  }
  // All memory is allocated before the fork.
  const std::vector<char*> argv = pointers(words);
  const std::vector<char*> envp = pointers(variables);
  // A SIGTERM that comes before the exec must not run the test framework's handler in the child.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, &before);
  pid_ = ::fork();
  if (pid_ != 0) {
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
    if (pid_ < 0) throw std::runtime_error{"fork failed"};
    return;
  }
  ::signal(SIGTERM, SIG_DFL);
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  if (out < 0 || ::dup2(out, 1) < 0 || ::dup2(out, 2) < 0) ::_exit(126);
  ::execve(argv[0], argv.data(), envp.data());
  ::_exit(127);
}

Process::~Process() {
  if (exit_) return;
  ::kill(pid_, SIGKILL);
  wait();
}

void Process::send(int signal) {
  if (!exit_) ::kill(pid_, signal);
}

std::optional<Exit> Process::reap(int options, bool* stopped) {
  if (exit_) return exit_;
  int status = 0;
  pid_t got = 0;
  do {
    got = ::waitpid(pid_, &status, options);
  } while (got < 0 && errno == EINTR);
  if (got < 0) throw std::runtime_error{"waitpid failed"};
  if (got == 0) return std::nullopt;
  if (WIFSTOPPED(status)) {
    if (stopped != nullptr) *stopped = true;
    return std::nullopt;
  }
  exit_ = WIFSIGNALED(status) ? Exit{0, WTERMSIG(status)} : Exit{WEXITSTATUS(status), 0};
  return exit_;
}

std::optional<Exit> Process::poll() { return reap(WNOHANG, nullptr); }

Exit Process::wait() { return *reap(0, nullptr); }

bool Process::wait_until_stopped() {
  bool stopped = false;
  reap(WUNTRACED, &stopped);
  return stopped;
}

std::optional<Exit> Process::wait_for(std::chrono::milliseconds patience) {
  const auto end = std::chrono::steady_clock::now() + patience;
  while (!poll() && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds{2});
  }
  return exit_;
}

}  // namespace outseal::test
