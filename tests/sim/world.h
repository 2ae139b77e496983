// The world of one schedule: database, sink, relays, what is still on its way, and virtual time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sim/coverage.h"
#include "sim/database.h"
#include "sim/plan.h"
#include "sim/random.h"
#include "sim/relay.h"
#include "sim/sink.h"

namespace outseal::sim {

/// What of a relay that has ended is still there.
struct Remains {
  bool write = false;     ///< Its database command arrives later.
  bool delivery = false;  ///< The rest of its delivery arrives later.
  bool lease = true;      ///< Nobody knows that it is dead.
};

/// A copy is a world of its own that shares coverage and trace.
class World {
 public:
  World(const Plan& plan, Random random, Mutant mutant, Coverage& coverage, SimRelay::Trace trace);

  // One step each; false if there was nothing to do. With `faults`, things may go wrong in it.
  bool step_database(SimRelay& relay, bool faults);
  bool step_sink(SimRelay& relay, bool faults);
  bool step_timer(SimRelay& relay);
  bool step_ghost();
  bool step_late_write();

  void commit_event();
  void commit(const Content& content, bool ours);
  void start(SimRelay& relay, bool drain, bool rebuild);
  void crash(SimRelay& relay);
  void crash(SimRelay& relay, const Remains& remains);
  void disaster();
  /// The server of the sink comes back.
  void restart_sink();
  void lose_tail(std::size_t count);

  /// To be called after each input: looks at what `relay` did, and whether it is still there.
  void after_input(SimRelay& relay, const Remains& remains);
  /// Appends one event of `delivery`, or says how the delivery ended.
  std::optional<DeliveryResult> append(SimDelivery& delivery, bool is_ghost);
  /// The next event was on its way before the refusal of this one was known: goes on with it.
  bool sent_on(SimDelivery& delivery, const DeliveryResult& result) const;
  static bool is_write(const DatabaseRequest& request);

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
  SimDatabase database;
  SimSink sink;
  std::vector<SimRelay> relays;
  std::vector<SimDelivery> ghosts;           ///< Deliveries of relays that no longer wait for them.
  std::vector<DatabaseRequest> late_writes;  ///< The same for the database.
  std::uint64_t steps = 0;
  std::size_t committed = 0;

 private:
  void note_done(const DatabaseReply& reply);
  void note_in_doubt(const DatabaseReply& reply);
  void note_recovery(const SimRelay& relay, const OpenResult& result);
  void interrupt(SimRelay& relay);
  void after_input(SimRelay& relay);
  Remains draw_remains();
  void judge_halt(const SimRelay& relay);
  void operate();

  Coverage* coverage_;
  SimRelay::Trace trace_;
  Sender senders_ = 0;
  bool damaged_ = false;
  bool forked_ = false;
  bool restored_ = false;
  bool backed_up_ = false;
  std::optional<std::size_t> foreign_at_;
  std::string broken_;
};

}  // namespace outseal::sim
