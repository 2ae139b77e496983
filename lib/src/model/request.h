// Whether two requests with one key are the same.
#pragma once

#include <string_view>

#include "outseal/idempotency.h"

namespace outseal {

/// Whether `operation` is the request that was recorded with `fingerprint` of `version`. Without a
/// fingerprint of that version there is nothing to compare, and the key alone decides.
bool is_request_of(const Operation& operation, std::string_view fingerprint, int version);

}  // namespace outseal
