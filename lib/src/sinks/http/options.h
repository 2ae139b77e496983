// What a URL of the http: sink says: the endpoint, and how to talk to it.
//
//   https://host[:port]/path?outseal.NAME=VALUE&...
//
// Parameters without our prefix belong to the endpoint and are sent to it byte for byte. Secrets
// stand in files, so that no list of processes and no log shows them.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/url.h"
#include "sinks/common/parameters.h"
#include "sinks/http/fields.h"

namespace outseal::sinks {

struct HttpSinkOptions {
  static constexpr std::uint64_t kInFlightDefault = 16;
  static constexpr std::uint64_t kInFlightMax = 256;
  static constexpr std::uint64_t kEventBytesDefault = 16ULL << 20U;
  static constexpr std::uint64_t kEventBytesMin = 256;
  static constexpr std::uint64_t kEventBytesMax = 64ULL << 20U;
  /// Source: Standard Webhooks 1.0.0 suggests 15 to 30 seconds for the whole request.
  static constexpr std::uint64_t kTimeoutDefault_ms = 15'000;
  static constexpr std::uint64_t kTimeoutMax_ms = 600'000;
  static constexpr std::uint64_t kConnectDefault_ms = 5'000;
  static constexpr std::uint64_t kStallDefault_ms = 10'000;
  /// Chosen by us: longer than most deployments take, shorter than people wait for an alert.
  static constexpr std::uint64_t kGraceDefault_ms = 600'000;
  static constexpr std::uint64_t kGraceMax_ms = 86'400'000;

  std::string endpoint;  ///< Where to post; what it asks for behind '?' included.
  std::string shown;     ///< The same for logs: no parameters.
  /// "outseal.in_flight, ...": options that stand in the URL without the prefix. They may be the
  /// endpoint's own, or somebody forgot it.
  std::string without_prefix;
  /// outseal.mode=structured: the event as one JSON document, instead of headers and payload.
  bool structured = false;
  /// outseal.in_flight: requests at once. 1 gives one order for all events of the subscription.
  std::size_t in_flight = kInFlightDefault;
  /// outseal.event_bytes_max: longest request body; a longer event is refused.
  std::size_t event_bytes_max = kEventBytesDefault;
  /// outseal.timeout_ms: for a request in all, redirects included.
  std::chrono::milliseconds timeout{kTimeoutDefault_ms};
  /// outseal.connect_timeout_ms: until the connection stands, TLS included.
  std::chrono::milliseconds connect_timeout{kConnectDefault_ms};
  /// outseal.stall_timeout_ms: without a byte in either direction. A receiver must begin to answer
  /// in this time.
  std::chrono::milliseconds stall_timeout{kStallDefault_ms};
  /// outseal.grace_ms: how long an event that is answered with 404, 405 or 421 is sent again before
  /// it is refused for good. Counted from its first such answer, anew in each process.
  std::chrono::milliseconds grace{kGraceDefault_ms};
  /// outseal.secrets_file: `whsec_...` one a line. Raw bytes; each gives one signature.
  std::vector<std::string> secrets;
  /// outseal.headers_file: `Name: value` one a line, sent with every request.
  std::vector<HttpHeader> headers;
  std::string ca_file;    ///< outseal.ca_file: the only authorities to trust, PEM.
  std::string cert_file;  ///< outseal.cert_file: our certificate, PEM.
  std::string key_file;   ///< outseal.key_file: its key, PEM, not encrypted.
  std::string proxy;      ///< outseal.proxy; the environment's are not used.

  static std::span<const Parameter> parameters();
  /// @throws Error{invalid_argument} for an unusable endpoint or parameter.
  /// @throws Error{invalid_config} for a file that cannot be read or does not hold what it should;
  ///         what it holds is not repeated.
  static HttpSinkOptions from(const Url& url);
};

}  // namespace outseal::sinks
