// The simulated sink. A delivery is a sequence of appends, one an event, so that two of them can
// interleave and each can end anywhere.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "model/sink.h"
#include "sim/coverage.h"
#include "sim/database.h"
#include "sim/random.h"
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
  SimSink(SinkKind kind, Mutant mutant, Contents& contents, Coverage& coverage)
      : kind_{kind}, mutant_{mutant}, contents_{&contents}, coverage_{&coverage} {}

  SinkKind kind() const { return kind_; }
  OpenResult open(Sender sender);
  void close(Sender sender);

  /// Appends one event of `delivery`, or says how the delivery ended.
  std::optional<DeliveryResult> append_next(SimDelivery& delivery);

  bool is_away() const { return away_; }
  void go_away() { away_ = true; }
  void come_back(Random& random);
  /// Forgets some of the last events.
  void lose_tail(Random& random);
  /// Somebody else appends.
  void append_foreign(EventId id);

  const std::vector<test::StoredEvent>& stored() const { return stored_; }
  /// A second event at a position, other than the first one; empty if there was none.
  const std::string& broken() const { return broken_; }

 private:
  Tail tail() const;
  std::optional<DeliveryResult> receive(SimDelivery& delivery);
  void store(SimDelivery& delivery);

  SinkKind kind_;
  Mutant mutant_;
  Contents* contents_;
  Coverage* coverage_;
  bool away_ = false;
  Sender locked_by_ = 0;
  std::vector<test::StoredEvent> stored_;
  std::string broken_;
};

}  // namespace outseal::sim
