// Checks of effects, all before anything is written or called.
#pragma once

#include "outseal/effects.h"

namespace outseal {

/// @throws Error{invalid_argument} or Error{invalid_config} naming the effect, what is wrong, and
///         what to do.
void validate_effect(const Effect& effect);

}  // namespace outseal
