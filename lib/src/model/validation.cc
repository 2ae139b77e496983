#include "model/validation.h"

#include <algorithm>
#include <set>

#include "base/hash.h"
#include "base/text.h"
#include "outseal/error.h"
#include "outseal/transaction.h"

namespace outseal {
namespace {

[[noreturn]] void refuse(std::string_view operation, const std::string& message, std::string hint) {
  throw Error{ErrorCode::invalid_argument, operation, message, {.hint = std::move(hint)}};
}

void check_length(std::string_view operation, const std::string& field, std::string_view value,
                  std::size_t min, std::size_t max) {
  if (value.size() < min) refuse(operation, field + " is empty", "give one");
  if (value.size() > max)
    refuse(operation,
           field + " has " + std::to_string(value.size()) + " bytes, the limit is " +
               std::to_string(max),
           "shorten it");
}

}  // namespace

void check_text(std::string_view operation, const std::string& field, std::string_view value,
                std::size_t min, std::size_t max) {
  check_length(operation, field, value, min, max);
  if (!is_utf8(value)) refuse(operation, field + " is not UTF-8", "encode it as UTF-8");
  if (value.find('\0') != std::string_view::npos)
    refuse(operation, field + " holds a NUL byte", "remove it");
}

namespace {

bool is_topic_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '/' || c == '-';
}

void check_topic(std::string_view topic) {
  check_text("append", "topic", topic, 1, kTopicBytesMax);
  if (!std::all_of(topic.begin(), topic.end(), is_topic_character))
    refuse("append", "topic has a character outside of A-Z a-z 0-9 . _ / -",
           "put free text into the type, a header or the payload");
}

void check_content_type(std::string_view operation, std::string_view content_type,
                        std::size_t min) {
  check_text(operation, "content type", content_type, min, kContentTypeBytesMax);
  if (!std::all_of(content_type.begin(), content_type.end(),
                   [](char c) { return c >= ' ' && c <= '~'; }))
    refuse(operation, "content type is not printable ASCII", "give a media type");
}

void check_headers(std::string_view operation, const std::map<std::string, std::string>& headers) {
  if (headers.size() > kHeaderCountMax)
    refuse(operation,
           std::to_string(headers.size()) + " headers, the limit is " +
               std::to_string(kHeaderCountMax),
           "move data into the payload");
  std::size_t bytes = 0;
  for (const auto& [name, value] : headers) {
    check_text(operation, "header name", name, 1, kTypeBytesMax);
    check_text(operation, "header " + name, value, 0, kHeaderBytesMax);
    bytes += name.size() + value.size();
  }
  if (bytes > kHeaderBytesMax)
    refuse(operation,
           "headers have " + std::to_string(bytes) + " bytes, the limit is " +
               std::to_string(kHeaderBytesMax),
           "move data into the payload");
}

void check_fingerprint(std::string_view operation, std::string_view fingerprint) {
  if (fingerprint.size() != kHashBytes)
    refuse(operation,
           "fingerprint has " + std::to_string(fingerprint.size()) + " bytes instead of 32",
           "make it with outseal::fingerprint(canonical_request)");
}

void check_fingerprint_version(std::string_view operation, int version) {
  if (version < 1)
    refuse(operation, "fingerprint version " + std::to_string(version) + " is below 1",
           "number the canonical forms of your requests from 1");
}

}  // namespace

bool is_text_content_type(std::string_view content_type) {
  const std::string_view media = content_type.substr(0, content_type.find(';'));
  const std::string trimmed = lower_case(media.substr(0, media.find_last_not_of(" \t") + 1));
  return trimmed == "application/json" || trimmed.ends_with("+json") ||
         trimmed.starts_with("text/");
}

void validate_event(const Event& event, const AppendOptions& options) {
  options.validate();
  check_topic(event.topic);
  check_text("append", "key", event.key, 0, kKeyBytesMax);
  check_text("append", "type", event.type, 1, kTypeBytesMax);
  check_content_type("append", event.content_type, 1);
  check_headers("append", event.headers);
  if (event.payload.size() > options.payload_bytes_max)
    refuse("append",
           "payload has " + std::to_string(event.payload.size()) + " bytes, the limit is " +
               std::to_string(options.payload_bytes_max),
           "store the body elsewhere and send a reference, or raise"
           " AppendOptions::payload_bytes_max");
  if (is_text_content_type(event.content_type) && !is_utf8(event.payload))
    refuse("append", "payload is not UTF-8, but its content type is " + event.content_type,
           "encode it as UTF-8, or use a binary content type such as application/octet-stream");
  if (event.id && event.id->is_nil())
    refuse("append", "event id is the nil UUID", "leave it out to get a new one");
}

