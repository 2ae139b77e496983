// All kinds of sinks, and what is asked of whichever a URL names.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "base/url.h"
#include "model/sink.h"
#include "sinks/kind.h"

namespace outseal::sinks {

/// In the order in which they are listed.
std::span<const SinkKind* const> all_kinds();

/// Null for an unknown scheme.
const SinkKind* find_kind(const Url& url);
/// @throws Error{invalid_argument} for an unknown scheme, naming the known ones.
const SinkKind& kind_of(const Url& url);

/// See SinkKind::make(), and kind_of() for its errors.
std::unique_ptr<Sink> make_sink(const Url& url, const SinkContext& context);
/// See SinkKind::identity(), and kind_of() for its errors.
std::string sink_identity(const Url& url);
/// See SinkKind::is_same(). URLs of two kinds, or of an unknown one, name no same sink.
bool is_same_sink(const Url& one, const Url& other);
/// Whether the identity is all of the sink's address; false for an unknown scheme.
bool is_identity_address(const Url& url);

/// @throws Error{invalid_argument} if `sink` is the very database that the events come from.
void refuse_source_as_sink(const Url& database, const Url& sink);

}  // namespace outseal::sinks
