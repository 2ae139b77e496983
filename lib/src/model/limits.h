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
inline constexpr std::size_t kEffectNameBytesMax = 255;
inline constexpr std::size_t kEffectAttributesBytesMax = 16'384;
inline constexpr std::size_t kEffectReferenceBytesMax = 1'024;
inline constexpr std::size_t kEffectResponseBytesMax = 1U << 20U;
inline constexpr std::size_t kEffectCompensationBytesMax = 2U << 20U;
inline constexpr std::size_t kProviderBytesMax = 255;
inline constexpr std::size_t kProviderKeyBytesMax = 255;

}  // namespace outseal
