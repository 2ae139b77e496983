// The chain over a subscription's batches: whoever changes one batch changes every later link.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/hash.h"
#include "outseal/ids.h"

namespace outseal {

/// SHA-256 over the previous link (32 bytes), the batch's hash (32 bytes), its first position and
/// its count (8 bytes each, big-endian). The first link is 32 zero bytes.
inline std::string chain_hash(std::string_view previous, std::string_view batch_hash,
                              Position first, std::uint64_t count) {
  Sha256 hash;
  hash.add(previous);
  hash.add(batch_hash);
  hash.add_number(first.value());
  hash.add_number(count);
  return hash.finish();
}

}  // namespace outseal
