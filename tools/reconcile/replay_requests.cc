#include "replay_requests.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "base/text.h"
#include "outseal/error.h"
#include "outseal/ids.h"

namespace outseal::tools {
namespace {

using nlohmann::json;

constexpr std::size_t kKeyBytesMax = 255;
/// Chosen by us: all are held in memory.
constexpr std::size_t kRequestsMax = 100'000;

[[noreturn]] void refuse(const std::string& where, const std::string& what,
                         const std::string& hint = "see: outseal-reconcile replay-check --help") {
  throw Error{ErrorCode::invalid_config, where, what, {.hint = hint}};
}

/// RFC 9110, section 5.6.2.
bool is_token(std::string_view text) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~";
  return !text.empty() && lower_case(text).find_first_not_of(kLetters) == std::string::npos;
}

bool is_printable_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

void add_field(HttpFields& fields, const std::string& where, const std::string& name,
               const std::string& value) {
  if (!is_token(name)) refuse(where, "'" + name + "' is not the name of a header field");
  if (lower_case(name) == "idempotency-key")
    refuse(where, "the idempotency key stands in the member 'key', not among the headers");
  if (value.find_first_of(std::string_view{"\r\n\0", 3}) != std::string::npos)
    refuse(where, "the header field '" + name + "' has a line break or NUL");
  fields.emplace_back(name, value);
}

std::string text_of(const std::string& where, const std::string& member, const json& value) {
  if (!value.is_string()) refuse(where, "'" + member + "' is not a string");
  return value.get<std::string>();
}

bool has_field(const HttpFields& fields, std::string_view name) {
  return std::any_of(fields.begin(), fields.end(),
                     [name](const auto& field) { return lower_case(field.first) == name; });
}

void take_member(ReplayRequest& request, const std::string& where, const std::string& name,
                 const json& value) {
  if (name == "path") {
    request.path = text_of(where, name, value);
    if (!request.path.empty() && request.path.front() != '/' && request.path.front() != '?')
      refuse(where, "'path' does not begin with '/'");
    if (!is_printable_ascii(request.path) || request.path.find(' ') != std::string::npos)
      refuse(where, "'path' has a blank or a character that a URL must encode");
  } else if (name == "method") {
    request.method = text_of(where, name, value);
    if (!is_token(request.method)) refuse(where, "'method' is not an HTTP method");
  } else if (name == "key") {
    request.key = text_of(where, name, value);
    if (request.key.empty() || request.key.size() > kKeyBytesMax ||
        !is_printable_ascii(request.key))
      refuse(where, "'key' is not 1 to 255 printable ASCII characters");
  } else if (name == "headers") {
    if (!value.is_object()) refuse(where, "'headers' is not an object");
    for (const auto& [field, text] : value.items())
      add_field(request.fields, where, field, text_of(where, field, text));
  } else if (name == "body") {
    request.body = value.is_string() ? value.get<std::string>() : value.dump();
  } else {
    refuse(where, "unknown member '" + name + "'", "use some of: method, path, key, headers, body");
  }
}

ReplayRequest read_request(const std::string& where, const std::string& line) {
  const json object = json::parse(line, nullptr, false);
  if (!object.is_object()) refuse(where, "this is not a JSON object");
  ReplayRequest request;
  for (const auto& [name, value] : object.items()) take_member(request, where, name, value);
  if (const auto body = object.find("body");
      body != object.end() && !body->is_string() && !has_field(request.fields, "content-type"))
    request.fields.emplace_back("Content-Type", "application/json");
  if (request.key.empty()) request.key = new_event_id().to_string();
  return request;
}

}  // namespace

std::pair<std::string, std::string> parse_http_field(const std::string& where,
                                                     const std::string& text) {
  const std::size_t colon = text.find(':');
  if (colon == std::string::npos)
    refuse(where, "this is not NAME: VALUE", "for example: --header 'Authorization: Bearer abc'");
  const std::size_t value = text.find_first_not_of(" \t", colon + 1);
  HttpFields fields;
  add_field(fields, where, text.substr(0, colon),
            value == std::string::npos ? "" : text.substr(value));
  return fields.front();
}

std::vector<ReplayRequest> read_replay_requests(const std::string& path) {
  std::ifstream file{path};
  if (!file)
    throw Error{ErrorCode::invalid_config,
                "--requests",
                path + " cannot be read",
                {.hint = "give a file with one JSON object a line, for example"
                         R"( {"path": "/payments", "body": {"amount": 5}})"}};
  std::vector<ReplayRequest> requests;
  std::set<std::string> keys;
  std::string line;
  for (std::size_t number = 1; std::getline(file, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = path + ":" + std::to_string(number);
    requests.push_back(read_request(where, line));
    requests.back().line = number;
    if (!keys.insert(requests.back().key).second)
      refuse(where, "its key is that of an earlier line", "each request is sent --times times");
    if (requests.size() > kRequestsMax)
      refuse(where, "more than " + std::to_string(kRequestsMax) + " requests");
  }
  if (file.bad()) refuse(path, "the file cannot be read to its end");
  if (requests.empty()) refuse(path, "there is no request in it");
  return requests;
}

}  // namespace outseal::tools
