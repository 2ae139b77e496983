// The history checker: does what a sink holds follow from what was committed?
//
// Shared by the simulation, the crash points and the kill loops, so that all of them mean the same
// by "exactly once". One pass over each side, hash tables only: millions of events are fine.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "outseal/ids.h"

namespace outseal::test {

/// What must become of a committed event.
enum class Fate {
  due,        ///< It must be in the sink.
  set_aside,  ///< Parked or discarded: it must not be in the sink.
};

/// A committed event; a list of them is in commit order.
struct CommittedEvent {
  EventId id;
  std::string key = {};  ///< Empty: no order.
  Fate fate = Fate::due;
};

/// An event as the sink gave it back; a list of them is in the order of the sink.
struct StoredEvent {
  Position position;
  EventId id;
  std::string key = {};
  friend bool operator==(const StoredEvent&, const StoredEvent&) = default;
};

/// How much of the history the sink should hold.
enum class Extent {
  drained,  ///< All of it.
  prefix,   ///< Of each key, a prefix without gaps.
};

/// Checks that
/// - every due event is stored exactly once (`prefix`: none is missing before a later one of its
/// key),
/// - nothing else is stored: no uncommitted, parked or foreign event,
/// - the events of a key are stored in commit order,
/// - positions are dense from 1, so that positions and ids correspond one to one.
///
/// @returns one sentence per violation, at most `violations_max` and a line that counts the rest;
///          empty if the history is right.
std::vector<std::string> check_history(std::span<const CommittedEvent> committed,
                                       std::span<const StoredEvent> stored, Extent extent,
                                       std::size_t violations_max = 20);

/// `violations` as one text, a line each; for test messages.
std::string joined(const std::vector<std::string>& violations);

}  // namespace outseal::test
