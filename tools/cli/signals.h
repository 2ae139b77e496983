// SIGTERM and SIGINT: the first asks to stop, another one ends the process at once, unless it comes
// within a second of the first. SIGHUP is ignored.
#pragma once

#include <stop_token>
#include <thread>

namespace outseal::tools {

/// Waits for signals in a thread of its own, so that no work is done in a signal handler. Blocks
/// the signals in the calling thread: make it before any other thread is started.
///
/// Threads: Thread-safe.
class SignalWatch {
 public:
  SignalWatch();
  ~SignalWatch();
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

  /// Asked to stop by the first signal.
  std::stop_token token() const { return stop_.get_token(); }

 private:
  void watch();

  std::stop_source stop_;
  int signals_;  ///< signalfd(2)
  int end_;      ///< eventfd(2), written by the destructor
  std::thread thread_;
};

}  // namespace outseal::tools
