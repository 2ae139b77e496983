#include "operation/compensation.h"

#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "base/text.h"
#include "model/limits.h"
#include "model/validation.h"
#include "outseal/error.h"

namespace outseal::operation {
namespace {

std::string from_hex(const std::string& text) {
  std::string bytes;
  for (std::size_t at = 0; at + 1 < text.size(); at += 2)
    bytes += static_cast<char>(std::stoi(text.substr(at, 2), nullptr, 16));
  return bytes;
}

}  // namespace

std::string compensation_text(const Event& event) {
  validate_event(event, {});
  nlohmann::json json{{"topic", event.topic},
                      {"key", event.key},
                      {"type", event.type},
                      {"content_type", event.content_type},
                      {"headers", event.headers}};
  if (is_utf8(event.payload))
    json["payload"] = event.payload;
  else
    json["payload_hex"] = to_hex(event.payload);
  if (event.id) json["id"] = event.id->to_string();
  std::string text = json.dump();
  if (text.size() > kEffectCompensationBytesMax)
    throw Error{ErrorCode::invalid_argument,
                "effect",
                "the compensation has " + std::to_string(text.size()) +
                    " bytes as JSON, the limit is " + std::to_string(kEffectCompensationBytesMax),
                {.hint = "let it name what is to be undone"}};
  return text;
}

Event read_compensation(std::string_view text) try {
  const nlohmann::json json = nlohmann::json::parse(text);
  Event event{.topic = json.at("topic"),
              .key = json.at("key"),
              .type = json.at("type"),
              .content_type = json.at("content_type"),
              .headers = json.at("headers")};
  event.payload = json.contains("payload") ? json.at("payload").get<std::string>()
                                           : from_hex(json.at("payload_hex"));
  if (json.contains("id")) event.id = EventId::parse(json.at("id").get<std::string>());
  return event;
} catch (const nlohmann::json::exception&) {
  throw Error{ErrorCode::storage,
              "finish",
              "the compensation of an effect is not what was stored",
              {.hint = "somebody has changed outseal's table of effects by hand"}};
}

}  // namespace outseal::operation
