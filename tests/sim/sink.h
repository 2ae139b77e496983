// The simulated sink. A delivery is a sequence of appends, one an event, so that two of them can
// interleave and each can end anywhere.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/sink.h"
#include "sim/coverage.h"
#include "sim/database.h"
#include "support/history.h"

namespace outseal::sim {

/// How the sink keeps its promise.
enum class SinkKind {
  conditional,  ///< Appends p only after the event at p-1, as a broker with expected positions
                ///< does.
  exclusive,    ///< The same, and one process at a time may open it, as a locked file.
  receiver,     ///< It has no tail to show; the receiver remembers one position, as an HTTP inbox.
};

/// Who sends: one life of one relay.
using Sender = std::uint64_t;

/// A delivery under way.
struct SimDelivery {
  Sender sender = 0;
  std::uint64_t epoch = 0;  ///< Of its relay, for the coverage only.
  relay::BatchPtr batch;
  std::size_t next = 0;

  bool mentions(const EventId& id) const;
};

class SimSink {
 public:
  SimSink(SinkKind kind, Mutant mutant, Coverage& coverage)
      : kind_{kind}, mutant_{mutant}, coverage_{&coverage} {}

  SinkKind kind() const { return kind_; }
  OpenResult open(Sender sender);
  void close(Sender sender);

  /// Appends one event of `delivery`, or says how the delivery ended.
  std::optional<DeliveryResult> append_next(SimDelivery& delivery, const Contents& contents);

  bool is_away() const { return away_; }
  void go_away() { away_ = true; }
  void come_back() { away_ = false; }
  /// Its server has died: true if it may have lost events that it acknowledged.
  bool forgets() const { return mutant_ == Mutant::no_durable_ack; }
  /// Forgets the last `count` events, or all.
  void lose_tail(std::size_t count);
  /// Somebody else appends.
  void append_foreign(EventId id);

  const std::vector<test::StoredEvent>& stored() const { return stored_; }
  /// A second event at a position, other than the first one; empty if there was none.
  const std::string& broken() const { return broken_; }
  /// Of the life that has locked it; 0: nobody.
  Sender locked_by() const { return locked_by_; }

 private:
  Tail tail() const;
  std::optional<DeliveryResult> receive(SimDelivery& delivery, const Contents& contents);
  void store(const SimDelivery& delivery, const Contents& contents);

  SinkKind kind_;
  Mutant mutant_;
  Coverage* coverage_;
  bool away_ = false;
  Sender locked_by_ = 0;
  std::vector<test::StoredEvent> stored_;
  std::string broken_;
};

}  // namespace outseal::sim
