// Benchmarks print figures measured side by side in one run, so that ratios hold on a noisy
// machine.
#pragma once

#include <algorithm>
#include <chrono>
#include <vector>

namespace outseal::bench {

/// What the service pays: a business transaction bare, with append(), and as execute().
void append(int rounds, int transactions);
/// What the relay reaches: a drain of `events` events, against a plain copy of the same rows.
void relay(int rounds, int events);

/// Seconds that `body` takes.
template <typename Body>
double seconds(Body&& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace outseal::bench
