// How a call is observed.
#pragma once

#include <chrono>

#include "outseal/error.h"
#include "outseal/observer.h"

namespace outseal::store {

/// Tells `observer`, if there is one. What it throws is ignored: it cannot fail what has happened.
template <typename Seen>
void tell(const Observer& observer, const Seen& seen) noexcept {
  try {
    if (observer) observer(seen);
  } catch (...) {  // NOLINT(bugprone-empty-catch)
  }
}

/// Runs `call`, then tells `observer`, if there is one, how it went. `call` notes in `seen` what
/// only it knows.
template <typename Seen, typename Body>
auto observed(const Observer& observer, Seen& seen, Body&& call) {
  if (!observer) return call();
  struct Telling {
    const Observer& observer;
    Seen& seen;
    std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
    ~Telling() {
      seen.duration = std::chrono::steady_clock::now() - start;
      tell(observer, seen);
    }
  };
  const Telling telling{observer, seen};
  try {
    return call();
  } catch (const Error& error) {  // It lives until it is caught, behind `telling`.
    seen.threw = true;
    seen.error = &error;
    throw;
  } catch (...) {
    seen.threw = true;
    throw;
  }
}

}  // namespace outseal::store
