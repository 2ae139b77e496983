#include "sinks/nats/options.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/text.h"
#include "outseal/error.h"

namespace outseal::sinks {
namespace {

constexpr std::string_view kForm =
    "write nats://HOST:PORT/STREAM, or nats://USER@HOST:PORT/STREAM?password_file=FILE";

constexpr std::string_view kPortDefault = "4222";

using Kind = Parameter::Kind;

constexpr Parameter flag(std::string_view name, std::string_view help) {
  return {.name = name,
          .kind = Kind::choice,
          .words = "true false",
          .otherwise = "false",
          .help = help};
}

constexpr std::array kRows{
    Parameter{
        .name = "subject", .otherwise = "STREAM.{topic}.{key}", .help = "pattern of the subjects"},
    flag("shared", "others write to the stream too; weaker guarantee"),
    flag("create", "create a missing stream"),
    Parameter{.name = "replicas",
              .kind = Kind::number,
              .fallback = 1,
              .min = 1,
              .max = NatsSinkOptions::kReplicasMax,
              .help = "of the stream that `create=true` creates"},
    flag("allow_memory", "accept memory storage"),
    Parameter{.name = "in_flight",
              .kind = Kind::number,
              .fallback = NatsSinkOptions::kInFlightDefault,
              .min = 1,
              .max = NatsSinkOptions::kInFlightMax,
              .help = "messages in flight"},
    Parameter{.name = "timeout_ms",
              .kind = Kind::number,
              .fallback = NatsSinkOptions::kTimeoutDefault_ms,
              .min = NatsSinkOptions::kTimeoutMin_ms,
              .max = NatsSinkOptions::kTimeoutMax_ms,
              .help = "for connecting and for each answer"},
    Parameter{.name = "creds", .kind = Kind::secret_file, .help = "JWT credentials"},
    Parameter{.name = "password_file",
              .kind = Kind::secret_file,
              .help = "password of USER, on its first line"},
    flag("tls", "insist on TLS; implied by the next two"),
    Parameter{.name = "ca_file",
              .kind = Kind::file,
              .otherwise = "the system's",
              .help = "the only authorities to trust"},
    Parameter{.name = "cert_file",
              .kind = Kind::file,
              .help = "the relay's own certificate, with key_file"},
    Parameter{.name = "key_file", .kind = Kind::secret_file, .help = "its key"},
};

[[noreturn]] void refuse(const std::string& message, std::string_view hint = kForm) {
  throw Error{ErrorCode::invalid_argument, "nats URL", message, {.hint = std::string{hint}}};
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

/// "USER[:PASSWORD]@", or nothing. The last '@': Url::redacted() sees it the same way.
std::string_view credentials_of(const Url& url) {
  std::string_view rest = url.rest;
  if (rest.starts_with("//")) rest.remove_prefix(2);
  const auto at = rest.rfind('@');
  return at == std::string_view::npos ? std::string_view{} : rest.substr(0, at + 1);
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

struct Server {
  std::string host;  ///< In lower case, an IPv6 address in its brackets.
  std::string port;

  bool operator==(const Server&) const = default;
  std::string url() const { return "nats://" + host + ":" + port; }
};

/// What a URL names: a stream, and servers that know it.
struct Place {
  std::vector<Server> servers;
  std::string stream;
};

Server server_of(std::string_view text) {
  const auto bracket = text.rfind(']');  // Colons before it belong to an IPv6 address.
  const auto colon = text.find(':', bracket == std::string_view::npos ? 0 : bracket);
  const bool has_port = colon != std::string_view::npos;
  return {.host = lower_case(text.substr(0, colon)),
          .port = std::string{has_port ? text.substr(colon + 1) : kPortDefault}};
}

/// Splits "//[USER[:PASSWORD]@]HOST[:PORT][,...]/STREAM"; checks nothing.
Place place_of(const Url& url) {
  std::string_view rest = url.rest;
  if (rest.starts_with("//")) rest.remove_prefix(2);
  rest.remove_prefix(credentials_of(url).size());
  const auto slash = rest.find('/');
  Place place;
  if (slash != std::string_view::npos) place.stream = rest.substr(slash + 1);
  std::string_view list = rest.substr(0, slash);
  for (;;) {
    const auto comma = list.find(',');
    place.servers.push_back(server_of(list.substr(0, comma)));
    if (comma == std::string_view::npos) return place;
    list.remove_prefix(comma + 1);
  }
}

/// Of a bad port only the host is repeated: with the host forgotten it may be a password.
void take_servers(const Place& place, NatsSinkOptions& options) {
  for (const Server& server : place.servers) {
    if (server.host.empty()) refuse("the name of a host is missing");
    if (!is_port(server.port))
      refuse("the port of host \"" + server.host + "\" is not a number from 1 to 65535");
    options.servers.push_back(server.url());
  }
}

}  // namespace

std::span<const Parameter> NatsSinkOptions::parameters() { return kRows; }

NatsSinkOptions NatsSinkOptions::from(const Url& url) {
  const Parameters given{url, parameters()};
  NatsSinkOptions options{.servers = {},
                          .password_file = given.text("password_file"),
                          .creds = given.text("creds"),
                          .subject = given.text("subject"),
                          .shared = given.flag("shared"),
                          .create = given.flag("create"),
                          .replicas = given.number("replicas"),
                          .allow_memory = given.flag("allow_memory"),
                          .in_flight = given.number("in_flight"),
                          .timeout = std::chrono::milliseconds{given.number("timeout_ms")},
                          .ca_file = given.text("ca_file"),
                          .cert_file = given.text("cert_file"),
                          .key_file = given.text("key_file")};
  options.tls = given.flag("tls") || !options.ca_file.empty() || !options.cert_file.empty();
  if (options.cert_file.empty() != options.key_file.empty())
    refuse("cert_file and key_file belong together", {});
  if (given.has("replicas") && !options.create)
    refuse("replicas is for a stream that the relay creates", "add create=true");

  if (!url.rest.starts_with("//")) refuse("it names no server");
  if (std::string_view credentials = credentials_of(url); !credentials.empty()) {
    credentials.remove_suffix(1);
    take_credentials(credentials, options);
  } else if (!options.password_file.empty()) {
    refuse("password_file is given, but no user");
  }
  const Place place = place_of(url);
  take_servers(place, options);
  options.stream = place.stream;
  if (!is_stream_name(options.stream)) refuse("it does not end with the name of a stream");
  if (options.subject.empty()) options.subject = options.stream + ".{topic}.{key}";
  given.check_files();
  return options;
}

bool is_same_stream(const Url& one, const Url& other) {
  const Place ours = place_of(one);
  const Place theirs = place_of(other);
  if (ours.stream != theirs.stream) return false;
  return std::any_of(ours.servers.begin(), ours.servers.end(), [&](const Server& server) {
    return std::find(theirs.servers.begin(), theirs.servers.end(), server) != theirs.servers.end();
  });
}

}  // namespace outseal::sinks
