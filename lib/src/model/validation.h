// Checks of what users hand in, all before anything is written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/limits.h"
#include "outseal/idempotency.h"
#include "outseal/outbox.h"

namespace outseal {

/// True for media types whose payload is text: JSON, +json, text/*.
bool is_text_content_type(std::string_view content_type);

/// @throws Error{invalid_argument} naming the field, its limit and what to do.
void check_text(std::string_view operation, const std::string& field, std::string_view value,
                std::size_t min, std::size_t max);
void validate_event(const Event& event, const AppendOptions& options);
void validate_operation(std::string_view caller, const Operation& operation);
void validate_reply(const Reply& reply, const ExecuteOptions& options);

/// Collects the faults of an options struct and throws them all at once.
class ConfigErrors {
 public:
  explicit ConfigErrors(std::string_view what) : what_{what} {}
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
