// The sink that an operator named for a subscription, by flag, variable or configuration file.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/url.h"
#include "cli/options.h"
#include "model/sink.h"

namespace outseal::tools {

/// Errors about it say where its URL stands and whose sink it is.
class SinkChoice {
 public:
  /// Opens nothing.
  /// @throws Error{invalid_argument} for a malformed URL, and for the database itself as its sink.
  explicit SinkChoice(const Settings& settings);

  const Url& url() const { return url_; }
  /// By what the subscription remembers it, see sinks::sink_identity().
  const std::string& identity() const { return identity_; }
  /// @throws Error{invalid_argument} or Error{invalid_config} for an unknown scheme, an unusable
  ///         parameter, or a file that it names and that cannot be read.
  std::unique_ptr<Sink> make(std::string_view event_source) const;

 private:
  std::string subscription_;
  std::string origin_;
  Url url_;
  std::string identity_;
};

}  // namespace outseal::tools
