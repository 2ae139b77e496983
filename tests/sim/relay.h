// A simulated relay: the real core, and a driver that carries its commands to the simulated
// database and sink, one step at a time, so that the scheduler can put anything between any two
// steps.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "relay/core.h"
#include "sim/database.h"
#include "sim/sink.h"

namespace outseal::sim {

/// A database command under way: sent, then done by the database, then answered.
struct DatabaseCall {
  DatabaseRequest request;
  std::optional<DatabaseReply> reply = {};
};

/// A sink command under way.
struct SinkCall {
  std::optional<SimDelivery> delivery = {};  ///< Empty: an OpenSink.
  std::optional<relay::Input> reply = {};
};

/// Why a relay is not running.
struct RelayEnd {
  std::optional<relay::Halt> halt = {};
  bool drained = false;
};

class SimRelay {
 public:
  using Trace = std::vector<std::string>*;  ///< May be null.

  SimRelay(std::string name, Trace trace) : name_{std::move(name)}, trace_{trace} {}

  const std::string& name() const { return name_; }
  bool runs() const { return core_.has_value(); }
  bool is_paused(Milliseconds now) const { return now < paused_until_; }
  void pause_until(Milliseconds time) { paused_until_ = time; }
  std::optional<Milliseconds> wake() const { return wake_; }
  const RelayEnd& end() const { return end_; }
  Sender sender() const { return sender_; }
  const std::string& owner() const { return owner_; }
  const std::optional<SubscriptionState>& granted() const { return granted_; }

  /// A new life: an empty core.
  void start(const relay::CoreOptions& options, Sender sender, SimSink& sink, Milliseconds now);
  /// The process dies; what was under way is left in `database_call` and `sink_call`.
  void kill(SimSink& sink);
  void feed(const relay::Input& input, SimSink& sink, Milliseconds now);
  /// Gives the core the reply that has come.
  void answer_database(SimSink& sink, Milliseconds now);
  void answer_sink(SimSink& sink, Milliseconds now);
  void fire_timer(SimSink& sink, Milliseconds now);

  std::optional<DatabaseCall> database_call;
  std::optional<SinkCall> sink_call;

  /// What the core did against its own rules; empty if nothing.
  const std::string& broken() const { return broken_; }
  /// For the explorer: all that decides about what comes, durations aside.
  void canonical(Digest& digest, const Fence& current) const;

 private:
  void carry_out(relay::Command& command, SimSink& sink, Milliseconds now);
  void finish(RelayEnd end, SimSink& sink);

  std::string name_;
  Trace trace_;
  std::optional<relay::Core> core_;
  Sender sender_ = 0;
  std::string owner_;
  Fence fence_;
  std::optional<SubscriptionState> granted_;
  std::optional<Milliseconds> wake_;
  Milliseconds paused_until_{0};
  RelayEnd end_;
  std::string broken_;
};

/// The name of a command and what matters of it, for traces.
std::string describe(const relay::Command& command);
/// The name of an input and what matters of it, for traces.
std::string describe(const relay::Input& input);

}  // namespace outseal::sim
