#include "sinks/cloudevents.h"

#include <simdjson.h>

#include <algorithm>
#include <charconv>

#include "base/text.h"
#include "outseal/error.h"

namespace outseal::sinks {
namespace {

constexpr std::string_view kHead = R"({"specversion":"1.0")";
constexpr std::string_view kHeadPosition = R"({"specversion":"1.0","position":)";
constexpr std::string_view kHeadId = R"(,"id":")";
constexpr std::string_view kHeadSource = R"(","source":)";

/// Documents up to this size share one parser; the memory for a larger one is given back.
constexpr std::size_t kParserBytesKept = 1U << 20U;
constexpr std::size_t kParserBytesAtFirst = 16U << 10U;

void append_number(std::string& out, std::uint64_t number) {
  char text[20];
  const auto result = std::to_chars(text, text + sizeof text, number);
  out.append(text, static_cast<std::size_t>(result.ptr - text));
}

/// Appends `json`, which is valid, so that it stays on one line: as control characters are escaped
/// inside of strings, a raw line break can only stand between two tokens.
void append_on_one_line(std::string& out, std::string_view json) {
  const std::size_t begin = out.size();
  out += json;
  for (const char line_break : {'\n', '\r'}) {
    if (json.find(line_break) == std::string_view::npos) continue;
    std::replace(out.begin() + static_cast<std::ptrdiff_t>(begin), out.end(), line_break, ' ');
  }
}

bool equal_ignoring_case(std::string_view text, std::string_view lower) {
  return std::equal(text.begin(), text.end(), lower.begin(), lower.end(), [](char a, char b) {
    return (a >= 'A' && a <= 'Z' ? static_cast<char>(a | 0x20) : a) == b;
  });
}

/// The media type without its parameters.
std::string_view media_type(std::string_view content_type) {
  content_type = content_type.substr(0, content_type.find(';'));
  const auto end = content_type.find_last_not_of(" \t");
  return content_type.substr(0, end == std::string_view::npos ? 0 : end + 1);
}

bool is_json_type(std::string_view type) {
  constexpr std::string_view kSuffix = "+json";
  return equal_ignoring_case(type, "application/json") ||
         (type.size() > kSuffix.size() &&
          equal_ignoring_case(type.substr(type.size() - kSuffix.size()), kSuffix));
}

bool is_text_type(std::string_view type) { return equal_ignoring_case(type.substr(0, 5), "text/"); }

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Removes leading digits; false if there are none.
bool take_digits(std::string_view& text) {
  const std::size_t before = text.size();
  while (!text.empty() && is_digit(text.front())) text.remove_prefix(1);
  return text.size() < before;
}

/// Source: RFC 8259, section 6.
bool is_number(std::string_view text) {
  if (text.starts_with('-')) text.remove_prefix(1);
  if (text.starts_with('0')) {
    text.remove_prefix(1);
  } else if (!take_digits(text)) {
    return false;
  }
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    if (!take_digits(text)) return false;
  }
  if (text.starts_with('e') || text.starts_with('E')) {
    text.remove_prefix(1);
    if (text.starts_with('+') || text.starts_with('-')) text.remove_prefix(1);
    if (!take_digits(text)) return false;
  }
  return text.empty();
}

/// `json` with each well-formed number replaced by 0.
std::string without_numbers(std::string_view json) {
  std::string out;
  for (std::size_t place = 0; place < json.size();) {
    const std::size_t begin = place;
    if (json[place] == '"') {
      for (++place; place < json.size() && json[place] != '"'; ++place) {
        if (json[place] == '\\') ++place;
      }
      place = std::min(place + 1, json.size());
      out += json.substr(begin, place - begin);
    } else if (json[place] == '-' || is_digit(json[place])) {
      place = std::min(json.find_first_not_of("0123456789+-.eE", place), json.size());
      const std::string_view token = json.substr(begin, place - begin);
      out += is_number(token) ? std::string_view{"0"} : token;
    } else {
      out += json[place++];
    }
  }
  return out;
}

}  // namespace

struct JsonCheck::Parser {
  const std::size_t levels_max;
  simdjson::dom::parser dom;
  simdjson::dom::element root;

  explicit Parser(std::size_t levels) : levels_max{levels} { allocate(); }

  bool parse(std::string_view text) {
    // Some versions of the parser skip a byte order mark; inside of a line it would be a fault.
    if (text.starts_with("\xef\xbb\xbf")) return false;
    if (accepts(text)) return true;
    // A number that fits no machine type is JSON all the same, and may be somebody's money.
    const std::string plain = without_numbers(text);
    return plain != text && accepts(plain);
  }

  bool accepts(std::string_view text) {
    return dom.parse(text.data(), text.size()).get(root) == simdjson::SUCCESS;
  }

  void allocate() {
    // If this fails, so will parse(), which then reports it.
    [[maybe_unused]] const auto fault = dom.allocate(kParserBytesAtFirst, levels_max);
  }

