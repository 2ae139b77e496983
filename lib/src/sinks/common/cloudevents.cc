#include "sinks/common/cloudevents.h"

#include <algorithm>
#include <array>

#include "base/text.h"
#include "outseal/error.h"

namespace outseal::sinks {
namespace {

constexpr std::string_view kHeadSequence = R"({"specversion":"1.0","sequence":")";
constexpr std::string_view kHeadId = R"(","id":")";
constexpr std::string_view kHeadSource = R"(","source":)";

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

/// Appends a comma and the attribute.
void append_member(std::string& out, const Attribute& attribute) {
  std::array<char, kAttributeNameBytesMax + 4> head;
  char* to = head.data();
  *to++ = ',';
  *to++ = '"';
  to = std::copy(attribute.name.begin(), attribute.name.end(), to);
  *to++ = '"';
  *to++ = ':';
  out.append(head.data(), to);
  append_json_string(out, attribute.value);
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

}  // namespace

CloudEventsEncoder::CloudEventsEncoder(std::string_view event_source, std::size_t line_bytes_max)
    : attributes_{event_source}, line_bytes_max_{line_bytes_max} {}

std::optional<std::string> CloudEventsEncoder::encode(const EventRow& row,
                                                      std::optional<Position> position,
                                                      std::string& out) {
  // No encoding makes a payload shorter: do not even parse one that is too long.
  if (row.payload.size() > line_bytes_max_)
    return "its payload of " + std::to_string(row.payload.size()) +
           " bytes is longer than the sink's limit of " + std::to_string(line_bytes_max_);
  if (auto reason = attributes_.read(row, position)) return reason;
  const std::size_t begin = out.size();
  for (const Attribute& attribute : attributes_.list()) append_member(out, attribute);
  out[begin] = '{';
  append_payload(row, out);
  out += "}\n";
  const std::size_t length = out.size() - begin;
  if (length <= line_bytes_max_) return std::nullopt;
  out.resize(begin);
  return "its line of " + std::to_string(length) + " bytes is longer than the sink's limit of " +
         std::to_string(line_bytes_max_);
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
  if (!take(kHeadSequence)) return std::nullopt;
  const auto position = parse_sequence(line.substr(0, kSequenceDigits));
  if (!position) return std::nullopt;
  line.remove_prefix(kSequenceDigits);
  if (!take(kHeadId)) return std::nullopt;
  const auto id = EventId::parse(line.substr(0, EventId::kTextBytes));
  if (!id) return std::nullopt;
  line.remove_prefix(EventId::kTextBytes);
  if (!take(kHeadSource) || !line.starts_with('"')) return std::nullopt;
  return LineHead{*position, *id};
}

bool may_be_cut_line(std::string_view bytes) {
  const std::size_t length = std::min(bytes.size(), kHeadSequence.size());
  return bytes.substr(0, length) == kHeadSequence.substr(0, length);
}

}  // namespace outseal::sinks
