// The thread that talks to the sink: one command at a time, each answered by one input.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <variant>

#include "model/sink.h"
#include "relay/core.h"

namespace outseal::relay {

/// Inputs for the core, from whatever thread. Thread-safe.
class Mailbox {
 public:
  void put(Input input);
  /// The oldest input, or TimerFired once `deadline` has come.
  Input take(std::chrono::steady_clock::time_point deadline);

 private:
  std::mutex mutex_;
  std::condition_variable filled_;
  std::deque<Input> inputs_;  // Guarded by mutex_.
};

/// Runs sink commands in order on a thread of its own.
///
/// Threads: Not thread-safe; one thread at a time. The session's calls run on the worker's
/// thread.
class SinkWorker {
 public:
  using Command = std::variant<OpenSink, Deliver, CloseSink>;

  SinkWorker(std::shared_ptr<SinkSession> sink, std::shared_ptr<Mailbox> mailbox);
  /// Waits for the command under way, unless abandon() was called.
  ~SinkWorker();
  SinkWorker(const SinkWorker&) = delete;
  SinkWorker& operator=(const SinkWorker&) = delete;

  void post(Command command);
  /// Lets a stuck command run on by itself; the process is about to end.
  void abandon();

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;
  std::thread thread_;
};

}  // namespace outseal::relay
