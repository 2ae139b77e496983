#include "sinks/nats_message.h"

#include <simdjson.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "base/text.h"
#include "outseal/error.h"
#include "sinks/cloudevents.h"

namespace outseal::sinks {
namespace {

constexpr std::string_view kLineEnd = "\r\n";
constexpr std::string_view kVersionLine = "NATS/1.0\r\n";
constexpr std::string_view kContentType = "content-type";

/// In the order of the canonical bytes.
constexpr std::array<std::string_view, 11> kOurHeaders{
    kNatsMsgId, "ce-specversion", "ce-id",      "ce-source",    "ce-type",        "ce-subject",
    "ce-time",  "ce-topic",       kContentType, kNatsOurStream, kNatsOurPosition,
};

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(), is_control);
}

void append_header(std::string& out, std::string_view name, std::string_view value) {
  out += name;
  out += ": ";
  out += value;
  out += kLineEnd;
}

enum class Dots { separate, escape };

void append_tokens(std::string& out, std::string_view text, Dots dots) {
  if (text.empty() || text == "_") {
    out += text.empty() ? "_" : "%5F";
    return;
  }
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool separates =
        c == '.' && dots == Dots::separate && i > 0 && i + 1 < text.size() && text[i - 1] != '.';
    const bool plain = !is_control(c) && c != ' ' && c != '*' && c != '>' && c != '%' && c != '.';
    if (plain || separates)
      out += c;
    else
      append_percent_encoded_byte(out, c);
  }
}

std::vector<std::string> split_tokens(std::string_view subject) {
  std::vector<std::string> tokens;
  for (;;) {
    const auto dot = subject.find('.');
    tokens.emplace_back(subject.substr(0, dot));
    if (dot == std::string_view::npos) return tokens;
    subject.remove_prefix(dot + 1);
  }
}

/// Why a header of an event cannot be one of its message.
std::optional<std::string> header_refusal(std::string_view name, std::string_view value) {
  const std::string lower = lower_case(name);
  const auto is_letter = [](char c) { return c > ' ' && c <= '~' && c != ':'; };
  if (name.empty() || !std::all_of(name.begin(), name.end(), is_letter))
    return "a header has a name that NATS cannot carry (printable ASCII without ':')";
  for (const std::string_view reserved : {"nats-", "ce-", "outseal-"})
    if (lower.starts_with(reserved))
      return "its header \"" + lower + "\" has a name that is reserved in NATS messages";
  // A client takes a message with "status" and no payload for the server's own.
  if (lower == kContentType || lower == "status" || lower == "description")
    return "its header \"" + lower + "\" has a name that is reserved in NATS messages";
  if (value.empty()) return "its header \"" + lower + "\" is empty, which NATS clients misread";
  if (has_control(value) || value.front() == ' ' || value.back() == ' ')
    return "its header \"" + lower +
           "\" has a value that NATS cannot carry (control characters, or spaces at its ends)";
  return std::nullopt;
}

}  // namespace

NatsSubject::NatsSubject(std::string_view pattern) : tokens_{split_tokens(pattern)} {
  const auto refuse = [&](const std::string& why) {
    throw Error{ErrorCode::invalid_argument,
                "nats URL",
                "parameter \"subject\" " + why,
                {.hint = "write tokens with dots between them; {topic} and {key} may be among them,"
                         " for example subject=shop.{topic}.{key}"}};
  };
  bool filled = false;
  for (const std::string& token : tokens_) {
    if (token.empty()) refuse("has an empty token");
    const bool variable = token == "{topic}" || token == "{key}";
    if (!variable && token.find_first_of(" *>{}%\t\r\n") != std::string::npos)
      refuse("has a token with a character that may not stand there");
    if (has_control(token) || !is_utf8(token)) refuse("is not plain text");
    if (filled) continue;
    space_ += (space_.empty() ? "" : ".") + (variable ? std::string{">"} : token);
    filled = variable;
  }
  if (space_ == ">") refuse("must begin with a token of its own");
}

