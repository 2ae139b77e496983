// The relay's driver: gives the core its inputs and carries out its commands. The database is used
// by the calling thread, the sink by one other thread, so that the next page is read while a batch
// is on its way.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>

#include "base/url.h"
#include "model/sink.h"
#include "observe/observation.h"
#include "outseal/error.h"
#include "relay/core.h"
#include "store/subscription.h"

namespace outseal::relay {

/// What a relay needs to know. Ranges are checked where options are read: tools/cli/options.cc.
struct RelayOptions {
  Url database;
  SubscriptionSpec subscription;
  CoreOptions core;
  store::PageLimits page;
  /// Whether an address that the database knows leads to the sink of `subscription`, as far as
  /// addresses tell. Empty: only the same text does.
  std::function<bool(const std::string& known)> is_same_sink = {};
  /// Waits at the start, too, until the database can be used, instead of giving up.
  bool waits_for_database = false;
};

/// What run() throws: the error that ended it, and what its caller needs to know to try again.
class Halted : public Error {
 public:
  Halted(const Error& error, bool has_published, bool is_final)
      : Error{error}, has_published_{has_published}, is_final_{is_final} {}
  bool has_published() const { return has_published_; }
  /// This process must not write the sink any more, see DeliveryResult::Status::failed.
  bool is_final() const { return is_final_; }

 private:
  bool has_published_;
  bool is_final_;
};

/// How a run ended.
struct RelayResult {
  bool drained = false;         ///< Everything committed is acknowledged or parked.
  bool abandoned = false;       ///< A delivery was still under way: end the process now.
  bool has_led = false;         ///< It has compared database and sink, and led.
  bool paused = false;          ///< Nobody leads, until an operator resumes the subscription.
  std::uint64_t published = 0;  ///< Events acknowledged by the sink in this run.
};

/// Runs one relay of one subscription until `stop` is asked for, or until it has drained.
///
/// `observer` is called from this thread. Every error comes as Halted. Unless it was to drain, it
/// is noted in the database, as far as that can be reached, until a relay leads again:
/// store/halt.h.
///
/// @throws Error{unreachable}, Error{schema_missing}, Error{schema_mismatch} if the database cannot
///         be used at the start; later trouble is waited out.
/// @throws Error{sink_unreachable} if the sink can never be used, or not within a drain's patience.
/// @throws Error{refused} on a fork, lost data or a foreign sink; see lib/README.md.
/// @throws Error{lease_lost} if another relay leads and this one was to drain.
/// Threads: blocks; stop may be requested from any thread.
/// Crash: any number of relays may die or run at once; see lib/README.md, "The protocol".
RelayResult run(const RelayOptions& options, std::unique_ptr<Sink> sink, std::stop_token stop,
                const observe::Observer& observer);

}  // namespace outseal::relay
