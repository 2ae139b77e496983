// Child processes that are killed, stopped and continued by their id.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace outseal::test {

/// How a process ended.
struct Exit {
  int code = 0;    ///< If `signal` is 0.
  int signal = 0;  ///< The signal that killed it.
  friend bool operator==(const Exit&, const Exit&) = default;
};

/// One child process. The destructor kills it.
///
/// Threads: Not thread-safe; one thread at a time.
class Process {
 public:
  /// Runs `arguments[0]` with stdout and stderr appended to the file `log`; `environment` is added
  /// to ours.
  Process(const std::vector<std::string>& arguments,
          const std::map<std::string, std::string>& environment, const std::string& log);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  void send(int signal);
  /// How it ended, if it has.
  std::optional<Exit> poll();
  /// Waits until it ends.
  Exit wait();
  /// Waits until it ends or is stopped; true if it is stopped.
  bool wait_until_stopped();
  /// Waits until it ends, for at most `patience`.
  std::optional<Exit> wait_for(std::chrono::milliseconds patience);

 private:
  std::optional<Exit> reap(int options, bool* stopped);

  pid_t pid_ = -1;
  std::optional<Exit> exit_;
};

}  // namespace outseal::test
