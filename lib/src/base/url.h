// URLs of databases and sinks: `scheme:rest?name=value&...`.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace outseal {

/// What our parameters begin with in a URL of http or https; the others are the endpoint's.
inline constexpr std::string_view kParameterPrefix = "outseal.";

/// A database or sink URL in its parts, as the user typed it.
struct Url {
  std::string scheme;                             ///< "sqlite", "file", "nats", ...
  std::string rest;                               ///< All between the colon and the question mark.
  std::map<std::string, std::string> parameters;  ///< Ours, percent-decoded.
  /// The endpoint's parameters (http and https only) byte for byte, '?' included; may be empty.
  std::string endpoint_query;

  /// Splits `text`; `what` names it in errors ("--db", "--sink").
  /// @throws Error{invalid_argument} if there is no scheme or one of our parameters has no value.
  static Url parse(std::string_view what, std::string_view text);

  /// The URL without any password and query parameters; safe to log, to store and to compare.
  std::string redacted() const;

  /// A parameter as it was given; empty if it is absent.
  std::string text(std::string_view name) const;

  /// A parameter as a whole number, or `fallback` if it is absent.
  /// @throws Error{invalid_argument} if it is no number or outside of [min, max].
  std::uint64_t number(std::string_view name, std::uint64_t fallback, std::uint64_t min,
                       std::uint64_t max) const;

  /// `known` is separated by spaces.
  /// @throws Error{invalid_argument} if there is any other parameter.
  void refuse_parameters_except(std::string_view known) const;
};

/// True for the number of a TCP port, 1 to 65535.
bool is_port(std::string_view text);

/// Appends `text` to `out` with each %XX as the byte that it stands for.
/// @returns false if a percent sign is not followed by two hexadecimal digits.
bool percent_decode(std::string_view text, std::string& out);

}  // namespace outseal
