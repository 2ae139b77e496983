// The stage of a torture test over any sink: a service's database (SQLite), real producers and
// relays, and the sink with its server behind a bad network.
//
// What was committed is known from the producer's business table, what arrived from the sink
// itself, read by means of the sink's own kind: neither the outbox nor the relay is a witness.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "support/fault_proxy.h"
#include "torture/stage.h"

namespace outseal::test {

/// What a sink is held to, and what can be done to it.
struct SinkTraits {
  std::string name;  ///< For the summary, for example "inbox on sqlite".
  /// stored() is the whole truth, at dense positions. False: the sink promises at least once, and
  /// stored() lists the effects at its receiver, each exactly once.
  bool has_positions = true;
  bool has_server = false;  ///< kill(), start(), freeze(), thaw() do something.
  bool forgetful = false;   ///< What it lost is sent again without asking an operator.
  bool can_lose = true;     ///< lose_tail() and recreate() do something.
  /// A relay that sleeps can hold something that keeps its successor waiting: a lock.
  bool has_lock = false;
  /// In the reason of an event that only its server refused, after it was bound; empty: it refuses
  /// none.
  std::string refusal = "";
  std::string mutant = "";  ///< Switches off what keeps a zombie out; empty: there is nothing.
  std::size_t backlog_max = 400;  ///< How far producers may get ahead while all is being killed.
  std::chrono::milliseconds window{0};  ///< Within which the server would know an event again.
};

/// A sink of its own, empty at first, and its server. Everything throws std::runtime_error if the
/// server does not do what it should.
///
/// Threads: Not thread-safe; one thread at a time.
class SinkServer {
 public:
  virtual ~SinkServer() = default;

  virtual SinkTraits traits() const = 0;
  /// How relays reach it: through the proxy, if there is one. Events of producer.cc that are
  /// "too large" are refused there until lift_limit().
  virtual std::string url() const = 0;
  virtual FaultProxy* proxy() { return nullptr; }

  virtual void kill() {}  ///< SIGKILL.
  virtual void start() {}
  virtual void freeze() {}  ///< SIGSTOP.
  virtual void thaw() {}

  /// What the sink holds, in its own order, read past the proxy.
  virtual std::vector<StoredEvent> stored() = 0;
  /// Loses the last events, as a crash of a machine does.
  virtual void lose_tail(std::size_t /*count*/) {}
  /// Somebody deleted it and made it anew.
  virtual void recreate() {}
  /// From now on it takes what it refused as too large. Relays have to be started anew.
  virtual void lift_limit() = 0;
};

/// True if a program or part that the sink needs is not there, and says so. Like the next one
/// defined by the file that joins the suite, for example sink_server_file.cc.
bool skipped_without_sink_server();
std::unique_ptr<SinkServer> make_sink_server();

class SinkStage {
 public:
  /// Migrated, nothing produced yet.
  SinkStage();

  SinkServer& sink() { return *sink_; }
  FaultProxy* proxy() { return sink_->proxy(); }
  const SinkTraits& traits() const { return traits_; }
  const Stage& base() const { return stage_; }

  /// Runs a producer to its end.
  void produce(std::uint64_t seed, std::uint64_t transactions);
  /// With short waits, a short lease and small batches; `flags` come behind and win.
  std::unique_ptr<Process> start_relay(const std::vector<std::string>& flags = {},
                                       const Environment& environment = {}) const;
  /// A relay that publishes everything and ends.
  Exit drain(const std::vector<std::string>& flags = {}, const Environment& environment = {}) const;

  /// Committed events, by the business table.
  std::int64_t committed() const { return stage_.number("SELECT count(*) FROM ledger"); }
  /// Events that no relay has acknowledged yet.
  std::int64_t backlog() const;
  /// True if a process, perhaps a stopped one, is in the middle of a transaction that writes.
  bool database_is_locked() const;
  /// Events that were parked because the server refused them, after they were bound.
  std::int64_t refused_by_server() const;
  /// Waits until relays have acknowledged `count` more events or all there are, or for half a
  /// minute.
  void wait_for_progress(std::int64_t count) const;

  /// For a summary.
  struct Balance {
    std::int64_t committed = 0;
    std::int64_t parked = 0;
    std::int64_t stored = 0;
    std::int64_t lost = 0;        ///< Committed, not parked, not stored.
    std::int64_t duplicated = 0;  ///< Stored once too often.
  };
  Balance balance();

  /// All that must hold for committed events, keys, operations and the sink's content; empty if so.
  std::vector<std::string> violations(Extent extent);
  std::string log_tail() const { return stage_.log_tail(); }

 private:
  Stage stage_;
  std::unique_ptr<SinkServer> sink_;
  SinkTraits traits_;
};

inline constexpr std::chrono::milliseconds kSinkStageLease{200};

/// OUTSEAL_SEED, or a random one.
std::uint64_t seed_of_run();

}  // namespace outseal::test
