// Retention beside the relays of a process: a thread and a connection of its own. Whatever refuses
// or slows it (a foreign key, a trigger, a revoked privilege, a lock) holds back no event; it
// warns, says so in the status of the subscriptions, and tries again later.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/url.h"
#include "observe/observation.h"
#include "store/retention.h"

namespace outseal::relay {

/// Threads: start(), finish() and the destructor from one thread; start() from any.
class RetentionTask {
 public:
  /// A subscription and its journal; the events are those of all.
  struct Job {
    std::string subscription;
    store::RetentionOptions options;
  };

  /// `observer` is called from the task's thread.
  /// `drains`: it makes one pass over what was published before, and no more.
  RetentionTask(Url database, std::vector<Job> jobs, bool drains, observe::Observer observer);
  /// Waits for the step under way, but not longer than a stop may take.
  ~RetentionTask();
  RetentionTask(const RetentionTask&) = delete;
  RetentionTask& operator=(const RetentionTask&) = delete;

  /// Lets it begin: a relay has found the database usable. Called more often it does nothing. For a
  /// drain it waits a moment for the first look at the log, so that a sink that is about to lose
  /// what it is given now can be rebuilt.
  void start();
  /// Ends it. After a drain, which may be all that ever runs, it first ends its pass, for a few
  /// seconds at most.
  /// @returns false if a step is still under way: end the process now, which is safe.
  bool finish(bool drained);

 private:
  struct Shared;
  static void work(const std::shared_ptr<Shared>& shared);

  std::shared_ptr<Shared> shared_;
  std::thread thread_;
};

}  // namespace outseal::relay
