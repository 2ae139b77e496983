// The event that undoes an effect, as it is kept with its outcome.
#pragma once

#include <string>
#include <string_view>

#include "outseal/outbox.h"

namespace outseal::operation {

/// As JSON, with a payload of any bytes.
/// @throws Error{invalid_argument} if the event breaks a limit, or is too long to be kept.
std::string compensation_text(const Event& event);
/// @throws Error{storage} if it is not what compensation_text() has written.
Event read_compensation(std::string_view text);

}  // namespace outseal::operation
