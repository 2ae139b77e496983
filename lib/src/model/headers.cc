#include "model/headers.h"

#include <nlohmann/json.hpp>

#include "base/text.h"
#include "model/limits.h"
#include "outseal/error.h"

namespace outseal {

std::string headers_to_json(std::string_view caller,
                            const std::map<std::string, std::string>& headers) {
  if (headers.empty()) return {};
  std::string json;
  for (const auto& [name, value] : headers) {
    json += json.empty() ? '{' : ',';
    append_json_string(json, name);
    json += ':';
    append_json_string(json, value);
  }
  json += '}';
  if (json.size() > kHeaderJsonBytesMax)
    throw Error{ErrorCode::invalid_argument,
                caller,
                "headers have " + std::to_string(json.size()) + " bytes as JSON, the limit is " +
                    std::to_string(kHeaderJsonBytesMax),
                {.hint = "control characters take 6 bytes each: move such data into the payload"}};
  return json;
}

std::map<std::string, std::string> headers_from_json(std::string_view caller,
                                                     std::string_view json) {
  std::map<std::string, std::string> headers;
  if (json.empty()) return headers;
  const auto object = nlohmann::json::parse(json, nullptr, false);
  bool is_ours = object.is_object();
  if (is_ours)
    for (const auto& [name, value] : object.items()) {
      is_ours = is_ours && value.is_string();
      if (is_ours) headers.emplace(name, value.get<std::string>());
    }
  if (!is_ours)
    throw Error{ErrorCode::storage,
                caller,
                "the stored headers of the reply are not a JSON object of strings",
                {.hint = "somebody has changed outseal's table idempotency by hand"}};
  return headers;
}

}  // namespace outseal
