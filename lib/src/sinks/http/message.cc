#include "sinks/http/message.h"

#include "outseal/error.h"
#include "sinks/http/fields.h"

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

}  // namespace

HttpMessageEncoder::HttpMessageEncoder(std::string_view event_source, std::string_view stream,
                                       const HttpMessageOptions& options)
    : options_{options},
      attributes_{event_source},
      document_{event_source, options.body_bytes_max + 1} {
  append_attribute(stream_, stream);
}

std::optional<std::string> HttpMessageEncoder::encode(const EventRow& row, Position position,
                                                      std::string& out) {
  if (row.payload.size() > options_.body_bytes_max)
    return "its payload of " + std::to_string(row.payload.size()) +
           " bytes is longer than the sink's limit of " + std::to_string(options_.body_bytes_max);
  if (auto reason = attributes_.read(row, std::nullopt)) return reason;
  if (row.content_type.empty() || !is_http_value(row.content_type))
    return "its content type cannot be a header field";
  const std::size_t begin = out.size();
  const std::string id = row.id.to_string();
  append_percent_encoded(out, row.key);
  out += kLineEnd;
  append_field(out, "webhook-id", id);
  append_field(out, "idempotency-key", '"' + id + '"');
  append_field(out, "outseal-stream", stream_);
  append_field(out, "outseal-position", std::to_string(position.value()));
  if (!options_.structured) {
    attributes_.append_headers(out);
    out += kLineEnd;
    out += row.payload;
    return std::nullopt;
  }
  append_field(out, "content-type", kStructuredType);
  attributes_.append_trace_headers(out);
  out += kLineEnd;
  auto reason = document_.encode(row, std::nullopt, out);
  if (reason)
    out.resize(begin);
  else
    out.pop_back();  // The line's end.
  return reason;
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
