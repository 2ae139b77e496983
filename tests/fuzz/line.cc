// An event of any content as a published line, a webhook and a NATS message: what is taken can be
// read back, what is refused leaves no trace.
#include <string>

#include "fuzz/fuzz.h"
#include "sinks/common/cloudevents.h"
#include "sinks/file/segments.h"
#include "sinks/http/fields.h"
#include "sinks/http/message.h"
#include "sinks/nats/message.h"

using namespace outseal;
using namespace outseal::sinks;
using fuzz::require;

namespace {

constexpr std::size_t kBytesMax = 4U << 20U;
const EventId kId = *EventId::parse("0190a5d0-1111-7222-8333-444455556666");

void check_line(const EventRow& row, Position position) {
  static CloudEventsEncoder encoder{"/shop", kBytesMax};
  static JsonCheck json{JsonCheck::kLineLevelsMax};
  std::string line;
  if (encoder.encode(row, position, line)) {
    require(line.empty(), "a refusal leaves the output as it was");
    return;
  }
  require(line.find('\n') == line.size() - 1, "a line is one line");
  const auto head = parse_own_line(line, json);
  require(head && head->position == position && head->event_id == kId, "a line is read back");
}

void check_webhook(const EventRow& row, Position position, bool structured) {
  HttpMessageEncoder encoder{"/shop", "/shop#main", {structured, kBytesMax}};
  std::string bytes;
  if (encoder.encode(row, position, bytes)) {
    require(bytes.empty(), "a refusal leaves the output as it was");
    return;
  }
  const HttpMessage message = HttpMessage::parse(bytes);
  require(structured || message.body == row.payload, "the body is the payload");
  require(key_of_message(bytes) == message.key, "the key stands in front");
  for (const auto& [name, value] : message.fields) {
    require(is_http_token(name), "names of header fields are tokens");
    require(is_http_value(value), "values of header fields are text");
  }
}

void check_nats(const EventRow& row, Position position) {
  static NatsEncoder encoder{NatsSubject{"S.{topic}.{key}"}, "/shop", "/shop#main"};
  std::string bytes;
  if (encoder.encode(row, position, bytes)) {
    require(bytes.empty(), "a refusal leaves the output as it was");
    return;
  }
  NatsMessageView view{bytes};
  const std::string_view payload = view.payload;
  const std::string_view subject = view.subject;
  require(payload == row.payload, "the payload is the event's");
  std::vector<NatsHeader> headers;
  while (!view.headers.empty()) headers.insert(headers.begin(), view.take_header());
  const auto identity = identify(headers, "/shop#main");
  require(identity && identity->position == position && identity->event_id == kId,
          "a message is recognised");
  std::string again;
  append_canonical(again, subject, headers, payload);
  require(again == bytes, "a message is put together again");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes = fuzz::text_of(data, size);
  static JsonCheck json{JsonCheck::kLineLevelsMax};
  if (parse_own_line(bytes, json)) {
    require(may_be_cut_line(bytes), "a whole line starts like a cut one");
    require(parse_line_head(bytes).has_value(), "a whole line has a head");
  }
  fuzz::Fields fields{bytes};
  EventRow row;
  row.id = kId;
  row.topic = fields.next();
  row.key = fields.next();
  row.type = fields.next();
  row.content_type = fields.next();
  row.headers = fields.next();
  row.payload = fields.rest();
  row.created_at_ms = 1'769'903'999'999;
  const Position position{size + 1};
  check_line(row, position);
  check_webhook(row, position, false);
  check_webhook(row, position, true);
  check_nats(row, position);
  return 0;
}
