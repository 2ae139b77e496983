// What a nats: URL says.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/url.h"
#include "sinks/common/parameters.h"

namespace outseal::sinks {

/// nats://[USER[:PASSWORD]@]HOST[:PORT][,HOST[:PORT]...]/STREAM?NAME=VALUE&...
struct NatsSinkOptions {
  static constexpr std::size_t kInFlightDefault = 4'096;
  static constexpr std::size_t kInFlightMax = 16'384;
  static constexpr std::uint64_t kTimeoutDefault_ms = 5'000;
  static constexpr std::uint64_t kTimeoutMin_ms = 100;
  static constexpr std::uint64_t kTimeoutMax_ms = 600'000;
  static constexpr std::size_t kReplicasMax = 5;

  std::vector<std::string> servers;  ///< nats://HOST:PORT each.
  std::string user = {};
  std::string password = {};  ///< As it stands in the URL; a file is better.
  std::string password_file;  ///< Read each time that the sink is opened; its first line counts.
  std::string creds;          ///< A .creds file (JWT and seed).
  std::string stream = {};
  std::string subject;  ///< See NatsSubject.
  /// Others write the stream too: no condition on its sequence, so duplicates are only recognised
  /// within the stream's duplicate window.
  bool shared = false;
  bool create = false;                       ///< Create the stream if it is missing.
  std::size_t replicas = 1;                  ///< Of a stream that is created.
  bool allow_memory = false;                 ///< Take a stream that is gone with its server.
  std::size_t in_flight = kInFlightDefault;  ///< Messages sent and not yet acknowledged.
  std::chrono::milliseconds timeout{kTimeoutDefault_ms};  ///< For connecting and for each answer.
  bool tls = false;       ///< Refuse a server without TLS. One that wants TLS always gets it.
  std::string ca_file;    ///< Trust these instead of the system's. Implies tls, as do the next two.
  std::string cert_file;  ///< Of ourselves, with key_file.
  std::string key_file;

  static std::span<const Parameter> parameters();
  /// @throws Error{invalid_argument} naming the parameter; never its value.
  /// @throws Error{invalid_config} for a file that cannot be read.
  static NatsSinkOptions from(const Url& url);
};

/// True if both URLs name one stream, by at least one server in common, however they are written.
bool is_same_stream(const Url& one, const Url& other);

}  // namespace outseal::sinks
