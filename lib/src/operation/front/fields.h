// Header fields of requests, which strangers write. Pure functions on text.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "outseal/http_front.h"

namespace outseal::front {

/// The longest field value that is read at all. A key has 255 characters, each perhaps escaped.
inline constexpr std::size_t kFieldBytesMax = 8'192;

/// What a request's Idempotency-Key says.
struct KeyField {
  enum class Kind { none, key, malformed, repeated };
  Kind kind = Kind::none;
  std::string key = {};    ///< The string without quotes and escapes.
  std::string_view why{};  ///< Of a malformed one, in words.
};

/// Reads it as an Item of structured fields that is a String, as the draft wants it.
/// `accept_token`: also as a bare word without quotes, in which clients often send a UUID. Source:
/// RFC 8941, sections 3.3.3 and 4.2; draft-ietf-httpapi-idempotency-key-header, section 2.
KeyField read_key(const HttpFields& fields, bool accept_token, std::size_t bytes_max);

/// What a request prefers; what is not understood is not preferred.
struct Preferences {
  std::optional<std::chrono::seconds> wait;
  bool respond_async = false;
};
/// Source: RFC 7240, sections 2 and 4.
Preferences read_preferences(const HttpFields& fields);

/// Whether a response may have such a field: a token and visible text, with nothing that could be
/// taken for the end of a line.
/// Source: RFC 9110, sections 5.1 and 5.5.
bool is_sound_field(std::string_view name, std::string_view value);

}  // namespace outseal::front
