#include "support/program.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <fstream>
#include <future>
#include <mutex>
#include <optional>
#include <random>
#include <stdexcept>
#include <string_view>
#include <thread>

#include "support/temp_folder.h"

namespace outseal::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr auto kPatience = 60s;

struct Account {
  uid_t user = 0;
  gid_t group = 0;
  std::vector<gid_t> groups;
};

/// Whom unprivileged programs run under; none if we are not root and need not change anything.
std::optional<Account> server_account() {
  if (::geteuid() != 0) return std::nullopt;
  for (const char* const name : {"postgres", "nobody"}) {
    const passwd* const entry = ::getpwnam(name);
    if (entry == nullptr) continue;
    Account account{entry->pw_uid, entry->pw_gid, std::vector<gid_t>(64)};
    int count = static_cast<int>(account.groups.size());
    ::getgrouplist(name, account.group, account.groups.data(), &count);
    account.groups.resize(std::min(account.groups.size(), static_cast<std::size_t>(count)));
    return account;
  }
  throw std::runtime_error{"there is neither a user postgres nor a user nobody"};
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> environment_of(const Launch& launch) {
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable)
    if (!std::string_view{*variable}.starts_with("PG")) variables.emplace_back(*variable);
  variables.emplace_back("LC_ALL=C");  // serve() reads logs.
  for (const auto& [name, value] : launch.environment) {
    std::string setting = name;
    setting += '=';
    setting += value;
    variables.push_back(std::move(setting));
  }
  return variables;
}

