#pragma once

#include <memory>

#include "sinks/factory.h"

namespace outseal::sinks {

/// @throws Error{invalid_argument} for a parameter that it does not know.
std::unique_ptr<Sink> make_inbox_sink(const Url& url, const SinkContext& context);

}  // namespace outseal::sinks
