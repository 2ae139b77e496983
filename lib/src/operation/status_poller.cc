// One thread looks for all who wait: over one connection, at each key in its own rhythm.
#include <algorithm>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "model/validation.h"
#include "operation/backoff.h"
#include "operation/status.h"
#include "outseal/error.h"
#include "outseal/status.h"

namespace outseal {

using operation::StatusOf;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

struct StatusPoller::Impl {
  /// Those who wait for one operation.
  struct Entry {
    int waiting = 0;
    std::optional<OperationStatus> seen = {};  ///< None before the first look.
    bool may_begin = false;                    ///< One of those who wait may return with it.
    bool has_failed = false;                   ///< The last look, or the connection before it.
    std::exception_ptr error = {};             ///< What waiting cannot cure.
    Clock::time_point due = Clock::now();
    milliseconds interval{};
    std::condition_variable_any changed = {};
  };
  using Entries = std::map<StatusOf, Entry>;

  Impl(SessionOpener opener, const PollerOptions& given) : open{std::move(opener)}, options{given} {
    options.validate();
    if (!open)
      throw Error{ErrorCode::invalid_argument,
                  "StatusPoller",
                  "the opener is empty",
                  {.hint = "give one that opens a connection"}};
    thread = std::jthread{[this](const std::stop_token& stop) { look_until(stop); }};
  }

  OperationStatus wait(const StatusOf& which, Deadline deadline, const std::stop_token& stop) {
    std::unique_lock lock{mutex};
    const auto [place, is_new] = entries.try_emplace(which);
    Entry& entry = place->second;
    if (is_new) entry.interval = options.interval_min;
    ++entry.waiting;
    ++arrivals;
    work.notify_one();
    struct Leave {
      Entries& entries;
      const StatusOf& which;
      ~Leave() {
        const auto entry = entries.find(which);
        if (--entry->second.waiting == 0) entries.erase(entry);
      }
    } const leave{entries, which};
    const auto has_answer = [&] {
      return entry.error != nullptr || entry.may_begin || (entry.seen && entry.seen->has_ended());
    };
    // At least one look, even if there is no time for more.
    entry.changed.wait_until(lock, stop, deadline, has_answer);
    if (!entry.seen && !entry.has_failed && !stop.stop_requested())
      entry.changed.wait_for(lock, stop, kFirstLook,
                             [&] { return has_answer() || entry.seen || entry.has_failed; });
    if (entry.error != nullptr) std::rethrow_exception(entry.error);
    if (entry.has_failed || !entry.seen) throw_unreachable();
    entry.may_begin = false;  // The turn is taken; the next look may give it to another one.
    return *entry.seen;
  }

 private:
  /// How long a look is waited for by those who have no time. Chosen by us.
  static constexpr milliseconds kFirstLook{1'000};

  void look_until(const std::stop_token& stop) {
    std::unique_lock lock{mutex};
    while (!stop.stop_requested()) {
      const auto next = std::min_element(
          entries.begin(), entries.end(),
          [](const auto& left, const auto& right) { return left.second.due < right.second.due; });
      if (next != entries.end() && next->second.due <= Clock::now()) {
        look_at(lock, StatusOf{next->first}, stop);  // A copy.
        continue;
      }
      const auto has_come = [this, before = arrivals] { return arrivals != before; };
      if (next == entries.end()) {
        work.wait(lock, stop, has_come);
      } else {
        const Clock::time_point due = next->second.due;  // Its entry may go meanwhile.
        work.wait_until(lock, stop, due, has_come);
      }
    }
  }

  void look_at(std::unique_lock<std::mutex>& lock, const StatusOf& which,
               const std::stop_token& stop) {
    lock.unlock();
    std::optional<OperationStatus> seen;
    std::exception_ptr cannot_be_cured;
    try {
      if (!session) session = open();
      seen = operation::look(
          *session, which,
          {.named_statements = options.named_statements, .observer = options.observer});
      backoff = fresh_backoff();
    } catch (const Error& error) {
      if (error.recovery() == Recovery::fix_first) cannot_be_cured = std::current_exception();
      session.reset();
    } catch (...) {  // The opener's: the database cannot be reached.
      session.reset();
    }
    lock.lock();
    if (!seen) return note_failure(lock, cannot_be_cured, stop);
    const auto entry = entries.find(which);
    if (entry != entries.end()) note(entry->second, std::move(*seen));
  }

  void note(Entry& entry, OperationStatus seen) {
    entry.due = Clock::now() + entry.interval;
    entry.interval =
        std::min(entry.interval + entry.interval / 2 + milliseconds{1}, options.interval_max);
    entry.may_begin = seen.may_begin();
    entry.has_failed = false;
    const bool has_ended = seen.has_ended();
    const bool is_first = !entry.seen;
    entry.seen = std::move(seen);
    if (has_ended || is_first)
      entry.changed.notify_all();
    else if (entry.may_begin)
      entry.changed.notify_one();
  }

  void note_failure(std::unique_lock<std::mutex>& lock, const std::exception_ptr& cannot_be_cured,
                    const std::stop_token& stop) {
    for (auto& [which, entry] : entries) {
      entry.has_failed = true;
      entry.error = cannot_be_cured;
      entry.changed.notify_all();
    }
    lock.unlock();
    operation::pause(backoff.next(), stop);
    lock.lock();
  }

  operation::Backoff fresh_backoff() const { return {options.interval_min, options.interval_max}; }

  [[noreturn]] static void throw_unreachable() {
    throw Error{ErrorCode::unreachable,
                "wait",
                "the database did not answer in time",
                {.hint = "the operation may have ended: repeat the request with the same key"}};
  }

  const SessionOpener open;
  const PollerOptions options;

  std::mutex mutex;
  std::condition_variable_any work;  ///< Somebody has come to wait.
  Entries entries;                   ///< Guarded by mutex. Those that somebody waits for.
  std::uint64_t arrivals = 0;        ///< Guarded by mutex.

  // Of the thread alone.
  std::optional<Session> session;
  operation::Backoff backoff = fresh_backoff();

  std::jthread thread;  ///< The last one: it uses all of the above.
};

void PollerOptions::validate() const {
  ConfigErrors faults{"PollerOptions"};
  faults.check_range("interval_min (ms)", interval_min.count(), 1, kIntervalLimit.count());
  faults.check_range("interval_max (ms)", interval_max.count(), interval_min.count(),
                     kIntervalLimit.count());
  faults.raise();
}

StatusPoller::StatusPoller(SessionOpener open, const PollerOptions& options)
    : impl_{std::make_unique<Impl>(std::move(open), options)} {}
StatusPoller::~StatusPoller() = default;

OperationStatus StatusPoller::wait(const OperationKey& operation, Deadline deadline,
                                   const std::stop_token& stop) {
  return impl_->wait(operation::status_of("wait", operation), deadline, stop);
}

OperationStatus StatusPoller::wait(std::string_view handle, Deadline deadline,
                                   const std::stop_token& stop) {
  return impl_->wait(operation::status_of(handle), deadline, stop);
}

}  // namespace outseal