void NatsSubject::append_to(std::string& out, std::string_view topic, std::string_view key) const {
  for (const std::string& token : tokens_) {
    if (&token != &tokens_.front()) out += '.';
    if (token == "{topic}")
      append_tokens(out, topic, Dots::separate);
    else if (token == "{key}")
      append_tokens(out, key, Dots::escape);
    else
      out += token;
  }
}

bool subject_covers(std::string_view outer, std::string_view inner) {
  const auto outers = split_tokens(outer);
  const auto inners = split_tokens(inner);
  for (std::size_t i = 0; i < outers.size(); ++i) {
    if (i == inners.size()) return false;
    if (outers[i] == ">") return true;
    if (inners[i] == ">") return false;
    if (outers[i] != "*" && outers[i] != inners[i]) return false;
  }
  return outers.size() == inners.size();
}

bool subjects_overlap(std::string_view one, std::string_view other) {
  const auto ones = split_tokens(one);
  const auto others = split_tokens(other);
  for (std::size_t i = 0; i < std::min(ones.size(), others.size()); ++i) {
    if (ones[i] == ">" || others[i] == ">") return true;
    if (ones[i] != "*" && others[i] != "*" && ones[i] != others[i]) return false;
  }
  return ones.size() == others.size();
}

std::string percent_encoded(std::string_view text) {
  std::string out;
  append_attribute(out, text);
  return out;
}

/// The event's own headers, parsed and sorted.
struct NatsEncoder::OwnHeaders {
  simdjson::dom::parser parser;
  std::vector<NatsHeader> sorted;  ///< Views into the parser.

  std::optional<std::string> read(std::string_view json) {
    constexpr auto kNotFlat = "its headers are not a JSON object of texts";
    sorted.clear();
    if (json == "{}") return std::nullopt;
    simdjson::dom::object object;
    if (parser.parse(json.data(), json.size()).get(object) != simdjson::SUCCESS) return kNotFlat;
    for (const auto field : object) {
      std::string_view value;
      if (field.value.get(value) != simdjson::SUCCESS) return kNotFlat;
      if (auto reason = header_refusal(field.key, value)) return reason;
      sorted.emplace_back(field.key, value);
    }
    std::sort(sorted.begin(), sorted.end());
    const auto same_name = [](const auto& a, const auto& b) { return a.first == b.first; };
    if (std::adjacent_find(sorted.begin(), sorted.end(), same_name) != sorted.end())
      return "one of its headers is there twice";
    return std::nullopt;
  }
};

NatsEncoder::NatsEncoder(NatsSubject subject, std::string_view event_source,
                         std::string_view stream, NatsSharing sharing)
    : subject_{std::move(subject)},
      source_{percent_encoded(event_source)},
      stream_{percent_encoded(stream)},
      sharing_{sharing},
      own_{std::make_unique<OwnHeaders>()} {
  if (event_source.empty() || !is_utf8(event_source))
    throw Error{ErrorCode::invalid_config, "encode", "the event source is empty or not UTF-8"};
}

NatsEncoder::~NatsEncoder() = default;

std::optional<std::string> NatsEncoder::refusal(const EventRow& row) {
  if (row.payload.size() > kNatsMessageBytesMax)
    return "its payload of " + std::to_string(row.payload.size()) +
           " bytes is longer than any NATS server takes";
  if (!is_utf8(row.topic)) return "its topic is not UTF-8";
  if (!is_utf8(row.key)) return "its key is not UTF-8";
  if (row.type.empty() || !is_utf8(row.type)) return "its type is empty or not UTF-8";
  if (has_control(row.content_type) || !is_utf8(row.content_type) ||
      row.content_type.starts_with(' ') || row.content_type.ends_with(' '))
    return "its content type is not plain text";
  if (!is_rfc3339_time(row.created_at_ms)) return "its time is not between the years 1970 and 9999";
  return own_->read(row.headers);
}