/// Runs in the child: nothing but system calls, other threads may have held any lock.
[[noreturn]] void become(const Launch& launch, const Account* account, pid_t parent, int log,
                         char* const* argv, char* const* envp) {
  ::setsid();  // Out of reach of the terminal's Ctrl-C, which is for the test.
  if (account != nullptr && (::setgroups(account->groups.size(), account->groups.data()) != 0 ||
                             ::setgid(account->group) != 0 || ::setuid(account->user) != 0))
    ::_exit(125);
  ::prctl(PR_SET_PDEATHSIG, SIGQUIT);  // After setuid(), which clears it.
  if (::getppid() != parent) ::_exit(125);
  if (::dup2(log, 1) < 0 || ::dup2(log, 2) < 0 || ::close_range(3, ~0U, 0) != 0 ||
      ::chdir(launch.folder.c_str()) != 0)
    ::_exit(126);
  ::signal(SIGTERM, SIG_DFL);  // Until the exec, it is the test framework's.
  ::signal(SIGPIPE, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execve(argv[0], argv, envp);
  ::_exit(127);
}

pid_t fork_and_exec(const Launch& launch) {
  // All memory is allocated before the fork.
  std::vector<std::string> words = launch.arguments;
  std::vector<std::string> variables = environment_of(launch);
  const std::vector<char*> argv = pointers(words);
  const std::vector<char*> envp = pointers(variables);
  const std::optional<Account> account =
      launch.unprivileged ? server_account() : std::optional<Account>{};
  const int log = ::open(launch.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (log < 0) throw std::runtime_error{"cannot write " + launch.log};
  const pid_t parent = ::getpid();
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = ::fork();
  if (pid == 0)
    become(launch, account ? &*account : nullptr, parent, log, argv.data(), envp.data());
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::close(log);
  if (pid < 0) throw std::runtime_error{"fork failed"};
  return pid;
}

/// Calls `job` on a thread that lives as long as this process. The kernel takes the end of the
/// thread that forked for the parent's death; a server must outlive the thread that restarted it.
pid_t on_lasting_thread(const std::function<pid_t()>& job) {
  struct Desk {
    std::mutex mutex;
    std::condition_variable wake;
    std::deque<std::packaged_task<pid_t()>> jobs;
  };
  static Desk* const desk = [] {
    auto* const made = new Desk;  // Never deleted: the thread waits on it until the process ends.
    std::thread{[made] {
      for (;;) {
        std::unique_lock lock{made->mutex};
        made->wake.wait(lock, [&] { return !made->jobs.empty(); });
        auto next = std::move(made->jobs.front());
        made->jobs.pop_front();
        lock.unlock();
        next();
      }
    }}.detach();
    return made;
  }();
  std::packaged_task<pid_t()> task{job};
  auto pid = task.get_future();
  {
    const std::scoped_lock lock{desk->mutex};
    desk->jobs.push_back(std::move(task));
  }
  desk->wake.notify_one();
  return pid.get();
}

bool open_to_others(const fs::path& folder) {
  for (fs::path at = folder; at != at.root_path(); at = at.parent_path())
    if ((fs::status(at).permissions() & fs::perms::others_exec) == fs::perms::none) return false;
  return true;
}

}  // namespace

Program::Program(const Launch& launch)
    : pid_{on_lasting_thread([&] { return fork_and_exec(launch); })} {}

Program::~Program() {
  if (!is_running()) return;
  send(SIGKILL);
  wait();
}

void Program::reap(int options) {
  if (!running_) return;
  int status = 0;
  pid_t got = 0;
  do {
    got = ::waitpid(pid_, &status, options);
  } while (got < 0 && errno == EINTR);
  if (got == 0 || (got > 0 && WIFSTOPPED(status))) return;
  running_ = false;
  exit_code_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

bool Program::is_running() {
  reap(WNOHANG);
  return running_;
}

void Program::send(int signal) {
  if (running_) ::kill(pid_, signal);
}

bool Program::wait_for_end() {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (is_running() && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(2ms);
  return !running_;
}

int Program::wait() {
  reap(0);
  return exit_code_;
}

void Program::freeze() {
  send(SIGSTOP);
  reap(WUNTRACED);
}

void run(const Launch& launch) {
  const int exit_code = Program{launch}.wait();
  if (exit_code != 0)
    throw std::runtime_error{launch.arguments.front() + " failed with " +
                             std::to_string(exit_code) + ":\n" + end_of_log(launch.log)};
}

void wait_until(const std::string& what, const std::function<bool()>& done) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!done()) {
    if (std::chrono::steady_clock::now() > end)
      throw std::runtime_error{"waited too long for: " + what};
    std::this_thread::sleep_for(5ms);
  }
}

/// A port below those that the system gives to outgoing connections. A port from among them could
/// be taken while a server is restarted, and a client that retries could even connect to itself.
int free_port() {
  std::random_device random;
  std::uniform_int_distribution<int> ports{15000, 32000};
  for (;;) {
    const int port = ports(random);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int probe = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (probe < 0) throw std::runtime_error{"no socket"};
    const bool free = ::bind(probe, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    ::close(probe);
    if (free) return port;
  }
}

Served serve(int port, const std::function<Launch(int port)>& launch_on,
             const std::function<bool(int port)>& is_ready) {
  constexpr int kAttempts = 10;
  for (int attempt = 1;; ++attempt) {
    const int chosen = port != 0 ? port : free_port();
    const Launch launch = launch_on(chosen);
    auto program = std::make_unique<Program>(launch);
    bool ready = false;
    try {
      wait_until(launch.arguments.front() + " to be ready", [&] {
        ready = is_ready(chosen);
        return ready || !program->is_running();
      });
    } catch (const std::runtime_error& late) {
      throw std::runtime_error{std::string{late.what()} + "\n" + end_of_log(launch.log)};
    }
    // If it has ended, it was another server that answered.
    if (ready && program->is_running()) return {std::move(program), chosen};
    const std::string log = end_of_log(launch.log);
    const bool taken = log.find("ddress already in use") != std::string::npos;
    if (port != 0 || !taken || attempt == kAttempts)
      throw std::runtime_error{launch.arguments.front() + " did not start:\n" + log};
  }
}

std::string end_of_log(const std::string& path) {
  constexpr std::size_t kLines = 20;
  std::deque<std::string> lines;
  std::ifstream file{path};
  for (std::string line; std::getline(file, line);) {
    lines.push_back(std::move(line));
    if (lines.size() > kLines) lines.pop_front();
  }
  std::string text;
  for (const std::string& line : lines) text += "  " + line + "\n";
  return text;
}

std::unique_ptr<TempFolder> make_server_folder() {
  const fs::path usual = fs::temp_directory_path();
  const bool open = ::geteuid() != 0 || open_to_others(usual);
  auto folder = std::make_unique<TempFolder>(open ? usual : fs::path{"/tmp"});
  give_to_server(folder->path().string());
  return folder;
}

void give_to_server(const std::string& path) {
  const auto account = server_account();
  if (account && ::chown(path.c_str(), account->user, account->group) != 0)
    throw std::runtime_error{"cannot chown " + path};
}

}  // namespace outseal::test
