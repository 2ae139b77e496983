// The world of one schedule: database, sink, relays, what is still on its way, and virtual time.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sim/coverage.h"
#include "sim/database.h"
#include "sim/random.h"
#include "sim/relay.h"
#include "sim/sink.h"

namespace outseal::sim {

/// What goes wrong in a schedule, drawn before its first step. Chances are in percent.
struct Plan {
  enum class Fork { none, foreign, restore };

  std::size_t relays = 2;
  SinkKind sink = SinkKind::conditional;
  Fork fork = Fork::none;
  bool rebuild = false;
  std::size_t page_events = 1;
  Milliseconds lease{0};
  std::size_t events = 0;
  std::size_t keys = 1;
  std::uint64_t steps = 0;
  std::uint64_t refused_early = 0;
  std::uint64_t rejected_late = 0;
  std::uint64_t database_fault = 0;  ///< Per database command.
  std::uint64_t sink_fault = 0;      ///< Per step of a sink command.
  std::uint64_t disaster = 0;        ///< Per step: crash, pause, restart, operator, ...
  bool loses = false;
  bool lies = false;

  static Plan draw(Random& random);
  std::string text() const;
};

class World {
 public:
  World(std::uint64_t seed, Mutant mutant, Coverage& coverage, std::vector<std::string>* trace);

  // One step each; false if there was nothing to do. With `faults`, things may go wrong in it.
  bool step_database(SimRelay& relay, bool faults);
  bool step_sink(SimRelay& relay, bool faults);
  bool step_timer(SimRelay& relay);
  bool step_ghost();
  bool step_late_write();

  void commit_event();
  void start(SimRelay& relay, bool drain, bool rebuild);
  void crash(SimRelay& relay);
  void disaster();

  /// What went wrong so far and must not: broken rules, halts without a reason.
  std::string broken() const;
  /// The sink has lost events, so that a relay without permission to rebuild must halt.
  bool is_damaged() const { return damaged_; }
  /// Database and sink tell different histories, so that every relay must halt.
  bool is_forked() const { return forked_; }
  /// The database lost history: whether a relay must halt depends on what the sink has of it.
  bool is_restored() const { return restored_; }
  /// How many of the sink's events somebody else's one came after.
  std::optional<std::size_t> foreign_at() const { return foreign_at_; }

  void trace(const std::string& line);

  Random random;
  Plan plan;
  Milliseconds now{0};
  Contents contents;
  SimDatabase database;
  SimSink sink;
  std::vector<SimRelay> relays;
  std::vector<SimDelivery> ghosts;           ///< Deliveries of relays that no longer wait for them.
  std::vector<DatabaseRequest> late_writes;  ///< The same for the database.
  std::uint64_t steps = 0;
  std::size_t committed = 0;

 private:
  bool is_write(const DatabaseRequest& request) const;
  void note_done(const DatabaseReply& reply);
  void note_in_doubt(const DatabaseReply& reply);
  void note_recovery(const SimRelay& relay, const OpenResult& result);
  std::optional<DeliveryResult> append(SimDelivery& delivery, bool is_ghost);
  void interrupt(SimRelay& relay);
  void after_input(SimRelay& relay);
  void judge_halt(const SimRelay& relay);
  void operate();

  Coverage* coverage_;
  std::vector<std::string>* trace_;
  Sender senders_ = 0;
  bool damaged_ = false;
  bool forked_ = false;
  bool restored_ = false;
  bool backed_up_ = false;
  std::optional<std::size_t> foreign_at_;
  std::string broken_;
};

}  // namespace outseal::sim
