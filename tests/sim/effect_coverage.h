// What happened in schedules of operations with effects.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace outseal::sim {

/// What happened in schedules, to see that they reach what they are for.
struct EffectCoverage {
  std::uint64_t crashes = 0;
  std::uint64_t takeovers = 0;
  std::uint64_t lost = 0;  ///< Attempts that met another fence.
  std::uint64_t late_requests = 0;
  std::uint64_t reruns = 0;
  std::uint64_t asked = 0;
  std::uint64_t cancelled = 0;
  std::uint64_t handed_over = 0;
  std::uint64_t decided = 0;
  std::uint64_t compensated = 0;
  std::uint64_t succeeded = 0;
  std::uint64_t failed = 0;
  std::uint64_t replayed = 0;
  std::uint64_t expired = 0;

  EffectCoverage& operator+=(const EffectCoverage& other);
  /// The names of those that never happened.
  std::vector<std::string> missing() const;
};

}  // namespace outseal::sim
