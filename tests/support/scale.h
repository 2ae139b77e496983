// How much a test repeats: full counts in the plain build, fewer under the slow sanitizers.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>

namespace outseal::test {

/// True for `tests/run.sh --soak`: loops then run their long counts.
inline bool soaking() {
  const char* text = std::getenv("OUTSEAL_SOAK");
  return text != nullptr && *text == '1';
}

/// `count` times OUTSEAL_SCALE percent (100 if it is not set), at least 1.
inline std::uint64_t scaled(std::uint64_t count) {
  const char* text = std::getenv("OUTSEAL_SCALE");
  const std::uint64_t percent = text == nullptr ? 100 : std::strtoull(text, nullptr, 10);
  return std::max<std::uint64_t>(1, count * percent / 100);
}

/// Like scaled(), of `count_soak` while soaking.
inline std::uint64_t scaled(std::uint64_t count, std::uint64_t count_soak) {
  return scaled(soaking() ? count_soak : count);
}

}  // namespace outseal::test
