// How much a test repeats: full counts in the plain build, fewer under the slow sanitizers.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>

namespace outseal::test {

/// The number in the environment variable `name`, for example a seed; `otherwise` if there is none.
inline std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

/// True for `tests/run.sh --soak`: loops then run their long counts.
inline bool soaking() {
  const char* text = std::getenv("OUTSEAL_SOAK");
  return text != nullptr && *text == '1';
}

/// `count` times OUTSEAL_SCALE percent (100 if it is not set), at least 1.
inline std::uint64_t scaled(std::uint64_t count) {
  return std::max<std::uint64_t>(1, count * from_environment("OUTSEAL_SCALE", 100) / 100);
}

/// Like scaled(), of `count_soak` while soaking.
inline std::uint64_t scaled(std::uint64_t count, std::uint64_t count_soak) {
  return scaled(soaking() ? count_soak : count);
}

}  // namespace outseal::test
