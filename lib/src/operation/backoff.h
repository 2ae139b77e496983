// Pauses between attempts: twice as long each time, and each a random part of that.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <random>
#include <stop_token>

namespace outseal::operation {

/// Source: AWS Architecture Blog, "Exponential Backoff And Jitter".
///
/// Threads: Not thread-safe; one thread at a time.
class Backoff {
 public:
  using Milliseconds = std::chrono::milliseconds;

  Backoff(Milliseconds first, Milliseconds longest) : next_{first}, longest_{longest} {}

  /// The next pause: between half of it and all.
  Milliseconds next() {
    const Milliseconds whole = std::min(next_, longest_);
    next_ = std::min(whole * 2, longest_);
    static thread_local std::minstd_rand random{std::random_device{}()};
    return Milliseconds{std::uniform_int_distribution<Milliseconds::rep>{
        whole.count() - whole.count() / 2, whole.count()}(random)};
  }

 private:
  Milliseconds next_;
  Milliseconds longest_;
};

/// @returns false, at once, if a stop is requested.
inline bool pause(std::chrono::milliseconds time, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any woken;
  std::unique_lock lock{mutex};
  return !woken.wait_for(lock, stop, time, [&] { return stop.stop_requested(); }) &&
         !stop.stop_requested();
}

}  // namespace outseal::operation
