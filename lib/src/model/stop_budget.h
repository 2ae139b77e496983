// How the time of a stop is divided.
#pragma once

#include <chrono>

namespace outseal {

/// The longest that each part of a relay may take after SIGTERM. Chosen by us; supervisors kill
/// after 10 s (docker stop) or more.
struct StopBudget {
  using Milliseconds = std::chrono::milliseconds;

  /// Until the process has ended, as tools/README.md promises.
  static constexpr Milliseconds kProcess{10'000};
  /// Until a subscription has ended: whatever hangs then is left to the end of the process.
  static constexpr Milliseconds kSubscription{9'500};
  /// Until the sink has answered: a delivery under way is abandoned then.
  static constexpr Milliseconds kDelivery{8'000};
  /// How long one write waits for the services' writers, at any time.
  static constexpr Milliseconds kWrite{4'000};

  // Before a relay has ended it may have to write twice: the acknowledgement, then the lease.
  static_assert(2 * kWrite <= kDelivery);
  static_assert(kDelivery < kSubscription);
  static_assert(kSubscription < kProcess);
};

}  // namespace outseal
