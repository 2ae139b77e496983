#include "sinks/http_message.h"

#include <simdjson.h>

#include "base/text.h"
#include "outseal/error.h"
#include "sinks/http_fields.h"

namespace outseal::sinks {
namespace {

constexpr std::string_view kLineEnd = "\r\n";
constexpr std::string_view kStructuredType = "application/cloudevents+json; charset=utf-8";

void append_field(std::string& out, std::string_view name, std::string_view value) {
  out += name;
  out += ": ";
  out += value;
  out += kLineEnd;
}

void append_attribute_field(std::string& out, std::string_view name, std::string_view text) {
  out += name;
  out += ": ";
  append_attribute(out, text);
  out += kLineEnd;
}

std::optional<std::string> refusal(const EventRow& row) {
  if (!is_utf8(row.topic)) return "its topic is not UTF-8";
  if (!is_utf8(row.key)) return "its key is not UTF-8";
  if (!is_utf8(row.type)) return "its type is not UTF-8";
  if (row.content_type.empty() || !is_http_value(row.content_type))
    return "its content type cannot be a header field";
  if (!is_rfc3339_time(row.created_at_ms)) return "its time is not between the years 1970 and 9999";
  return std::nullopt;
}

}  // namespace

struct HttpMessageEncoder::HeaderParser {
  simdjson::dom::parser dom;
  simdjson::dom::object object;

  bool parse(std::string_view json) {
    return dom.parse(json.data(), json.size()).get_object().get(object) == simdjson::SUCCESS;
  }
};

HttpMessageEncoder::HttpMessageEncoder(std::string_view event_source, std::string_view stream,
                                       const HttpMessageOptions& options)
    : options_{options},
      document_{event_source, options.body_bytes_max + 1},
      parser_{std::make_unique<HeaderParser>()} {
  append_attribute(source_, event_source);
  append_attribute(stream_, stream);
}

HttpMessageEncoder::~HttpMessageEncoder() = default;

std::optional<std::string> HttpMessageEncoder::encode(const EventRow& row, Position position,
                                                      std::string& out) {
  if (row.payload.size() > options_.body_bytes_max)
    return "its payload of " + std::to_string(row.payload.size()) +
           " bytes is longer than the sink's limit of " + std::to_string(options_.body_bytes_max);
  if (auto reason = refusal(row)) return reason;
  const std::size_t begin = out.size();
  const std::string id = row.id.to_string();
  append_percent_encoded(out, row.key);
  out += kLineEnd;
  append_field(out, "webhook-id", id);
  append_field(out, "idempotency-key", '"' + id + '"');
  append_field(out, "outseal-stream", stream_);
  append_field(out, "outseal-position", std::to_string(position.value()));
  auto reason = append_event_headers(row.headers, out);
  if (!reason) reason = options_.structured ? append_structured(row, out) : append_binary(row, out);
  if (reason) out.resize(begin);
  return reason;
}

std::optional<std::string> HttpMessageEncoder::append_binary(const EventRow& row,
                                                             std::string& out) {
  append_field(out, "ce-specversion", "1.0");
  append_field(out, "ce-id", row.id.to_string());
  append_field(out, "ce-source", source_);
  append_attribute_field(out, "ce-type", row.type);
  if (!row.key.empty()) append_attribute_field(out, "ce-subject", row.key);
  append_field(out, "ce-time", to_rfc3339(row.created_at_ms));
  append_attribute_field(out, "ce-topic", row.topic);
  append_field(out, "content-type", row.content_type);
  out += kLineEnd;
  out += row.payload;
  return std::nullopt;
}

std::optional<std::string> HttpMessageEncoder::append_structured(const EventRow& row,
                                                                 std::string& out) {
  append_field(out, "content-type", kStructuredType);
  out += kLineEnd;
  // The headers are header fields already; CloudEvents allows no objects as attributes.
  EventRow bare = row;
  bare.headers = "{}";
  auto reason = document_.encode(bare, std::nullopt, out);
  if (!reason) out.pop_back();  // The line's end.
  return reason;
}

/// The event's own headers, each under its own name.
std::optional<std::string> HttpMessageEncoder::append_event_headers(std::string_view headers,
                                                                    std::string& out) {
  if (headers == "{}") return std::nullopt;
  if (!parser_->parse(headers)) return "its headers are not a JSON object in UTF-8";
  for (const auto& field : parser_->object) {
    const std::string name{field.key};
    if (!is_http_token(name)) return "the name of a header of its is no HTTP token";
    if (is_reserved_header(name) || is_credential_header(name))
      return "its header \"" + name + "\" is reserved for the sink or the connection";
    std::string_view value;
    if (field.value.get(value) != simdjson::SUCCESS)
      return "its header \"" + name + "\" is not a string";
    if (!is_http_value(value)) return "its header \"" + name + "\" cannot be sent in HTTP";
    append_field(out, name, value);
  }
  return std::nullopt;
}

std::string_view key_of_message(std::string_view bytes) {
  return bytes.substr(0, bytes.find(kLineEnd));
}

HttpMessage HttpMessage::parse(std::string_view bytes) {
  HttpMessage message;
  const auto take_line = [&bytes] {
    const auto end = bytes.find(kLineEnd);
    if (end == std::string_view::npos)
      throw Error{ErrorCode::internal, "deliver", "the batch holds no HTTP request"};
    const std::string_view line = bytes.substr(0, end);
    bytes.remove_prefix(end + kLineEnd.size());
    return line;
  };
  message.key = take_line();
  for (std::string_view line = take_line(); !line.empty(); line = take_line()) {
    const auto colon = line.find(": ");
    if (colon == std::string_view::npos)
      throw Error{ErrorCode::internal, "deliver", "the batch holds no HTTP request"};
    message.fields.emplace_back(line.substr(0, colon), line.substr(colon + 2));
  }
  message.body = bytes;
  return message;
}

}  // namespace outseal::sinks
