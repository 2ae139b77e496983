#include "sinks/common/event_attributes.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/text.h"
#include "outseal/error.h"

namespace outseal::sinks {
namespace {

constexpr std::string_view kLineEnd = "\r\n";
constexpr std::string_view kContentType = "datacontenttype";

/// Names that a header of an event cannot have as an attribute: the specification's own, ours, and
/// the one that would change the meaning of ours.
constexpr std::array<std::string_view, 13> kReservedNames{
    "specversion", "sequence",   "id",         "source", "type",    "subject",     "time",
    "topic",       kContentType, "dataschema", "data",   "headers", "sequencetype"};

bool is_attribute_name(std::string_view name) {
  return !name.empty() && name.size() <= kAttributeNameBytesMax &&
         std::all_of(name.begin(), name.end(),
                     [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }) &&
         std::find(kReservedNames.begin(), kReservedNames.end(), name) == kReservedNames.end();
}

/// Whether `text`, which is UTF-8, has one of the characters U+0000 to U+001F and U+007F to U+009F.
bool has_control(std::string_view text) {
  for (std::size_t place = 0; place < text.size(); ++place) {
    const auto byte = static_cast<unsigned char>(text[place]);
    if (byte < 0x20 || byte == 0x7f) return true;
    if (byte == 0xc2 && static_cast<unsigned char>(text[place + 1]) < 0xa0) return true;
  }
  return false;
}

bool is_printable_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

void append_line(std::string& out, std::string_view name, std::string_view value) {
  out += name;
  out += ": ";
  out += value;
  out += kLineEnd;
}

}  // namespace

void append_sequence(std::string& out, Position position) {
  char digits[kSequenceDigits];
  const auto [end, error] = std::to_chars(digits, digits + sizeof digits, position.value());
  const auto length = static_cast<std::size_t>(end - digits);
  out.append(kSequenceDigits - length, '0');
  out.append(digits, length);
}

std::optional<Position> parse_sequence(std::string_view text) {
  if (text.size() != kSequenceDigits) return std::nullopt;
  std::uint64_t number = 0;
  const char* const last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), last, number);
  if (error != std::errc{} || end != last || number == 0) return std::nullopt;
  return Position{number};
}

void append_attribute(std::string& out, std::string_view text) {
  for (const char c : text) {
    if (c > ' ' && c <= '~' && c != '"' && c != '%')
      out += c;
    else
      append_percent_encoded_byte(out, c);
  }
}

EventAttributes::EventAttributes(std::string_view event_source) : source_{event_source} {
  if (event_source.empty() || !is_utf8(event_source))
    throw Error{ErrorCode::invalid_config, "encode", "the event source is empty or not UTF-8"};
}

std::optional<std::string> EventAttributes::read(const EventRow& row,
                                                 std::optional<Position> position) {
  if (!is_utf8(row.topic)) return "its topic is not UTF-8";
  if (!is_utf8(row.key)) return "its key is not UTF-8";
  if (row.type.empty() || !is_utf8(row.type)) return "its type is empty or not UTF-8";
  if (!is_utf8(row.content_type)) return "its content type is not UTF-8";
  if (!is_rfc3339_time(row.created_at_ms)) return "its time is not between the years 1970 and 9999";
  const auto add = [this](std::string_view name, std::string_view value) {
    if (!value.empty()) list_.push_back({name, value});
  };
  sequence_.clear();
  if (position) append_sequence(sequence_, *position);
  id_.clear();
  row.id.append_to(id_);
  time_.clear();
  append_rfc3339(time_, row.created_at_ms);
  list_.clear();
  add("specversion", "1.0");
  add("sequence", sequence_);
  add("id", id_);
  add("source", source_);
  add("type", row.type);
  add("subject", row.key);
  add("time", time_);
  add("topic", row.topic);
  add(kContentType, row.content_type);
  return row.headers == "{}" ? std::nullopt : read_headers(row.headers);
}

std::optional<std::string> EventAttributes::read_headers(std::string_view headers) {
  const auto begin = static_cast<std::ptrdiff_t>(list_.size());
  bool is_all = true;
  const bool is_object = json_.members(
      headers, [&](std::string_view name, const std::optional<std::string_view>& value) {
        if (value && !value->empty() && is_attribute_name(name) && !has_control(*value))
          list_.push_back({name, *value});
        else
          is_all = false;
      });
  if (!is_object) return "its headers are not a JSON object in UTF-8";
  std::sort(list_.begin() + begin, list_.end());
  // A name that is there twice is an attribute under neither value.
  auto kept = list_.begin() + begin;
  for (auto from = kept; from != list_.end();) {
    const auto next = std::find_if(
        from, list_.end(), [&](const Attribute& other) { return other.name != from->name; });
    if (next - from == 1)
      *kept++ = *from;
    else
      is_all = false;
    from = next;
  }
  list_.erase(kept, list_.end());
  if (is_all) return std::nullopt;
  // As control characters are escaped inside of strings, these stand between two tokens.
  headers_ = headers;
  std::replace_if(
      headers_.begin(), headers_.end(), [](char c) { return c >= 0 && c < ' '; }, ' ');
  const Attribute whole{"headers", headers_};
  list_.insert(std::upper_bound(list_.begin() + begin, list_.end(), whole), whole);
  return std::nullopt;
}

void EventAttributes::append_headers(std::string& out) const {
  for (const auto& [name, value] : list_) {
    if (name == kContentType) {
      append_line(out, "content-type", value);
      continue;
    }
    out += "ce-";
    out += name;
    out += ": ";
    append_attribute(out, value);
    out += kLineEnd;
  }
  append_trace_headers(out);
}

void EventAttributes::append_trace_headers(std::string& out) const {
  for (const auto& [name, value] : list_)
    if ((name == "traceparent" || name == "tracestate") && is_printable_ascii(value) &&
        !value.starts_with(' ') && !value.ends_with(' '))
      append_line(out, name, value);
}

}  // namespace outseal::sinks
