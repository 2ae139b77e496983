// The simulated database: the outbox, one subscription, its journal and its parked events, with the
// same rules as lib/src/store and without SQL.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "model/batch.h"
#include "relay/core.h"
#include "sim/coverage.h"
#include "support/history.h"

namespace outseal::sim {

using relay::Milliseconds;

class Digest;

/// A guard of the protocol that is switched off, to see that the simulation misses it.
enum class Mutant {
  none,
  no_intent,          ///< The intent is forgotten when another relay takes over.
  no_epoch_check,     ///< Every compare-and-set succeeds.
  no_stale_check,     ///< A page is bound although an operator decided about its events.
  no_key_block,       ///< Events pass a parked one of their key.
  blind_redrive,      ///< Queued events are redriven before a parked one of their key.
  eager_redrive,      ///< Queued events are redriven before the cursor has come back to them.
  no_sink_condition,  ///< The sink appends whatever comes.
  position_only,      ///< The sink compares the position before an event, not which event is there.
  no_durable_ack,     ///< The sink loses acknowledged events when it restarts.
};

/// What an event is, whatever becomes of it.
struct Content {
  std::string key;
  bool refused_early = false;  ///< Sink::encode refuses it.
  bool rejected_late = false;  ///< The sink rejects it when it is delivered.
};

/// All events ever made, also those that a restored database has forgotten.
class Contents {
 public:
  EventId add(Content content);
  Content& of(const EventId& id) { return contents_.at(index_of(id)); }
  const Content& of(const EventId& id) const { return contents_.at(index_of(id)); }

 private:
  static std::size_t index_of(const EventId& id);

  std::vector<Content> contents_;  ///< By the number that the id holds.
};

/// One row of the outbox and what the subscription knows about it.
struct SimEvent {
  enum class Parked { no, parked, queued, redriven, discarded };

  EventId id;
  std::string key;
  bool ours = true;  ///< It matches the subscription's topics.
  Parked parked = Parked::no;
  bool given_up = false;  ///< An operator discarded it.
  bool behind = false;    ///< Parked only because an earlier event of its key is.
  Position position;      ///< Of a redriven event.
  bool is_open() const { return parked == Parked::parked || parked == Parked::queued; }
};

/// What a relay's connection remembers to show with its next write.
struct Fence {
  std::uint64_t epoch = 0;
  std::uint64_t version = 0;
};

struct DatabaseRequest {
  relay::Command command;
  std::string owner;
  Fence fence;
};

struct DatabaseReply {
  relay::Input input;
  Fence fence;
};

class SimDatabase {
 public:
  struct Options {
    Mutant mutant = Mutant::none;
    std::size_t page_events = 4;
    Milliseconds lease{0};
  };

  SimDatabase(const Options& options, Coverage& coverage)
      : mutant_{options.mutant},
        page_events_{options.page_events},
        lease_{options.lease},
        coverage_{&coverage} {}

  Contents contents;

  /// Commits one event of a producer.
  void commit(SimEvent event);
  /// Most events in a page from now on.
  void set_page_events(std::size_t count) { page_events_ = count; }
  /// Does what `request` asks for, at once and as a whole.
  DatabaseReply run(const DatabaseRequest& request, Milliseconds now);

  // The operator's acts, as in store/parked.h, and a little more: a queued event may be discarded,
  // too. They do nothing where there is nothing to do.
  void redrive(std::size_t index);
  void redrive_all();
  void discard(std::size_t index);
  /// As in store/pause.h.
  void pause();
  void resume() { row_.paused = false; }
  bool is_paused() const { return row_.paused; }

  /// The owner's process has certainly died: its lease need not run out.
  void forget_owner(const std::string& owner);

  /// What a backup holds: all that is durable.
  void back_up() { backup_ = row_; }
  void restore();

  /// Nothing is left that a relay could do: what is queued stands behind a parked event.
  bool is_drained() const;
  bool has_open() const;
  std::uint64_t epoch() const { return row_.epoch; }
  Fence fence() const { return {row_.epoch, row_.version}; }
  bool is_leased(Milliseconds now) const { return !row_.owner.empty() && now < row_.leased_until; }
  const std::string& holder() const { return row_.owner; }
  Position acked() const { return row_.acked.position; }
  const std::vector<SimEvent>& events() const { return row_.events; }
  std::vector<test::CommittedEvent> history() const;
  /// What broke inside the database; empty if nothing did.
  const std::string& broken() const { return broken_; }
  /// For the explorer: all that decides about what comes, but for owners, leases and fences.
  void canonical(Digest& digest) const;

 private:
  struct JournalRow {
    BatchKind kind;
    Position first;
    Seq from;
    Seq to;
    std::vector<EventId> ids;
  };

  /// All that is durable.
  struct Row {
    std::vector<SimEvent> events;  ///< Event of sequence number n at index n - 1.
    std::vector<JournalRow> journal;
    Seq after;
    Position bound;
    Tail acked;
    std::uint64_t epoch = 0;
    std::uint64_t version = 0;
    bool paused = false;
    std::string owner;
    Milliseconds leased_until{0};
  };

  static void canonical(const Row& row, Digest& digest);
  static std::size_t index_of(Seq seq) { return static_cast<std::size_t>(seq.value() - 1); }
  static Seq seq_of(std::size_t index) { return Seq{static_cast<std::int64_t>(index) + 1}; }

  relay::Input acquire(const std::string& owner, Milliseconds now);
  relay::Input read_page(const relay::ReadPage& read) const;
  using Keys = std::set<std::string>;
  void read_redrive(Batch& page) const;
  void read_log(Batch& page) const;
  void take(std::size_t index, Batch& page, Keys& blocked) const;
  relay::Input read_journal(Position position) const;
  relay::Input bind(const relay::Bind& bind, const Fence& fence, Milliseconds now);
  relay::Input acknowledge(const Ack& ack, const Fence& fence, Milliseconds now);
  relay::Input settle(const relay::Settle& settle, const Fence& fence, Milliseconds now);

  bool is_stale(const Batch& batch) const;
  bool passes(const Fence& fence) const;
  void write(Milliseconds now);
  void apply(const Ack& ack);
  void park(const ParkedEntry& entry);
  void queue_behind(std::size_t index);
  bool is_blocked(std::size_t index, bool by_queued) const;
  void fail(std::string what);

  Mutant mutant_;
  std::size_t page_events_;
  Milliseconds lease_;
  Coverage* coverage_;
  Row row_;
  std::optional<Row> backup_;
  std::optional<Row> without_intent_;  ///< Mutant::no_intent: what the disk really has.
  std::string broken_;
};

}  // namespace outseal::sim
