#include "sinks/http/options.h"

#include <fstream>
#include <functional>

#include "outseal/error.h"
#include "sinks/common/parameter_file.h"
#include "sinks/http/endpoint.h"
#include "sinks/http/signature.h"

namespace outseal::sinks {
namespace {

constexpr std::string_view kOptions =
    "outseal.mode outseal.in_flight outseal.event_bytes_max outseal.timeout_ms"
    " outseal.connect_timeout_ms outseal.stall_timeout_ms outseal.grace_ms"
    " outseal.secrets_file outseal.headers_file outseal.ca_file outseal.cert_file outseal.key_file "
    "outseal.proxy";
/// Chosen by us: while one secret replaces another there are two.
constexpr std::size_t kSecretsMax = 8;
constexpr std::size_t kHeadersMax = 64;

[[noreturn]] void refuse(const std::string& message, const std::string& hint) {
  throw Error{ErrorCode::invalid_argument, "http sink", message, {.hint = hint}};
}

[[noreturn]] void refuse_file(const std::string& message, const std::string& hint = {}) {
  throw Error{ErrorCode::invalid_config, "http sink", message, {.hint = hint}};
}

std::string_view without_spaces(std::string_view text) {
  const auto begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") + 1 - begin);
}

/// The value of outseal.`name`; empty if it is not given.
std::string parameter(const Url& url, std::string_view name) {
  return url.text(std::string{kParameterPrefix} + std::string{name});
}

/// Gives each line of the file in outseal.`name` to `take`, which says what is wrong with it.
/// Empty lines and those that begin with '#' are skipped.
void read_lines(const Url& url, const std::string& name,
                const std::function<std::string(std::string_view)>& take) {
  const std::string path = parameter(url, name);
  if (path.empty()) return;
  std::ifstream file =
      open_parameter_file(url, std::string{kParameterPrefix} + name, path, Secrecy::secret);
  std::string line;
  std::size_t taken = 0;
  for (std::size_t number = 1; std::getline(file, line); ++number) {
    const std::string_view text = without_spaces(line);
    if (text.empty() || text.starts_with('#')) continue;
    if (const std::string fault = take(text); !fault.empty())
      refuse_file(path + ":" + std::to_string(number) + ": " + fault);
    ++taken;
  }
  if (taken == 0) refuse_file("outseal." + name + " holds nothing: " + path);
}

void read_secrets(const Url& url, std::vector<std::string>& secrets) {
  read_lines(url, "secrets_file", [&](std::string_view line) -> std::string {
    if (secrets.size() == kSecretsMax) return "more than 8 secrets";
    std::string secret = parse_webhook_secret(line);
    if (secret.empty()) return "not a secret of the form whsec_<base64 of 24 to 64 bytes>";
    secrets.push_back(std::move(secret));
    return {};
  });
}

void read_headers(const Url& url, std::vector<HttpHeader>& headers) {
  read_lines(url, "headers_file", [&](std::string_view line) -> std::string {
    if (headers.size() == kHeadersMax) return "more than 64 headers";
    const auto colon = line.find(':');
    if (colon == std::string_view::npos || !is_http_token(line.substr(0, colon)))
      return "not of the form Name: value";
    const std::string_view name = line.substr(0, colon);
    const std::string_view value = without_spaces(line.substr(colon + 1));
    if (is_reserved_header(name)) return "the header \"" + std::string{name} + "\" is the sink's";
    if (value.empty() || !is_http_value(value)) return "not a header value";
    headers.emplace_back(name, value);
    return {};
  });
}

std::string endpoint_of(const Url& url) {
  const std::string text = url.scheme + ":" + url.rest + url.endpoint_query;
  if (text.find('#') != std::string::npos)
    refuse("a URL to post to has no fragment", "remove the '#' and what follows it");
  const auto origin = HttpOrigin::of(text);
  if (!url.rest.starts_with("//") || url.rest.starts_with("///") || !origin ||
      !is_port(origin->port))
    refuse(
        "\"" + url.redacted() + "\" is not a URL to post to",
        "write it as https://HOST/PATH or https://HOST:PORT/PATH, the port from 1 to 65535, what "
        "is not ASCII percent-encoded");
  if (origin->has_user)
    refuse("the URL holds a user name or password",
           "put an Authorization header into the file of outseal.headers_file");
  return text;
}

std::string options_without_prefix(const Url& url) {
  const std::string options = " " + std::string{kOptions} + " ";
  std::string found;
  for (std::string_view query = url.endpoint_query; !query.empty();) {
    query.remove_prefix(1);  // '?' or '&'.
    const std::string_view parameter = query.substr(0, query.find('&'));
    query.remove_prefix(parameter.size());
    const std::string name =
        std::string{kParameterPrefix} + std::string{parameter.substr(0, parameter.find('='))};
    if (options.find(" " + name + " ") == std::string::npos) continue;
    found += (found.empty() ? "" : ", ") + name;
  }
  return found;
}

std::string proxy_of(const Url& url) {
  std::string proxy = parameter(url, "proxy");
  if (proxy.empty()) return proxy;
  const auto origin = HttpOrigin::of(proxy);
  if (!origin || (origin->scheme != "http" && origin->scheme != "https") || origin->has_user ||
      !is_port(origin->port))
    refuse("outseal.proxy is not a URL of the form http://host:port",
           "http and https proxies that want no password can be used");
  return proxy;
}

std::chrono::milliseconds milliseconds(const Url& url, const char* name, std::uint64_t fallback) {
  return std::chrono::milliseconds{url.number(name, fallback, 1, HttpSinkOptions::kTimeoutMax_ms)};
}

}  // namespace

HttpSinkOptions HttpSinkOptions::from(const Url& url) {
  url.refuse_parameters_except(kOptions);
  HttpSinkOptions options;
  options.endpoint = endpoint_of(url);
  options.shown = url.redacted();
  options.without_prefix = options_without_prefix(url);
  if (const std::string mode = parameter(url, "mode"); mode == "structured")
    options.structured = true;
  else if (!mode.empty() && mode != "binary")
    refuse("outseal.mode is neither binary nor structured", "leave it out for binary");
  options.in_flight =
      static_cast<std::size_t>(url.number("outseal.in_flight", kInFlightDefault, 1, kInFlightMax));
  options.event_bytes_max = static_cast<std::size_t>(
      url.number("outseal.event_bytes_max", kEventBytesDefault, kEventBytesMin, kEventBytesMax));
  options.timeout = milliseconds(url, "outseal.timeout_ms", kTimeoutDefault_ms);
  options.connect_timeout = milliseconds(url, "outseal.connect_timeout_ms", kConnectDefault_ms);
  options.stall_timeout = milliseconds(url, "outseal.stall_timeout_ms", kStallDefault_ms);
  options.grace = std::chrono::milliseconds{url.number(
      "outseal.grace_ms", HttpSinkOptions::kGraceDefault_ms, 0, HttpSinkOptions::kGraceMax_ms)};
  read_secrets(url, options.secrets);
  read_headers(url, options.headers);
  options.ca_file = readable_file(url, "outseal.ca_file", Secrecy::open);
  options.cert_file = readable_file(url, "outseal.cert_file", Secrecy::open);
  options.key_file = readable_file(url, "outseal.key_file", Secrecy::secret);
  options.proxy = proxy_of(url);
  if (options.cert_file.empty() != options.key_file.empty())
    refuse("outseal.cert_file and outseal.key_file belong together", "give both or none");
  return options;
}

}  // namespace outseal::sinks
