// Opens connections of our own to PostgreSQL.
#include <libpq-fe.h>

#include <map>
#include <string>
#include <vector>

#include "outseal/error.h"
#include "sql/postgres/connection.h"

namespace outseal::sql::postgres {
namespace {

/// libpq gives no SQLSTATE for a refused connection, so its text decides.
Error open_error(PGconn* handle) {
  std::string message{PQerrorMessage(handle)};
  while (!message.empty() && message.back() == '\n') message.pop_back();
  for (std::size_t at; (at = message.find('\n')) != std::string::npos;) message[at] = ' ';
  const auto says = [&](std::string_view text) { return message.find(text) != std::string::npos; };
  if (PQconnectionNeedsPassword(handle) != 0 || says("authentication failed") ||
      says("pg_hba.conf") || says("permission denied") || says("role \""))
    return Error{ErrorCode::denied,
                 "open",
                 message,
                 {.hint = "check user and password; ~/.pgpass and PGPASSWORD work"}};
  if (says("too many clients") || says("connection slots are reserved") || says("too many conn"))
    return Error{ErrorCode::unreachable,
                 "open",
                 message,
                 {.hint = "all connections are taken: raise max_connections or wait"}};
  if (says("database \""))
    return Error{ErrorCode::unreachable,
                 "open",
                 message,
                 {.hint = "check the database's name in the URL, or create it with: createdb"}};
  return Error{ErrorCode::unreachable,
               "open",
               message,
               {.hint = "check host, port and network, and that the server runs"}};
}

}  // namespace

std::unique_ptr<Connection> open(const Url& url) {
  const std::string uri = "postgresql:" + url.rest;
  // Checked first, because libpq's own message repeats the URL, and a password may stand in it.
  char* fault = nullptr;
  PQconninfoOption* parts = PQconninfoParse(uri.c_str(), &fault);
  PQfreemem(fault);
  if (parts == nullptr)
    throw Error{ErrorCode::invalid_argument,
                "open",
                "the database URL is malformed",
                {.hint = "write postgresql://USER@HOST:PORT/DATABASE, special characters of user "
                         "and password percent-encoded"}};
  PQconninfoFree(parts);

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
