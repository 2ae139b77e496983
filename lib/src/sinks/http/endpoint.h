// Whom a URL of the http: sink speaks to.
#pragma once

#include <optional>
#include <string>

namespace outseal::sinks {

/// Whom a URL speaks to.
struct HttpOrigin {
  std::string scheme;
  std::string host;
  std::string port;
  bool has_user = false;  ///< Credentials stand in the URL.

  /// Nothing if `url` is not an absolute URL.
  static std::optional<HttpOrigin> of(const std::string& url);

  /// "https://host:port", for humans.
  std::string to_string() const { return scheme + "://" + host + ":" + port; }
  friend bool operator==(const HttpOrigin&, const HttpOrigin&) = default;
};

}  // namespace outseal::sinks
