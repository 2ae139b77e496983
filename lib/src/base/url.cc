#include "base/url.h"

#include <algorithm>
#include <charconv>

#include "outseal/error.h"

namespace outseal {
namespace {

[[noreturn]] void refuse(std::string_view what, const std::string& message,
                         const std::string& hint = {}) {
  throw Error{ErrorCode::invalid_argument, what, message, {.hint = hint}};
}

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Source: RFC 3986, section 3.1.
bool is_scheme(std::string_view text) {
  return !text.empty() && is_letter(text.front()) &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return is_letter(c) || is_digit(c) || c == '+' || c == '-' || c == '.';
         });
}

int hex_value(char c) {
  if (is_digit(c)) return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/// Error texts name a parameter, never its value: it may be a password.
void add_parameter(std::string_view what, std::string_view text,
                   std::map<std::string, std::string>& parameters) {
  const auto equals = text.find('=');
  if (equals == 0 || equals == std::string_view::npos)
    refuse(what, "a parameter behind '?' is not of the form name=value",
           "'?' begins the parameters: a path that contains one cannot be given");
  std::string name;
  std::string value;
  if (!percent_decode(text.substr(0, equals), name))
    refuse(what, "the name of a parameter has a '%' without two hexadecimal digits");
  if (equals + 1 == text.size())
    refuse(what, "parameter \"" + name + "\" is empty", "give it a value, or leave it out");
  if (!percent_decode(text.substr(equals + 1), value))
    refuse(what, "parameter \"" + name + "\" has a '%' without two hexadecimal digits");
  if (!parameters.emplace(name, value).second)
    refuse(what, "parameter \"" + name + "\" is given twice");
}

}  // namespace

Url Url::parse(std::string_view what, std::string_view text) {
  // Only what stands before the first colon is repeated in an error: no password can be there.
  const auto colon = text.find(':');
  const std::string_view scheme = text.substr(0, colon);
  if (colon == std::string_view::npos || !is_scheme(scheme))
    refuse(what, "\"" + std::string{scheme} + "\" is not a URL: the scheme is missing",
           "write it as scheme:rest, for example sqlite:orders.db or file:events.ndjson");
  Url url;
  for (const char c : scheme) url.scheme += static_cast<char>(is_digit(c) ? c : c | 0x20);
  const auto question = text.find('?', colon);
  url.rest = text.substr(colon + 1, question - colon - 1);
  const bool has_endpoint = url.scheme == "http" || url.scheme == "https";
  for (auto begin = question; begin != std::string_view::npos;) {
    const auto end = text.find('&', begin + 1);
    const std::string_view parameter = text.substr(begin + 1, end - begin - 1);
    const bool is_ours = !has_endpoint || parameter.starts_with(kParameterPrefix);
    if (!is_ours)
      url.endpoint_query += text.substr(begin, end - begin);
    else if (!parameter.empty() || end != std::string_view::npos)
      add_parameter(what, parameter, url.parameters);
    begin = end;
  }
  if (!url.endpoint_query.empty()) url.endpoint_query.front() = '?';
  return url;
}

std::string Url::redacted() const {
  const std::string text = scheme + ":" + rest;
  // Credentials are only possible in "//user:password@host"; "///path" has no host. The last '@'
  // counts: whoever forgot to encode one in a password must not find it in a log.
  const std::size_t begin = scheme.size() + 3;
  if (rest.size() < 3 || rest.compare(0, 2, "//") != 0 || rest[2] == '/') return text;
  const auto at = text.rfind('@');
  const auto colon = text.find(':', begin);
  if (at == std::string::npos || at < begin || colon > at) return text;
  return text.substr(0, colon) + text.substr(at);
}

std::string Url::text(std::string_view name) const {
  const auto found = parameters.find(std::string{name});
  return found == parameters.end() ? std::string{} : found->second;
}

std::uint64_t Url::number(std::string_view name, std::uint64_t fallback, std::uint64_t min,
                          std::uint64_t max) const {
  const auto found = parameters.find(std::string{name});
  if (found == parameters.end()) return fallback;
  const std::string& text = found->second;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < min || value > max)
    refuse(scheme + " URL", "parameter \"" + std::string{name} + "\" must be a whole number from " +
                                std::to_string(min) + " to " + std::to_string(max));
  return value;
}

void Url::refuse_parameters_except(std::string_view known) const {
  const std::string list = " " + std::string{known} + " ";
  for (const auto& [name, value] : parameters) {
    if (name.find(' ') == std::string::npos && list.find(" " + name + " ") != std::string::npos)
      continue;
    refuse(scheme + " URL", "unknown parameter \"" + name + "\"",
           known.empty() ? "a " + scheme + " URL takes no parameters, and its path no '?'"
                         : "known parameters: " + std::string{known});
  }
}

bool is_port(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc{} && end == text.data() + text.size() && port != 0;
}

bool percent_decode(std::string_view text, std::string& out) {
  for (std::size_t place = 0; place < text.size(); ++place) {
    if (text[place] != '%') {
      out += text[place];
      continue;
    }
    if (text.size() - place < 3) return false;
    const int high = hex_value(text[place + 1]);
    const int low = hex_value(text[place + 2]);
    if (high < 0 || low < 0) return false;
    out += static_cast<char>(high * 16 + low);
    place += 2;
  }
  return true;
}

}  // namespace outseal