  void give_back_memory() {
    if (dom.capacity() <= kParserBytesKept) return;
    dom = simdjson::dom::parser{};
    allocate();
  }
};

JsonCheck::JsonCheck(std::size_t levels_max) : parser_{std::make_unique<Parser>(levels_max)} {}

JsonCheck::~JsonCheck() = default;

bool JsonCheck::is_json(std::string_view text) {
  const bool valid = parser_->parse(text);
  parser_->give_back_memory();
  return valid;
}

bool JsonCheck::is_object(std::string_view text) {
  const bool valid = parser_->parse(text) && parser_->root.is_object();
  parser_->give_back_memory();
  return valid;
}

void append_attribute(std::string& out, std::string_view text) {
  for (const char c : text) {
    if (c > ' ' && c <= '~' && c != '"' && c != '%')
      out += c;
    else
      append_percent_encoded_byte(out, c);
  }
}

CloudEventsEncoder::CloudEventsEncoder(std::string_view event_source, std::size_t line_bytes_max)
    : line_bytes_max_{line_bytes_max} {
  if (event_source.empty() || !is_utf8(event_source))
    throw Error{ErrorCode::invalid_config, "encode", "the event source is empty or not UTF-8"};
  append_json_string(source_, event_source);
}

std::optional<std::string> CloudEventsEncoder::encode(const EventRow& row,
                                                      std::optional<Position> position,
                                                      std::string& out) {
  if (auto reason = refusal(row)) return reason;
  const std::size_t begin = out.size();
  out += position ? kHeadPosition : kHead;
  if (position) append_number(out, position->value());
  out += kHeadId;
  row.id.append_to(out);
  out += kHeadSource;
  out += source_;
  out += ",\"type\":";
  append_json_string(out, row.type);
  if (!row.key.empty()) {
    out += ",\"subject\":";
    append_json_string(out, row.key);
  }
  out += ",\"time\":\"";
  append_rfc3339(out, row.created_at_ms);
  out += "\",\"topic\":";
  append_json_string(out, row.topic);
  out += ",\"datacontenttype\":";
  append_json_string(out, row.content_type);
  if (row.headers != "{}") {
    out += ",\"headers\":";
    append_on_one_line(out, row.headers);
  }
  append_payload(row, out);
  out += "}\n";
  const std::size_t length = out.size() - begin;
  if (length <= line_bytes_max_) return std::nullopt;
  out.resize(begin);
  return "its line of " + std::to_string(length) + " bytes is longer than the sink's limit of " +
         std::to_string(line_bytes_max_);
}

std::optional<std::string> CloudEventsEncoder::refusal(const EventRow& row) {
  // No encoding makes a payload shorter: do not even parse one that is too long.
  if (row.payload.size() > line_bytes_max_)
    return "its payload of " + std::to_string(row.payload.size()) +
           " bytes is longer than the sink's limit of " + std::to_string(line_bytes_max_);
  if (!is_utf8(row.topic)) return "its topic is not UTF-8";
  if (!is_utf8(row.key)) return "its key is not UTF-8";
  if (!is_utf8(row.type)) return "its type is not UTF-8";
  if (!is_utf8(row.content_type)) return "its content type is not UTF-8";
  if (row.headers != "{}" && !json_.is_object(row.headers))
    return "its headers are not a JSON object in UTF-8";
  if (!is_rfc3339_time(row.created_at_ms)) return "its time is not between the years 1970 and 9999";
  return std::nullopt;
}

void CloudEventsEncoder::append_payload(const EventRow& row, std::string& out) {
  const std::string_view type = media_type(row.content_type);
  if (is_json_type(type) && json_.is_json(row.payload)) {
    out += ",\"data\":";
    append_on_one_line(out, row.payload);
  } else if (is_text_type(type) && is_utf8(row.payload)) {
    out += ",\"data\":";
    append_json_string(out, row.payload);
  } else {
    out += ",\"data_base64\":\"";
    append_base64(out, row.payload);
    out += '"';
  }
}

std::optional<LineHead> parse_line_head(std::string_view line) {
  const auto take = [&line](std::string_view expected) {
    if (!line.starts_with(expected)) return false;
    line.remove_prefix(expected.size());
    return true;
  };
  if (!take(kHeadPosition) || line.empty() || line.front() == '0') return std::nullopt;
  std::uint64_t position = 0;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), position);
  if (error != std::errc{}) return std::nullopt;
  line.remove_prefix(static_cast<std::size_t>(end - line.data()));
  if (!take(kHeadId)) return std::nullopt;
  const auto id = EventId::parse(line.substr(0, EventId::kTextBytes));
  if (!id) return std::nullopt;
  line.remove_prefix(EventId::kTextBytes);
  if (!take(kHeadSource) || !line.starts_with('"')) return std::nullopt;
  return LineHead{Position{position}, *id};
}

bool may_be_cut_line(std::string_view bytes) {
  const std::size_t length = std::min(bytes.size(), kHeadPosition.size());
  return bytes.substr(0, length) == kHeadPosition.substr(0, length);
}

}  // namespace outseal::sinks
