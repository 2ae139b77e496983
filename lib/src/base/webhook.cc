// The receiver's side of webhook_signature.h.
#include "outseal/webhook.h"

#include <openssl/crypto.h>

#include <charconv>
#include <cstdint>
#include <utility>

#include "base/failpoint.h"
#include "base/text.h"
#include "base/url.h"
#include "base/webhook_signature.h"
#include "outseal/error.h"

namespace outseal {
namespace {

/// Signatures in a header field that are looked at: a sender has 8 secrets at most.
constexpr int kSignaturesMax = 16;
/// Seconds that a clock of nanoseconds can hold, with some room: the year 2200.
constexpr std::uint64_t kTimeMax = 7'258'118'400;

WebhookCheck refuse(int status, std::string reason) {
  return {.event = std::nullopt, .status = status, .reason = std::move(reason)};
}

/// A number as the sink writes it, and in no other way: what is signed is its text.
std::optional<std::uint64_t> parse_number(std::string_view text) {
  std::uint64_t number = 0;
  const char* const last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), last, number);
  if (error != std::errc{} || end != last || std::to_string(number) != text) return std::nullopt;
  return number;
}

std::string_view next_word(std::string_view& text, char end) {
  const auto at = text.find(end);
  const std::string_view word = text.substr(0, at);
  text = at == std::string_view::npos ? std::string_view{} : text.substr(at + 1);
  return word;
}

/// Whether one of the signatures in `field` is the one that `sign` makes with one of the keys.
template <typename Sign>
bool is_signed(std::string_view field, const WebhookSecrets& secrets, Sign&& sign) {
  bool found = false;
  for (const std::string& key : secrets.keys()) {
    const std::string ours = sign(std::vector<std::string>{key});
    std::string_view rest = field;
    for (int i = 0; i < kSignaturesMax && !rest.empty(); ++i) {
      const std::string_view given = next_word(rest, ' ');
      found |=
          given.size() == ours.size() && CRYPTO_memcmp(given.data(), ours.data(), ours.size()) == 0;
    }
  }
  return found;
}

/// An attribute as CloudEvents' HTTP binding writes it; as it is, if it is written in another way.
std::string attribute(const WebhookFields& fields, std::string_view name) {
  std::string text = fields(name);
  std::string decoded;
  return percent_decode(text, decoded) ? decoded : text;
}

void read_attributes(const WebhookFields& fields, WebhookEvent& event) {
  event.content_type = fields("content-type");
  event.structured = lower_case(event.content_type).starts_with("application/cloudevents+json");
  if (event.structured) return;
  event.source = attribute(fields, "ce-source");
  event.topic = attribute(fields, "ce-topic");
  event.key = attribute(fields, "ce-subject");
  event.type = attribute(fields, "ce-type");
}

}  // namespace

WebhookSecrets WebhookSecrets::parse(std::string_view text) {
  WebhookSecrets secrets;
  const auto refuse_secret = [](const std::string& what) {
    throw Error{ErrorCode::invalid_config,
                "webhook",
                what,
                {.hint = "give one secret whsec_<base64 of 24 to 64 bytes> a line"}};
  };
  for (int number = 1; !text.empty(); ++number) {
    std::string_view line = next_word(text, '\n');
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.remove_suffix(1);
    while (line.starts_with(' ')) line.remove_prefix(1);
    if (line.empty() || line.starts_with('#')) continue;
    if (secrets.keys_.size() == kCountMax) refuse_secret("there are more than 8 secrets");
    secrets.keys_.push_back(parse_webhook_secret(line));
    if (secrets.keys_.back().empty())
      refuse_secret("line " + std::to_string(number) + " is not a secret");
  }
  if (secrets.keys_.empty()) refuse_secret("there is no secret");
  return secrets;
}

WebhookSecrets::~WebhookSecrets() {
  for (std::string& key : keys_) OPENSSL_cleanse(key.data(), key.size());
}

void WebhookOptions::validate() const {
  if (tolerance >= std::chrono::seconds{1} && tolerance <= kToleranceMax) return;
  throw Error{ErrorCode::invalid_config,
              "webhook",
              "WebhookOptions: tolerance (s) is not between 1 and 86400",
              {.hint = "5 minutes are usual"}};
}

WebhookCheck verify_webhook(const WebhookFields& fields, std::string_view body,
                            const WebhookSecrets& secrets,
                            std::chrono::system_clock::time_point now,
                            const WebhookOptions& options) {
  options.validate();
  const std::string id_text = fields("webhook-id");
  const std::string position_text = fields("outseal-position");
  const std::string previous_text = fields("outseal-previous-id");
  const std::string stream = fields("outseal-stream");
  const auto time = parse_number(fields("webhook-timestamp"));
  if (!time || *time > kTimeMax) return refuse(401, "webhook-timestamp is not a time");
  const auto time_s = static_cast<std::int64_t>(*time);
  const bool event_is_ours =
      mutant("no_webhook_signature") ||
      is_signed(fields("webhook-signature"), secrets, [&](const std::vector<std::string>& key) {
        return webhook_signature(key, id_text, time_s, body);
      });
  if (!event_is_ours) return refuse(401, "webhook-signature is by none of the secrets");
  const bool place_is_ours =
      mutant("no_place_signature") ||
      is_signed(fields("outseal-signature"), secrets, [&](const std::vector<std::string>& key) {
        return place_signature(key, id_text, time_s, {stream, position_text, previous_text});
      });
  if (!place_is_ours) return refuse(401, "outseal-signature is by none of the secrets");
  const std::chrono::sys_seconds sent_at{std::chrono::seconds{time_s}};
  const auto age = std::chrono::floor<std::chrono::seconds>(now) - sent_at;
  if ((age > options.tolerance || age < -options.tolerance) && !mutant("no_webhook_age"))
    return refuse(401, "webhook-timestamp is too far from now");

  // Strictly read these have no dot, and so the signed text has one meaning.
  const auto id = EventId::parse(id_text);
  if (!id || id->is_nil()) return refuse(400, "webhook-id is not the id of an event");
  const auto position = parse_number(position_text);
  if (!position || *position == 0) return refuse(400, "outseal-position is not a position");
  const auto previous = previous_text.empty() ? EventId{} : EventId::parse(previous_text);
  if (!previous) return refuse(400, "outseal-previous-id is not the id of an event");
  if (stream.empty()) return refuse(400, "outseal-stream is missing");
  WebhookEvent event{
      .id = *id, .position = Position{*position}, .previous_id = *previous, .sent_at = sent_at};
  if (!percent_decode(stream, event.stream)) event.stream = stream;
  read_attributes(fields, event);
  return {.event = std::move(event)};
}

}  // namespace outseal
