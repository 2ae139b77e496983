#include "stderr_writer.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>
#include <utility>

#include "base/text.h"

namespace outseal::tools {
namespace {

/// Minutes of an ordinary log. Chosen by us.
constexpr std::size_t kQueueBytesMax = 1U << 20U;

/// What cannot be written (nobody reads any more, the disk is full) is given up.
void write_all(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
    if (written > 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == EAGAIN) {
      pollfd file{STDERR_FILENO, POLLOUT, 0};
      static_cast<void>(::poll(&file, 1, -1));
    } else if (errno != EINTR) {
      return;
    }
  }
}

std::string dropped_line(std::uint64_t lines) {
  const auto now = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::system_clock::now().time_since_epoch());
  return "time=" + to_rfc3339(now.count()) +
         " level=warn event=log_dropped lines=" + std::to_string(lines) + "\n";
}

}  // namespace

StderrWriter::StderrWriter() {
  // A signal that this thread took would end the process instead of asking it to stop.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread{[this] { run(); }}.detach();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void StderrWriter::put(std::string_view lines) {
  {
    const std::lock_guard lock{mutex_};
    if (queue_.size() + lines.size() > kQueueBytesMax)
      lines_dropped_ += static_cast<std::uint64_t>(std::count(lines.begin(), lines.end(), '\n'));
    else
      queue_ += lines;
  }
  changed_.notify_all();
}

void StderrWriter::flush(std::chrono::milliseconds limit) {
  std::unique_lock lock{mutex_};
  changed_.wait_for(lock, limit, [this] { return queue_.empty() && !is_writing_; });
}

void StderrWriter::run() {
  std::unique_lock lock{mutex_};
  while (true) {
    changed_.wait(lock, [this] { return !queue_.empty(); });
    std::string text;
    text.swap(queue_);
    // The queue was full when they were dropped, so this is their place.
    if (lines_dropped_ > 0) text += dropped_line(std::exchange(lines_dropped_, 0));
    is_writing_ = true;
    lock.unlock();
    write_all(text);
    lock.lock();
    is_writing_ = false;
    changed_.notify_all();
  }
}

}  // namespace outseal::tools
