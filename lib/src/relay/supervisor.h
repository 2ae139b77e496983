// The relays of one process: a thread for each subscription, so that whatever becomes of one holds
// no other, and one retention task for the database that they share.
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <stop_token>
#include <vector>

#include "model/sink.h"
#include "observe/observation.h"
#include "relay/relay.h"
#include "relay/relay_snapshot.h"
#include "store/retention.h"

namespace outseal::relay {

/// What is to be done for one subscription.
struct RelayJob {
  RelayOptions options;
  store::RetentionOptions retention;
  std::function<std::unique_ptr<Sink>()> make_sink;  ///< Called again after each error.
};

/// How the relay of a subscription ended: with a result or an error; neither while it is at work.
struct RelayEnding {
  RelayResult result;
  std::exception_ptr error;
  bool has_ended = false;
};

struct SupervisorResult {
  std::vector<RelayEnding> endings;  ///< In the order of the jobs.
  /// A thread is still at work: what it does is safe, but only the process's end stops it.
  bool hangs = false;
};

/// Runs relays of several subscriptions of one database, and its retention.
///
/// Where there are several, one that has halted is tried again, with a pause that grows: what is
/// wrong with it may be mended meanwhile, and its neighbours must not be stopped for it. A process
/// with a single one ends instead, for whatever supervises the process to see. Each try is the
/// comparison of a start, so nothing is published that a start would not publish.
///
/// Threads: run() is called once; snapshot() is thread-safe.
/// Crash: as for relay::run().
class Supervisor {
 public:
  /// `jobs`: at least one; all of them are of one database, and drain or do not drain together.
  /// `observer` is called from several threads at once. Those that hang call it after run(), too:
  /// what it uses has to live as long as the process.
  Supervisor(std::vector<RelayJob> jobs, observe::Observer observer);

  /// Returns once all have ended, or some time after a stop without those that have not.
  /// @throws what RelayJob::make_sink throws, before any relay begins.
  SupervisorResult run(const std::stop_token& stop);

  /// All subscriptions in the order of the jobs. Reads memory alone.
  std::vector<RelaySnapshot> snapshot() const;

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;
};

}  // namespace outseal::relay
