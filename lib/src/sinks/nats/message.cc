#include "sinks/nats/message.h"

#include <algorithm>
#include <array>

#include "base/text.h"
#include "outseal/error.h"

namespace outseal::sinks {
namespace {

constexpr std::string_view kLineEnd = "\r\n";
constexpr std::string_view kVersionLine = "NATS/1.0\r\n";

/// In the order of the canonical bytes; all others follow, sorted by name.
constexpr std::array<std::string_view, 11> kOurHeaders{
    kNatsMsgId, kNatsOurStream, "ce-specversion", kNatsSequence, "ce-id",        "ce-source",
    "ce-type",  "ce-subject",   "ce-time",        "ce-topic",    "content-type",
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

NatsEncoder::NatsEncoder(NatsSubject subject, std::string_view event_source,
                         std::string_view stream, NatsSharing sharing)
    : subject_{std::move(subject)},
      attributes_{event_source},
      stream_{percent_encoded(stream)},
      sharing_{sharing} {}

std::optional<std::string> NatsEncoder::encode(const EventRow& row, Position position,
                                               std::string& out) {
  if (row.payload.size() > kNatsMessageBytesMax)
    return "its payload of " + std::to_string(row.payload.size()) +
           " bytes is longer than any NATS server takes";
  if (auto reason = attributes_.read(row, position)) return reason;
  if (has_control(row.content_type) || row.content_type.starts_with(' ') ||
      row.content_type.ends_with(' '))
    return "its content type is not plain text";
  const std::size_t begin = out.size();
  subject_.append_to(out, row.topic, row.key);
  const std::size_t subject_end = out.size();
  out += kLineEnd;
  out += kVersionLine;
  const std::string id = row.id.to_string();
  append_header(out, kNatsMsgId, sharing_ == NatsSharing::shared ? id + "@" + stream_ : id);
  append_header(out, kNatsOurStream, stream_);
  attributes_.append_headers(out);
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
  std::string_view sequence;
  for (const auto& [name, value] : headers) {
    if (name == kNatsMsgId) msg_id = value;
    if (name == kNatsOurStream) our_stream = value;
    if (name == kNatsSequence) sequence = value;
  }
  if (our_stream.empty() || our_stream != stream) return std::nullopt;
  const auto position = parse_sequence(sequence);
  const auto id = EventId::parse(msg_id.substr(0, msg_id.find('@')));
  if (!position || !id) return std::nullopt;
  return NatsIdentity{*position, *id};
}

}  // namespace outseal::sinks
