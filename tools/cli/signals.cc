#include "signals.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <chrono>

#include "console.h"
#include "outseal/error.h"

namespace outseal::tools {

namespace {

/// timeout(1), shells and supervisors signal a process and then its group: that is one request.
constexpr std::chrono::seconds kOneRequest{1};

}  // namespace

SignalWatch::SignalWatch() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  // There is nothing to load anew, and the end of a terminal is no reason to stop publishing.
  static_cast<void>(::signal(SIGHUP, SIG_IGN));
  // A reader of stdout or a server that is gone is an error of a write, not the end of the process:
  // OpenSSL writes to sockets without a word of this.
  static_cast<void>(::signal(SIGPIPE, SIG_IGN));
  signals_ = ::signalfd(-1, &set, SFD_CLOEXEC);
  end_ = ::eventfd(0, EFD_CLOEXEC);
  if (signals_ < 0 || end_ < 0)
    throw Error{ErrorCode::internal, "signals", "cannot make a signalfd"};
  thread_ = std::thread{[this] { watch(); }};
}

SignalWatch::~SignalWatch() {
  const std::uint64_t one = 1;
  // Cannot fail: the counter is at 0.
  if (::write(end_, &one, sizeof one) == sizeof one) thread_.join();
  ::close(signals_);
  ::close(end_);
}

void SignalWatch::watch() {
  std::chrono::steady_clock::time_point asked_at;
  pollfd files[] = {{signals_, POLLIN, 0}, {end_, POLLIN, 0}};
  while (true) {
    if (::poll(files, 2, -1) < 0) continue;  // EINTR
    if (files[1].revents != 0) return;
    signalfd_siginfo info{};
    if (::read(signals_, &info, sizeof info) != sizeof info) continue;
    const int number = static_cast<int>(info.ssi_signo);
    const auto now = std::chrono::steady_clock::now();
    if (stop_.stop_requested()) {
      if (now - asked_at < kOneRequest) continue;
      ::_exit(128 + number);
    }
    asked_at = now;
    stop_.request_stop();
    write_log({"info", "stopping", {{"signal", number == SIGTERM ? "SIGTERM" : "SIGINT"}}});
  }
}

}  // namespace outseal::tools
