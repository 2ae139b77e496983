// What the URL of a SQL inbox says.
#pragma once

#include <cstddef>
#include <span>

#include "base/url.h"
#include "sinks/common/parameters.h"

namespace outseal::sinks {

struct InboxSinkOptions {
  /// Every event that append() takes fits: 64 MiB of payload, and its other fields.
  static constexpr std::size_t kEventBytesDefault = 65U << 20U;
  static constexpr std::size_t kEventBytesMin = 256;
  /// What both databases can hold in one value, and in memory several times over.
  static constexpr std::size_t kEventBytesMax = 256U << 20U;

  /// Largest event, all fields together; a larger one is refused.
  std::size_t event_bytes_max = kEventBytesDefault;

  static std::span<const Parameter> parameters();
  /// @throws Error{invalid_argument} for an unusable parameter.
  static InboxSinkOptions from(const Url& url, OtherParameters others);
};

}  // namespace outseal::sinks
