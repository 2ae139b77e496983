// One suite for every sink, steered by what the sink claims in its SinkFeatures. A new one joins by
// a file like sink_file_test.cc, which says how a fresh sink is made; sink_cases.cc then holds it
// to each of its claims.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "model/sink.h"

namespace outseal::test {

/// Storage of its own, empty at first.
class SinkUnderTest {
 public:
  virtual ~SinkUnderTest() = default;
  /// Another object on the same storage.
  virtual std::unique_ptr<Sink> make() const = 0;
  /// All that is stored, as bytes.
  virtual std::string stored() const = 0;
  /// A payload that the sink must refuse for its size.
  virtual std::size_t oversize_bytes() const = 0;
  /// Leaves of the last event what a crash in the middle of writing it could leave.
  /// @returns false if no crash can leave half an event in this sink.
  virtual bool tear() const { return false; }
};

/// Defined by the file that joins the suite: makes the sink under test.
std::unique_ptr<SinkUnderTest> make_sink_under_test();

/// The id of the test event at `position`.
EventId event_id_at(Position position);

/// `count` events, bound to the positions after `prior` and encoded by `sink`.
Batch make_batch(Sink& sink, const Tail& prior, std::size_t count, std::size_t payload_bytes = 100);

/// The tail once `count` test events are stored.
inline Tail tail_of(std::uint64_t count) {
  return count == 0 ? Tail{} : Tail{Position{count}, event_id_at(Position{count})};
}

}  // namespace outseal::test
