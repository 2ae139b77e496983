// How long what users hand in may be, in bytes: the tables hold no more.
#pragma once

#include <cstddef>

namespace outseal {

inline constexpr std::size_t kTopicBytesMax = 255;
inline constexpr std::size_t kKeyBytesMax = 512;
inline constexpr std::size_t kTypeBytesMax = 255;
inline constexpr std::size_t kContentTypeBytesMax = 255;
inline constexpr std::size_t kHeaderCountMax = 64;
inline constexpr std::size_t kHeaderBytesMax = 16'384;
inline constexpr std::size_t kHeaderJsonBytesMax = 65'536;  ///< The outbox holds no more.
inline constexpr std::size_t kScopeBytesMax = 255;
inline constexpr std::size_t kPrincipalBytesMax = 255;
inline constexpr std::size_t kOperationKeyBytesMax = 255;
inline constexpr std::size_t kOlderFingerprintsMax = 16;

}  // namespace outseal