std::optional<std::string> NatsEncoder::encode(const EventRow& row, Position position,
                                               std::string& out) {
  if (auto reason = refusal(row)) return reason;
  const std::size_t begin = out.size();
  subject_.append_to(out, row.topic, row.key);
  const std::size_t subject_end = out.size();
  out += kLineEnd;
  out += kVersionLine;
  const std::string id = row.id.to_string();
  append_header(out, kNatsMsgId, sharing_ == NatsSharing::shared ? id + "@" + stream_ : id);
  append_header(out, "ce-specversion", "1.0");
  append_header(out, "ce-id", id);
  append_header(out, "ce-source", source_);
  const auto append_text = [&out](std::string_view name, std::string_view text) {
    out += name;
    out += ": ";
    append_attribute(out, text);
    out += kLineEnd;
  };
  append_text("ce-type", row.type);
  if (!row.key.empty()) append_text("ce-subject", row.key);
  append_header(out, "ce-time", to_rfc3339(row.created_at_ms));
  if (!row.topic.empty()) append_text("ce-topic", row.topic);
  if (!row.content_type.empty()) append_header(out, kContentType, row.content_type);
  append_header(out, kNatsOurStream, stream_);
  append_header(out, kNatsOurPosition, std::to_string(position.value()));
  for (const auto& [name, value] : own_->sorted) append_header(out, name, value);
  out += kLineEnd;
  const std::size_t head_end = out.size();
  out += row.payload;

  std::optional<std::string> reason;
  if (subject_end - begin > kNatsSubjectBytesMax)
    reason = "its topic and key make a subject that is too long for NATS";
  else if (head_end - subject_end > kNatsHeaderBytesMax)
    reason = "its headers are longer than the " + std::to_string(kNatsHeaderBytesMax) +
             " bytes that a stream takes";
  if (reason) out.resize(begin);
  return reason;
}

NatsMessageView::NatsMessageView(std::string_view encoded) {
  const auto subject_end = encoded.find(kLineEnd);
  subject = encoded.substr(0, subject_end);
  encoded.remove_prefix(subject_end + kLineEnd.size() + kVersionLine.size());
  // There is at least one header.
  const auto headers_end = encoded.find("\r\n\r\n") + kLineEnd.size();
  headers = encoded.substr(0, headers_end);
  payload = encoded.substr(headers_end + kLineEnd.size());
}

std::size_t NatsMessageView::wire_bytes() const {
  return kVersionLine.size() + headers.size() + kLineEnd.size() + payload.size();
}

NatsHeader NatsMessageView::take_header() {
  const auto colon = headers.find(':');
  const auto end = headers.find(kLineEnd, colon);
  const NatsHeader header{headers.substr(0, colon), headers.substr(colon + 2, end - colon - 2)};
  headers.remove_prefix(end + kLineEnd.size());
  return header;
}

void append_canonical(std::string& out, std::string_view subject, std::vector<NatsHeader>& headers,
                      std::string_view payload) {
  const auto rank = [](std::string_view name) {
    return std::find(kOurHeaders.begin(), kOurHeaders.end(), name) - kOurHeaders.begin();
  };
  std::sort(headers.begin(), headers.end(), [&](const NatsHeader& a, const NatsHeader& b) {
    return std::pair{rank(a.first), a} < std::pair{rank(b.first), b};
  });
  out += subject;
  out += kLineEnd;
  out += kVersionLine;
  for (const auto& [name, value] : headers)
    if (name != kNatsExpectedStream && name != kNatsExpectedSequence && name != kNatsExpectedId)
      append_header(out, name, value);
  out += kLineEnd;
  out += payload;
}

std::optional<NatsIdentity> identify(const std::vector<NatsHeader>& headers,
                                     std::string_view stream) {
  std::string_view msg_id;
  std::string_view our_stream;
  std::string_view our_position;
  for (const auto& [name, value] : headers) {
    if (name == kNatsMsgId) msg_id = value;
    if (name == kNatsOurStream) our_stream = value;
    if (name == kNatsOurPosition) our_position = value;
  }
  if (our_stream.empty() || our_stream != stream) return std::nullopt;
  std::uint64_t position = 0;
  const char* const end = our_position.data() + our_position.size();
  const auto [stop, error] = std::from_chars(our_position.data(), end, position);
  if (error != std::errc{} || stop != end || position == 0) return std::nullopt;
  const auto id = EventId::parse(msg_id.substr(0, msg_id.find('@')));
  if (!id) return std::nullopt;
  return NatsIdentity{Position{position}, *id};
}

}  // namespace outseal::sinks
