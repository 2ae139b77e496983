#include "sinks/nats_options.h"

#include <string_view>

#include "outseal/error.h"

namespace outseal::sinks {
namespace {

constexpr std::string_view kForm =
    "write nats://HOST:PORT/STREAM, or nats://USER@HOST:PORT/STREAM?password_file=FILE";

[[noreturn]] void refuse(const std::string& message, std::string_view hint = kForm) {
  throw Error{ErrorCode::invalid_argument, "nats URL", message, {.hint = std::string{hint}}};
}

bool flag(const Url& url, const char* name) {
  const std::string value = url.text(name);
  if (!value.empty() && value != "true" && value != "false")
    refuse("parameter \"" + std::string{name} + "\" must be true or false", {});
  return value == "true";
}

std::string decoded(std::string_view part) {
  std::string out;
  if (!percent_decode(part, out))
    refuse("user or password has a '%' without two hexadecimal digits");
  return out;
}

/// Server names of a NATS stream; stricter than the server, which takes all but a few.
bool is_stream_name(std::string_view name) {
  return !name.empty() && name.find_first_of(" .*>/\\?%\t\r\n") == std::string_view::npos;
}

void take_credentials(std::string_view part, NatsSinkOptions& options) {
  const auto colon = part.find(':');
  options.user = decoded(part.substr(0, colon));
  if (options.user.empty()) refuse("the user before '@' is empty");
  if (colon != std::string_view::npos) options.password = decoded(part.substr(colon + 1));
  if (options.password.empty() && options.password_file.empty())
    refuse("a user needs a password", "give parameter password_file=FILE");
  if (!options.password.empty() && !options.password_file.empty())
    refuse("the password stands in the URL and in password_file", "leave one of them out");
}

void take_servers(std::string_view list, NatsSinkOptions& options) {
  for (;;) {
    const auto comma = list.find(',');
    const std::string_view server = list.substr(0, comma);
    if (server.empty()) refuse("the name of a host is missing");
    options.servers.push_back("nats://" + std::string{server});
    if (comma == std::string_view::npos) return;
    list.remove_prefix(comma + 1);
  }
}

}  // namespace

NatsSinkOptions NatsSinkOptions::parse(const Url& url) {
  url.refuse_parameters_except(
      "subject shared create replicas allow_memory in_flight timeout_ms creds password_file tls"
      " ca_file cert_file key_file");
  NatsSinkOptions options{.servers = {},
                          .password_file = url.text("password_file"),
                          .creds = url.text("creds"),
                          .subject = url.text("subject"),
                          .shared = flag(url, "shared"),
                          .create = flag(url, "create"),
                          .replicas = url.number("replicas", 1, 1, kReplicasMax),
                          .allow_memory = flag(url, "allow_memory"),
                          .in_flight = url.number("in_flight", kInFlightDefault, 1, kInFlightMax),
                          .ca_file = url.text("ca_file"),
                          .cert_file = url.text("cert_file"),
                          .key_file = url.text("key_file")};
  options.timeout = std::chrono::milliseconds{
      url.number("timeout_ms", static_cast<std::uint64_t>(kTimeoutDefault.count()), 100, 600'000)};
  options.tls = flag(url, "tls") || !options.ca_file.empty() || !options.cert_file.empty();
  if (options.cert_file.empty() != options.key_file.empty())
    refuse("cert_file and key_file belong together", {});
  if (url.parameters.contains("replicas") && !options.create)
    refuse("replicas is for a stream that the relay creates", "add create=true");

  std::string_view rest = url.rest;
  if (!rest.starts_with("//")) refuse("it names no server");
  rest.remove_prefix(2);
  // The last '@': Url::redacted() sees it the same way.
  if (const auto at = rest.rfind('@'); at != std::string_view::npos) {
    take_credentials(rest.substr(0, at), options);
    rest.remove_prefix(at + 1);
  } else if (!options.password_file.empty()) {
    refuse("password_file is given, but no user");
  }
  const auto slash = rest.find('/');
  take_servers(rest.substr(0, slash), options);
  if (slash != std::string_view::npos) options.stream = rest.substr(slash + 1);
  if (!is_stream_name(options.stream)) refuse("it does not end with the name of a stream");
  if (options.subject.empty()) options.subject = options.stream + ".{topic}.{key}";
  return options;
}

}  // namespace outseal::sinks
