// Standard error through a thread of its own: a reader that has stopped reading holds up nobody.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

namespace outseal::tools {

/// Text for standard error, written in order by a detached thread. What does not fit into the queue
/// is dropped and counted; the count follows as a log line of its own, event=log_dropped.
///
/// Threads: Thread-safe. The object must never be destroyed: its thread lives as long as the
/// process.
/// Crash: what has not been written yet is lost.
class StderrWriter {
 public:
  StderrWriter();
  ~StderrWriter() = delete;
  StderrWriter(const StderrWriter&) = delete;
  StderrWriter& operator=(const StderrWriter&) = delete;

  /// Appends whole lines. Never blocks.
  void put(std::string_view lines);
  /// Waits until everything is written, but no longer than `limit`.
  void flush(std::chrono::milliseconds limit);

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::string queue_;                ///< Guarded by mutex_.
  std::uint64_t lines_dropped_ = 0;  ///< Guarded by mutex_.
  bool is_writing_ = false;          ///< Guarded by mutex_.
};

}  // namespace outseal::tools
