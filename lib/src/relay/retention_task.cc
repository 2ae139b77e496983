#include "relay/retention_task.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <utility>

#include "base/text.h"
#include "outseal/error.h"
#include "sql/retention.h"

namespace outseal::relay {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// How often it looks for something to remove.
constexpr milliseconds kPause{10'000};
/// After a failure; doubles up to kFailurePauseMax.
constexpr milliseconds kFailurePauseMax{600'000};
/// Between two steps while there is more: this many times what the step took, and at least so long.
/// Measured beside 8 writers at full speed on 2 cores: with a pause as long as the step it
/// removed 3.3 times what they appended and left them 0.84 of their rate, with 4 times that 1.2
/// times and 0.87.
constexpr int kStepPauses = 4;
constexpr milliseconds kStepPauseMin{2};
/// How long a step should take: while it is shorter, the next one removes more rows.
constexpr milliseconds kStepAim{10};
constexpr std::uint32_t kStepRowsMin = 100;
/// More events than this that had to be kept are passed again only now and then.
constexpr std::uint64_t kKeptMax = 10'000;
constexpr milliseconds kWholePassPause{600'000};
/// It waits while the write-ahead log is larger: only the services' checkpoints shrink it, and rows
/// removed by a relay that runs alone would make it grow without end.
constexpr std::uint64_t kWriteAheadBytesMax = 64U << 20U;
/// After a drain, and for a step under way at the end.
constexpr milliseconds kDrainWait{5'000};
constexpr milliseconds kFirstLookWait{200};
constexpr milliseconds kEndWait{2'000};

/// Trouble that the relays meet and report as well, or that is over by the next time.
bool passes(const Error& error) {
  return error.code() == ErrorCode::unreachable || error.code() == ErrorCode::commit_in_doubt;
}

}  // namespace

struct RetentionTask::Shared {
  Url database;
  std::vector<Job> jobs;
  bool drains = false;
  observe::Observer observer;

  std::mutex mutex;
  std::condition_variable changed;
  bool begun = false;   // These five are guarded by mutex.
  bool looked = false;  // A step was made, or failed.
  bool drained = false;
  bool ending = false;
  bool ended = false;

  // The task's thread alone.
  std::unique_ptr<sql::Connection> connection;
  store::RetentionProgress progress;
  steady_clock::time_point whole_pass;
  std::uint32_t rows = kStepRowsMin;
  bool paused = false;
  int failures = 0;
  int conflicts = 0;
  std::optional<std::string> noted;

  /// Sleeps; false if it is to end.
  bool wait(milliseconds pause) {
    std::unique_lock lock{mutex};
    changed.wait_for(lock, pause, [this] { return ending || drained; });
    return !ending;
  }

  void report(const observe::Observation& what) const { observer({}, what); }

  void note(const std::string& text) {
    if (noted == text) return;
    for (const Job& job : jobs)
      sql::transact(*connection, kEndWait,
                    [&] { sql::note_retention(*connection, job.subscription, text); });
    noted = text;
  }

  /// Removes some rows. @returns how long to wait before the next ones.
  milliseconds step();
  /// @returns how long to wait before the next try.
  milliseconds fail(const Error& error);
};

RetentionTask::RetentionTask(Url database, std::vector<Job> jobs, bool drains,
                             observe::Observer observer)
    : shared_{std::make_shared<Shared>()} {
  shared_->database = std::move(database);
  shared_->jobs = std::move(jobs);
  shared_->drains = drains;
  shared_->observer = std::move(observer);
  thread_ = std::thread{[shared = shared_] { work(shared); }};
}

RetentionTask::~RetentionTask() { finish(false); }

void RetentionTask::start() {
  std::unique_lock lock{shared_->mutex};
  if (std::exchange(shared_->begun, true)) return;
  shared_->changed.notify_all();
  if (shared_->drains)
    shared_->changed.wait_for(lock, kFirstLookWait, [this] { return shared_->looked; });
}

bool RetentionTask::finish(bool drained) {
  if (!thread_.joinable()) return true;
  std::unique_lock lock{shared_->mutex};
  const auto has_ended = [this] { return shared_->ended; };
  if (drained && shared_->begun) {
    shared_->drained = true;
    shared_->changed.notify_all();
    shared_->changed.wait_for(lock, kDrainWait, has_ended);
  }
  shared_->ending = true;
  shared_->changed.notify_all();
  const bool ended = shared_->changed.wait_for(lock, kEndWait, has_ended);
  lock.unlock();
  ended ? thread_.join() : thread_.detach();
  return ended;
}

void RetentionTask::work(const std::shared_ptr<Shared>& shared) {
  {
    std::unique_lock lock{shared->mutex};
    shared->changed.wait(lock, [&] { return shared->begun || shared->ending; });
  }
  const auto is_set = [&](bool Shared::*flag) {
    const std::lock_guard lock{shared->mutex};
    return (*shared).*flag;
  };
  while (!is_set(&Shared::ending)) {
    milliseconds pause{0};
    try {
      pause = shared->step();
    } catch (const Error& error) {
      pause = shared->fail(error);
    }
    {
      const std::lock_guard lock{shared->mutex};
      shared->looked = true;
      shared->changed.notify_all();
    }
    // What was due is removed, or cannot be now.
    if (shared->drains && pause >= kPause) break;
    if (!is_set(&Shared::drained) && !shared->wait(pause)) break;
  }
  shared->connection.reset();
  const std::lock_guard lock{shared->mutex};
  shared->ended = true;
  shared->changed.notify_all();
}

milliseconds RetentionTask::Shared::step() {
  if (connection == nullptr) connection = sql::open(database);
  const bool too_large = connection->write_ahead_bytes() > kWriteAheadBytesMax;
  if (too_large && !paused) report(observe::RetentionPaused{});
  paused = too_large;
  const auto begin = steady_clock::now();
  if (progress.ended && progress.kept() > kKeptMax && begin - whole_pass < kWholePassPause)
    progress.ended = false;  // On from where the last pass ended.
  else if (progress.ended)
    whole_pass = begin;

  store::RetentionOptions options = jobs.front().options;
  // While it is paused one row tells how long the log is now.
  options.step_rows = paused ? 1 : std::min(rows, options.step_rows);
  std::uint64_t removed =
      store::retain_step(*connection, jobs.front().subscription, options, &progress);
  bool more = !progress.ended;
  for (std::size_t i = 1; i < jobs.size() && !more; ++i) {
    store::RetentionProgress journal;
    options.events = milliseconds{0};
    options.journal = jobs[i].options.journal;
    removed += store::retain_step(*connection, jobs[i].subscription, options, &journal);
    more = !journal.ended;
  }
  const auto took = std::chrono::duration_cast<milliseconds>(steady_clock::now() - begin);
  if (took < kStepAim) rows = std::min(rows * 2, jobs.front().options.step_rows);
  if (took > 4 * kStepAim) rows = std::max(rows / 2, kStepRowsMin);
  failures = conflicts = 0;
  if (removed > 0) report(observe::Retained{removed, took});
  if (progress.ended) {
    const std::string text = progress.note();
    if (!text.empty() && noted != text) report(observe::RetentionKeeps{progress.kept(), text});
    note(text);
  }
  if (paused || !more) return kPause;
  return std::max(kStepPauseMin, kStepPauses * took);
}

milliseconds RetentionTask::Shared::fail(const Error& error) {
  const milliseconds pause = std::min(kPause * (1 << std::min(failures++, 6)), kFailurePauseMax);
  // A busy database is nothing to warn of, unless it is so each time.
  constexpr int kConflictsMax = 5;
  if (error.code() == ErrorCode::conflict && ++conflicts < kConflictsMax) return kPause;
  if (!passes(error)) {
    report(observe::RetentionFailed{error.what(), error.hint()});
    try {
      if (connection != nullptr) note("failed: " + with_hint(error.what(), error.hint()));
    } catch (const Error&) {  // The next try says it again.
    }
  }
  connection.reset();  // Nothing is known of it.
  return pause;
}

}  // namespace outseal::relay
