#include "sinks/http/options.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <functional>

#include "base/text.h"
#include "base/webhook_signature.h"
#include "outseal/error.h"
#include "sinks/http/endpoint.h"

namespace outseal::sinks {
namespace {

using Kind = Parameter::Kind;

constexpr std::array kRows{
    Parameter{.name = "outseal.mode",
              .kind = Kind::choice,
              .words = "binary structured",
              .otherwise = "binary",
              .help = "CloudEvents content mode"},
    Parameter{.name = "outseal.in_flight",
              .kind = Kind::number,
              .fallback = HttpSinkOptions::kInFlightDefault,
              .min = 1,
              .max = HttpSinkOptions::kInFlightMax,
              .help = "requests at once; at most four of them on new connections, because many "
                      "receivers queue no more than five"},
    Parameter{.name = "outseal.event_bytes_max",
              .kind = Kind::number,
              .fallback = HttpSinkOptions::kEventBytesDefault,
              .min = HttpSinkOptions::kEventBytesMin,
              .max = HttpSinkOptions::kEventBytesMax,
              .help = "maximum length of a request body; longer events are parked"},
    Parameter{.name = "outseal.timeout_ms",
              .kind = Kind::number,
              .fallback = HttpSinkOptions::kTimeoutDefault_ms,
              .min = 1,
              .max = HttpSinkOptions::kTimeoutMax_ms,
              .help = "for a whole request, redirects included"},
    Parameter{.name = "outseal.connect_timeout_ms",
              .kind = Kind::number,
              .fallback = HttpSinkOptions::kConnectDefault_ms,
              .min = 1,
              .max = HttpSinkOptions::kTimeoutMax_ms,
              .help = "until connected, TLS included"},
    Parameter{.name = "outseal.stall_timeout_ms",
              .kind = Kind::number,
              .fallback = HttpSinkOptions::kStallDefault_ms,
              .min = 1,
              .max = HttpSinkOptions::kTimeoutMax_ms,
              .help = "without a byte in either direction"},
    Parameter{.name = "outseal.grace_ms",
              .kind = Kind::number,
              .fallback = HttpSinkOptions::kGraceDefault_ms,
              .min = 0,
              .max = HttpSinkOptions::kGraceMax_ms,
              .help = "how long 404, 405 and 421 are retried per event before they are final; the "
                      "count starts again after a restart. 0: final at once"},
    Parameter{.name = "outseal.secrets_file",
              .kind = Kind::secret_file,
              .help = "1 to 8 secrets `whsec_…`, one a line (24 to 64 bytes in base64); several "
                      "while one replaces another"},
    Parameter{.name = "outseal.headers_file",
              .kind = Kind::secret_file,
              .help = "1 to 64 headers `Name: value`, one a line, for example Authorization"},
    Parameter{.name = "outseal.ca_file",
              .kind = Kind::file,
              .otherwise = "the system's",
              .help = "PEM; the only authorities to trust. Verification cannot be switched off"},
    Parameter{.name = "outseal.cert_file",
              .kind = Kind::file,
              .help = "PEM; the relay's own certificate, with outseal.key_file"},
    Parameter{.name = "outseal.key_file",
              .kind = Kind::secret_file,
              .help = "PEM; its key, which is not encrypted"},
    Parameter{.name = "outseal.proxy",
              .otherwise = "none",
              .help = "`http://host:port` or `https://host:port`; the environment's proxies are "
                      "not used"},
};

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

/// Gives each line of the file that parameter `name` gives to `take`, which says what is wrong with
/// it. Empty lines and those that begin with '#' are skipped.
void read_lines(const Parameters& given, const std::string& name,
                const std::function<std::string(std::string_view)>& take) {
  if (!given.has(name)) return;
  const std::string path = given.text(name);
  std::ifstream file = given.open_file(name);
  std::string line;
  std::size_t taken = 0;
  for (std::size_t number = 1; std::getline(file, line); ++number) {
    const std::string_view text = without_spaces(line);
    if (text.empty() || text.starts_with('#')) continue;
    if (const std::string fault = take(text); !fault.empty())
      refuse_file(path + ":" + std::to_string(number) + ": " + fault);
    ++taken;
  }
  if (taken == 0) refuse_file(name + " holds nothing: " + path);
}

void read_secrets(const Parameters& given, std::vector<std::string>& secrets) {
  read_lines(given, "outseal.secrets_file", [&](std::string_view line) -> std::string {
    if (secrets.size() == kSecretsMax) return "more than 8 secrets";
    std::string secret = parse_webhook_secret(line);
    if (secret.empty()) return "not a secret of the form whsec_<base64 of 24 to 64 bytes>";
    secrets.push_back(std::move(secret));
    return {};
  });
}

void read_headers(const Parameters& given, std::vector<HttpHeader>& headers) {
  read_lines(given, "outseal.headers_file", [&](std::string_view line) -> std::string {
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
  std::string found;
  for (std::string_view query = url.endpoint_query; !query.empty();) {
    query.remove_prefix(1);  // '?' or '&'.
    const std::string_view parameter = query.substr(0, query.find('&'));
    query.remove_prefix(parameter.size());
    const std::string name =
        std::string{kParameterPrefix} + std::string{parameter.substr(0, parameter.find('='))};
    if (std::none_of(kRows.begin(), kRows.end(), [&](const auto& row) { return row.name == name; }))
      continue;
    found += (found.empty() ? "" : ", ") + name;
  }
  return found;
}

std::string proxy_of(const Parameters& given) {
  std::string proxy = given.text("outseal.proxy");
  if (proxy.empty()) return proxy;
  const auto origin = HttpOrigin::of(proxy);
  if (!origin || (origin->scheme != "http" && origin->scheme != "https") || origin->has_user ||
      !is_port(origin->port) || lower_case(proxy) != origin->to_string())
    refuse("outseal.proxy is not a URL of the form http://host:port",
           "http and https proxies that want no password can be used");
  return proxy;
}

}  // namespace

std::span<const Parameter> HttpSinkOptions::parameters() { return kRows; }

HttpSinkOptions HttpSinkOptions::from(const Url& url) {
  const Parameters given{url, parameters()};
  const auto milliseconds = [&](std::string_view name) {
    return std::chrono::milliseconds{given.number(name)};
  };
  HttpSinkOptions options;
  options.endpoint = endpoint_of(url);
  options.shown = url.redacted();
  options.without_prefix = options_without_prefix(url);
  options.structured = given.word("outseal.mode") == "structured";
  options.in_flight = given.number("outseal.in_flight");
  options.event_bytes_max = given.number("outseal.event_bytes_max");
  options.timeout = milliseconds("outseal.timeout_ms");
  options.connect_timeout = milliseconds("outseal.connect_timeout_ms");
  options.stall_timeout = milliseconds("outseal.stall_timeout_ms");
  options.grace = milliseconds("outseal.grace_ms");
  read_secrets(given, options.secrets);
  read_headers(given, options.headers);
  given.check_files();
  options.ca_file = given.text("outseal.ca_file");
  options.cert_file = given.text("outseal.cert_file");
  options.key_file = given.text("outseal.key_file");
  options.proxy = proxy_of(given);
  if (options.cert_file.empty() != options.key_file.empty())
    refuse("outseal.cert_file and outseal.key_file belong together", "give both or none");
  return options;
}

}  // namespace outseal::sinks
