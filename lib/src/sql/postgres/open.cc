// Opens connections of our own to PostgreSQL.
#include <libpq-fe.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "outseal/error.h"
#include "sql/postgres/connection.h"

namespace outseal::sql::postgres {
namespace {

/// libpq gives no SQLSTATE for a refused connection, so its text decides.
Error open_error(PGconn* handle) {
  std::string message{PQerrorMessage(handle)};
  while (!message.empty() && message.back() == '\n') message.pop_back();
  std::erase(message, '\t');
  std::replace(message.begin(), message.end(), '\n', ' ');
  const auto says = [&](std::string_view text) { return message.find(text) != std::string::npos; };
  if (says("too many clients") || says("connection slots are reserved") || says("too many conn"))
    return Error{ErrorCode::unreachable,
                 "open",
                 message,
                 {.hint = "all connections are taken: raise the limit or wait"}};
  if (PQconnectionNeedsPassword(handle) != 0 || says("authentication failed") ||
      says("pg_hba.conf") || says("permission denied") || says("role \""))
    return Error{ErrorCode::denied,
                 "open",
                 message,
                 {.hint = "check user and password; ~/.pgpass and PGPASSWORD work"}};
  if (says("database \""))
    return Error{ErrorCode::unreachable,
                 "open",
                 message,
                 {.hint = "check the database's name in the URL, or create it with: createdb",
                  .detail_code = says("does not exist") ? "3D000" : ""}};
  return Error{ErrorCode::unreachable,
               "open",
               message,
               {.hint = "check host, port and network, and that the server runs"}};
}

struct FreeOptions {
  void operator()(PQconninfoOption* options) const noexcept { PQconninfoFree(options); }
};
using Options = std::unique_ptr<PQconninfoOption, FreeOptions>;

/// Whether libpq knows a parameter of that name, and what it took for its value.
std::optional<std::string> find_option(const Options& options, std::string_view name) {
  for (const PQconninfoOption* option = options.get(); option->keyword != nullptr; ++option)
    if (name == option->keyword) return option->val == nullptr ? "" : option->val;
  return std::nullopt;
}

/// Empty ones are the default, and each of several hosts may have one.
bool are_ports(std::string_view list) {
  for (;;) {
    const auto comma = list.find(',');
    const std::string_view port = list.substr(0, comma);
    if (!port.empty() && !is_port(port)) return false;
    if (comma == std::string_view::npos) return true;
    list.remove_prefix(comma + 1);
  }
}

std::string uri_of(const Url& url) { return "postgresql:" + url.rest; }

}  // namespace

/// Errors of our own: libpq's messages repeat the URL, or of a password with '@', '/' or '?' in it
/// what stands behind that as host or port.
void check_url(const Url& url) {
  char* fault = nullptr;
  const Options parts{PQconninfoParse(uri_of(url).c_str(), &fault)};
  PQfreemem(fault);
  const auto first_at = url.rest.find('@');
  const auto path = url.rest.find('/', url.rest.starts_with("//") ? 2 : 0);
  const bool odd_at =
      first_at != std::string::npos && (first_at != url.rest.rfind('@') || first_at > path);
  if (parts == nullptr || odd_at || !are_ports(*find_option(parts, "port")))
    throw Error{ErrorCode::invalid_argument,
                "open",
                "the database URL is malformed",
                {.hint = "write postgresql://USER@HOST:PORT/DATABASE, special characters of user "
                         "and password percent-encoded"}};
  for (const auto& [name, value] : url.parameters) {
    if (!find_option(parts, name))
      throw Error{ErrorCode::invalid_argument,
                  "open",
                  "the database URL has an unknown parameter \"" + name + "\"",
                  {.hint = "it takes those of libpq, for example sslmode=require"}};
    if (name == "port" && !are_ports(value))
      throw Error{ErrorCode::invalid_argument,
                  "open",
                  "parameter \"port\" of the database URL is not a number from 1 to 65535",
                  {.hint = "leave it out for 5432"}};
  }
}

std::unique_ptr<Connection> open(const Url& url) {
  const std::string uri = uri_of(url);

  // A silent loss of the network is noticed within half a minute, not after two hours.
  std::map<std::string, std::string> options{
      {"application_name", "outseal"}, {"connect_timeout", "10"}, {"keepalives_idle", "10"},
      {"keepalives_interval", "5"},    {"keepalives_count", "3"}, {"tcp_user_timeout", "30000"}};
  for (const auto& [name, value] : url.parameters) options[name] = value;
  options["client_encoding"] = "UTF8";
  std::vector<const char*> names{"dbname"};
  std::vector<const char*> values{uri.c_str()};
  for (const auto& [name, value] : options) {
    names.push_back(name.c_str());
    values.push_back(value.c_str());
  }
  names.push_back(nullptr);
  values.push_back(nullptr);
  PGconn* handle = PQconnectdbParams(names.data(), values.data(), 1);
  if (handle == nullptr) throw Error{ErrorCode::storage, "open", "out of memory"};
  auto connection = adopt(handle);
  if (PQstatus(handle) == CONNECTION_OK) return connection;
  throw open_error(handle);
}

}  // namespace outseal::sql::postgres
