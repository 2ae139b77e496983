// Makes a sink from its URL.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/url.h"
#include "model/sink.h"

namespace outseal::sinks {

/// What every sink is told about its subscription.
struct SinkContext {
  std::string event_source;  ///< CloudEvents "source" of the events.
  /// What positions count in, for receivers: one name per database and subscription.
  std::string stream = {};
};

SinkContext context_of(std::string_view event_source, std::string_view subscription);

/// @throws Error{invalid_argument} for an unknown scheme or parameter, naming the known ones.
std::unique_ptr<Sink> make_sink(const Url& url, const SinkContext& context);

/// The URL by which a subscription remembers its sink: redacted, and a file by its absolute path,
/// so that it is the same sink from every folder.
std::string sink_identity(const Url& url);

/// @throws Error{invalid_argument} if `sink` is the very file that the events come from.
void refuse_source_as_sink(const Url& database, const Url& sink);

/// True for two URLs of one sink, as far as they tell: a default may be written out in one of them.
bool is_same_sink(const Url& one, const Url& other);

/// Whether several subscriptions may have the same sink. Where it counts the positions of one, each
/// would take the other's events for a fork.
bool takes_several_subscriptions(const Url& url);

/// One line per sink for `--help`: URL form and what it guarantees.
std::string sink_help();

}  // namespace outseal::sinks
