// Checks of what users hand in, all before anything is written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "outseal/idempotency.h"
#include "outseal/outbox.h"

namespace outseal {

inline constexpr std::size_t kTopicBytesMax = 255;
inline constexpr std::size_t kKeyBytesMax = 512;
inline constexpr std::size_t kTypeBytesMax = 255;
inline constexpr std::size_t kContentTypeBytesMax = 255;
inline constexpr std::size_t kHeaderCountMax = 64;
inline constexpr std::size_t kHeaderBytesMax = 16'384;
inline constexpr std::size_t kScopeBytesMax = 255;
inline constexpr std::size_t kPrincipalBytesMax = 255;
inline constexpr std::size_t kOperationKeyBytesMax = 255;

/// True for media types whose payload is text: JSON, +json, text/*.
bool is_text_content_type(std::string_view content_type);

/// @throws Error{invalid_argument} naming the field, its limit and what to do.
void validate_event(const Event& event, const AppendOptions& options);
void validate_operation(const Operation& operation);
void validate_reply(const Reply& reply, const ExecuteOptions& options);

/// Collects the faults of an options struct and throws them all at once.
class Faults {
 public:
  explicit Faults(std::string_view what) : what_{what} {}
  /// Notes that `field` is outside of [min, max].
  void check_range(std::string_view field, std::int64_t value, std::int64_t min, std::int64_t max);
  void add(std::string fault) { faults_.push_back(std::move(fault)); }
  /// @throws Error{invalid_config} if there is any fault.
  void raise() const;

 private:
  std::string what_;
  std::vector<std::string> faults_;
};

}  // namespace outseal