void validate_operation(std::string_view caller, const Operation& operation) {
  check_text(caller, "scope", operation.scope, 1, kScopeBytesMax);
  // Principal and key are only hashed: any bytes will do.
  check_length(caller, "principal", operation.principal, 0, kPrincipalBytesMax);
  check_length(caller, "idempotency key", operation.key, 1, kOperationKeyBytesMax);
  check_fingerprint(caller, operation.fingerprint);
  check_fingerprint_version(caller, operation.fingerprint_version);
  const auto& older = operation.older_fingerprints;
  if (older.size() > kOlderFingerprintsMax)
    refuse(caller,
           std::to_string(older.size()) + " older fingerprints, the limit is " +
               std::to_string(kOlderFingerprintsMax),
           "leave out versions that no record has any more");
  std::set<int> versions{operation.fingerprint_version};
  for (const auto& [version, fingerprint] : older) {
    check_fingerprint(caller, fingerprint);
    check_fingerprint_version(caller, version);
    if (!versions.insert(version).second)
      refuse(caller, "fingerprint version " + std::to_string(version) + " is given twice",
             "give one fingerprint for each version");
  }
}

void validate_reply(const Reply& reply, const ExecuteOptions& options) {
  if (reply.verdict != Verdict::success && reply.verdict != Verdict::final_failure &&
      reply.verdict != Verdict::retryable_failure)
    refuse("execute",
           "reply verdict " + std::to_string(static_cast<int>(reply.verdict)) + " is unknown",
           "reply with one of Verdict");
  if (reply.status < 0 || reply.status > 999)
    refuse("execute", "reply status " + std::to_string(reply.status) + " is outside of 0 to 999",
           "use the service's own status, for example an HTTP one");
  if (reply.body.size() > options.body_bytes_max)
    refuse("execute",
           "reply body has " + std::to_string(reply.body.size()) + " bytes, the limit is " +
               std::to_string(options.body_bytes_max),
           "store the body elsewhere and reply with a reference");
  check_content_type("execute", reply.content_type, 0);
  check_headers("execute", reply.headers);
}

void ConfigErrors::check_range(std::string_view field, std::int64_t value, std::int64_t min,
                               std::int64_t max) {
  if (value < min || value > max)
    add(std::string{field} + " is " + std::to_string(value) + ", allowed is " +
        std::to_string(min) + " to " + std::to_string(max));
}

void ConfigErrors::raise() const {
  if (faults_.empty()) return;
  std::string message;
  for (const std::string& fault : faults_) message += (message.empty() ? "" : "; ") + fault;
  throw Error{ErrorCode::invalid_config, what_, message};
}

void TransactionOptions::validate() const {
  ConfigErrors faults{"TransactionOptions"};
  faults.check_range("busy_wait (ms)", busy_wait.count(), 0, kBusyWaitMax.count());
  faults.raise();
}

void AppendOptions::validate() const {
  if (payload_bytes_max >= 1 && payload_bytes_max <= kPayloadBytesMax) return;
  ConfigErrors faults{"AppendOptions"};
  faults.check_range("payload_bytes_max", static_cast<std::int64_t>(payload_bytes_max), 1,
                     kPayloadBytesMax);
  faults.raise();
}

void ExecuteOptions::validate() const {
  ConfigErrors faults{"ExecuteOptions"};
  faults.check_range("body_bytes_max", static_cast<std::int64_t>(body_bytes_max), 1, kBodyBytesMax);
  faults.check_range("wait (ms)", wait.count(), 0, kWaitMax.count());
  faults.check_range("response_retention (s)", response_retention.count(), kRetentionMin.count(),
                     kForever.count());
  faults.check_range("key_retention (s)", key_retention.count(), response_retention.count(),
                     kForever.count());
  faults.raise();
}

void PurgeOptions::validate() const {
  ConfigErrors faults{"PurgeOptions"};
  faults.check_range("step_rows", step_rows, 1, kStepRowsMax);
  faults.raise();
}

std::string_view name_of(Outcome outcome) {
  switch (outcome) {
    case Outcome::executed:
      return "executed";
    case Outcome::replayed:
      return "replayed";
    case Outcome::mismatch:
      return "mismatch";
    case Outcome::in_progress:
      return "in_progress";
    case Outcome::released:
      return "released";
    case Outcome::expired:
      return "expired";
    case Outcome::unknown:
      break;
  }
  return "unknown";
}

}  // namespace outseal
