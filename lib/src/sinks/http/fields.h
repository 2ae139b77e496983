// Header fields of HTTP: what may be one, what is ours, how text becomes one.
#pragma once

#include <string>
#include <string_view>
#include <utility>

namespace outseal::sinks {

/// One header field: name and value.
using HttpHeader = std::pair<std::string, std::string>;

/// True if `name` may stand for a header field.
/// Source: RFC 9110, section 5.6.2 "Tokens".
bool is_http_token(std::string_view name);
/// True if `value` can be sent as a header field: no control characters, no space at its ends.
bool is_http_value(std::string_view value);
/// True for a header field that the sink, the HTTP library or the connection sets.
bool is_reserved_header(std::string_view name);

/// Appends `text` with all but RFC 3986's unreserved characters percent-encoded.
void append_percent_encoded(std::string& out, std::string_view text);

}  // namespace outseal::sinks
