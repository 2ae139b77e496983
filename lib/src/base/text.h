// Small pure functions on text: UTF-8, JSON strings, topic patterns, times.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace outseal {

/// True if `bytes` is well-formed UTF-8 (no surrogates, no overlong forms).
/// Source: Unicode 15, table 3-7 "Well-Formed UTF-8 Byte Sequences".
bool is_utf8(std::string_view bytes);

/// `text` fit for a log and a database, whoever said it: control characters become spaces, what is
/// not UTF-8 becomes question marks, and at most `bytes_max` bytes stay.
std::string plain_text(std::string_view text, std::size_t bytes_max);

/// What went wrong and what to do about it, as one line of a log. `hint` may be empty.
std::string with_hint(std::string_view detail, std::string_view hint);

/// Appends `text` to `out` as a JSON string with its quotes. `text` must be UTF-8.
/// Source: RFC 8259, section 7.
void append_json_string(std::string& out, std::string_view text);

/// Appends `bytes` to `out` in standard base64 with padding (RFC 4648, section 4).
void append_base64(std::string& out, std::string_view bytes);

/// Appends `bytes` to `out` in the URL-safe base64, without padding (RFC 4648, section 5).
void append_base64url(std::string& out, std::string_view bytes);
/// Reads what append_base64url() writes and no other form of it; nothing if it is none.
std::optional<std::string> parse_base64url(std::string_view text);

/// `text` with its ASCII letters in lower case.
std::string lower_case(std::string_view text);

/// Appends `byte` as "%XX" (RFC 3986, section 2.1).
void append_percent_encoded_byte(std::string& out, char byte);

/// True if `topic` matches `pattern`, where '*' stands for any number of characters.
bool topic_matches(std::string_view pattern, std::string_view topic);
/// True if `topic` matches at least one of `patterns`.
bool topic_matches_any(const std::vector<std::string>& patterns, std::string_view topic);

/// True for times that RFC 3339 can write, from 1970 on: it has four digits for the year.
bool is_rfc3339_time(std::int64_t milliseconds);

/// Appends `milliseconds` since 1970 UTC as RFC 3339, for example "2026-01-31T23:59:59.999Z".
void append_rfc3339(std::string& out, std::int64_t milliseconds);
std::string to_rfc3339(std::int64_t milliseconds);

/// Milliseconds since 1970 UTC by the system clock.
std::int64_t wall_clock_ms();

}  // namespace outseal
