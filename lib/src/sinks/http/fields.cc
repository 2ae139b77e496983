#include "sinks/http/fields.h"

#include <algorithm>
#include <array>

#include "base/text.h"

namespace outseal::sinks {
namespace {

bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

}  // namespace

bool is_http_token(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return is_alphanumeric(c) ||
           std::string_view{"!#$%&'*+-.^_`|~"}.find(c) != std::string_view::npos;
  });
}

bool is_http_value(std::string_view value) {
  if (value.starts_with(' ') || value.ends_with(' ')) return false;
  return std::none_of(value.begin(), value.end(),
                      [](char c) { return (c >= 0 && c < ' ') || c == '\x7f'; });
}

bool is_reserved_header(std::string_view name) {
  static constexpr std::array kPrefixes{"ce-", "content-", "outseal-", "webhook-"};
  static constexpr std::array kNames{
      "accept-encoding", "connection", "date", "expect",  "host",
      "idempotency-key", "keep-alive", "te",   "trailer", "transfer-encoding",
      "upgrade",         "via"};
  const std::string lower = lower_case(name);
  return std::any_of(kPrefixes.begin(), kPrefixes.end(),
                     [&](const char* prefix) { return lower.starts_with(prefix); }) ||
         std::find(kNames.begin(), kNames.end(), lower) != kNames.end();
}

void append_percent_encoded(std::string& out, std::string_view text) {
  for (const char c : text) {
    if (is_alphanumeric(c) || std::string_view{"-._~"}.find(c) != std::string_view::npos)
      out += c;
    else
      append_percent_encoded_byte(out, c);
  }
}

}  // namespace outseal::sinks
