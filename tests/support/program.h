// Starts the programs that tests need beside outseal's own: database servers and their tools.
#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace outseal::test {

class TempFolder;

/// How to start a program.
struct Launch {
  std::vector<std::string> arguments;  ///< The first one is the program's path.
  /// Added to our environment, which is passed on without its PG... variables.
  std::map<std::string, std::string> environment = {};
  std::string folder;  ///< Its working folder; must be open to the account that it runs under.
  std::string log;     ///< stdout and stderr are appended to this file.
  /// Switch to an unprivileged account if we are root: servers refuse to run as root.
  bool unprivileged = false;
};

/// A running program. It is killed by the destructor, and gets SIGQUIT if we die before.
///
/// Not for use in a process that was forked without an exec: the thread that launches is not there.
/// Threads: Not thread-safe; one thread at a time.
class Program {
 public:
  explicit Program(const Launch& launch);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  pid_t pid() const { return pid_; }
  bool is_running();
  void send(int signal);
  /// Waits until it ends, for at most a minute; false if it still runs.
  bool wait_for_end();
  /// Waits until it ends.
  /// @returns its exit code, or 128 + the signal that killed it.
  int wait();
  /// SIGSTOP, and waits for it to have happened.
  void freeze();

 private:
  void reap(int options);

  pid_t pid_ = -1;
  bool running_ = true;
  int exit_code_ = 0;
};

/// Runs a program to its end.
/// @throws std::runtime_error with the end of its log if its exit code is not 0.
void run(const Launch& launch);

/// A port of 127.0.0.1 that nobody listens on now.
int free_port();

/// A server and the port of 127.0.0.1 that it listens on.
struct Served {
  std::unique_ptr<Program> program;
  int port = 0;
};

/// Starts a server and waits until it is ready.
/// @param port the port to use; 0: a free one.
/// @throws std::runtime_error with the end of its log if it ends, or is not ready in a minute.
Served serve(int port, const std::function<Launch(int port)>& launch_on,
             const std::function<bool(int port)>& is_ready);

/// Asks every few milliseconds until the answer is true.
/// @throws std::runtime_error that names `what` after a minute.
void wait_until(const std::string& what, const std::function<bool()>& done);

/// The last lines of a log, for messages.
std::string end_of_log(const std::string& path);

/// A folder that unprivileged programs may write to: under the temporary folder or, if that is
/// closed to their account, under /tmp.
std::unique_ptr<TempFolder> make_server_folder();

/// Hands a file or folder of ours to the account that unprivileged programs run under.
void give_to_server(const std::string& path);

}  // namespace outseal::test
