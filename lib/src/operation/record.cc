#include "operation/record.h"

#include <cstdint>
#include <utility>

#include "base/failpoint.h"
#include "base/hash.h"
#include "base/text.h"
#include "model/headers.h"
#include "model/request.h"
#include "model/validation.h"
#include "outseal/ids.h"
#include "store/audit.h"
#include "store/transaction.h"

namespace outseal {
namespace operation {

using sql::OperationState;

namespace {

constexpr std::size_t kTimeBytes = 6;
constexpr std::size_t kSecretBytes = 16;

/// A number of 48 bits as 6 bytes, big-endian.
std::string time_bytes(std::uint64_t milliseconds) {
  std::string bytes(kTimeBytes, '\0');
  for (std::size_t i = kTimeBytes; i-- > 0; milliseconds >>= 8U)
    bytes[i] = static_cast<char>(milliseconds & 0xffU);
  return bytes;
}

/// The time that a UUIDv7 begins with; empty if the key is none.
/// Source: RFC 9562, section 5.7.
std::string uuid_time(std::string_view key) {
  if (key.size() != EventId::kTextBytes) return {};
  const auto id = EventId::parse(lower_case(key));
  if (!id || id->bytes()[6] >> 4U != 7 || id->bytes()[8] >> 6U != 2) return {};
  return {reinterpret_cast<const char*>(id->bytes().data()), kTimeBytes};
}

/// The time that a ULID begins with; empty if the key is none.
/// Source: github.com/ulid/spec; Crockford's base 32.
std::string ulid_time(std::string_view key) {
  constexpr std::string_view kDigits = "0123456789abcdefghjkmnpqrstvwxyz";
  constexpr std::size_t kDigitsOfTime = 10;
  if (key.size() != 26 || key.front() > '7') return {};
  const std::string text = lower_case(key);
  if (text.find_first_not_of(kDigits) != std::string::npos) return {};
  std::uint64_t time = 0;
  for (const char digit : text.substr(0, kDigitsOfTime)) time = time << 5U | kDigits.find(digit);
  return time_bytes(time);
}

}  // namespace

std::string key_hash(const Operation& operation) {
  // The lengths keep ("a", "bc") and ("ab", "c") apart.
  Sha256 hash;
  hash.add_field(operation.scope);
  hash.add_field(operation.principal);
  hash.add_field(operation.key);
  // The time first: new records then stand side by side in the index, and a page of it is not
  // touched, and written to the log as a whole, for one record alone.
  return uuid_time(operation.key) + ulid_time(operation.key) + hash.finish();
}

std::int64_t lock_of(std::string_view key_hash) {
  std::uint64_t last = 0;
  for (const char byte : key_hash.substr(key_hash.size() - 8))
    last = last << 8U | static_cast<unsigned char>(byte);
  return static_cast<std::int64_t>(last);
}

std::string handle_text(std::string_view key_hash, std::string_view secret) {
  std::string text;
  append_base64url(text, std::string{key_hash}.append(secret));
  return text;
}

std::optional<Handle> parse_handle(std::string_view text) {
  auto bytes = parse_base64url(text);
  if (!bytes) return std::nullopt;
  if (bytes->size() != kHashBytes + kSecretBytes &&
      bytes->size() != kTimeBytes + kHashBytes + kSecretBytes)
    return std::nullopt;
  const std::size_t length = bytes->size() - kSecretBytes;
  return Handle{bytes->substr(0, length), bytes->substr(length)};
}

Known read_record(sql::OperationRecord record, std::string_view key_hash,
                  const Operation& operation) {
  if (!is_request_of(operation, record.fingerprint, record.fingerprint_version))
    return {Found::mismatch};
  Known known{Found::unfinished};
  if (!record.handle.empty()) known.handle = handle_text(key_hash, record.handle);
  if (record.state == OperationState::in_progress) {
    known.lease_left = record.lease_left;
    return known;
  }
  known.found = Found::unknown;
  if (record.state == OperationState::unknown) return known;
  known.ended =
      record.state == OperationState::succeeded ? Verdict::success : Verdict::final_failure;
  known.status = record.status;
  known.found = mutant("expired_executes") ? Found::free : Found::expired;
  if (!record.body) return known;
  known.found = Found::finished;
  known.reply = Reply{.verdict = *known.ended,
                      .status = record.status,
                      .body = std::move(*record.body),
                      .content_type = std::move(record.content_type),
                      .headers = headers_from_json("execute", record.headers)};
  return known;
}

ExecuteResult result_of(Outcome outcome, Known known) {
  ExecuteResult result{.outcome = outcome,
                       .reply = std::move(known.reply),
                       .ended = known.ended,
                       .status = known.status,
                       .handle = std::move(known.handle)};
  if (outcome == Outcome::in_progress)
    result.retry_after =
        known.lease_left.count() > 0 ? known.lease_left : ExecuteResult::kRetryAfterDefault;
  return result;
}

std::optional<Known> look_up(sql::Connection& connection, const std::string& hash,
                             const Operation& operation) {
  auto record = sql::find_operation(connection, hash);
  if (!record) return std::nullopt;
  return read_record(std::move(*record), hash, operation);
}

sql::NewRecord new_record(const std::string& hash, const Operation* operation, const Reply& reply,
                          const ExecuteOptions& options) {
  static const Operation kNone{.scope = {}, .key = {}, .fingerprint = {}};
  const Operation& of = operation != nullptr ? *operation : kNone;
  return {.key_hash = hash,
          .scope = of.scope,
          .fingerprint = of.fingerprint,
          .fingerprint_version = of.fingerprint_version,
          .state = reply.verdict == Verdict::success ? OperationState::succeeded
                                                     : OperationState::failed,
          .status = reply.status,
          .body = reply.body,
          .content_type = reply.content_type,
          .headers = headers_to_json("execute", reply.headers),
          .response_retention = options.response_retention,
          .key_retention = options.key_retention};
}

std::optional<sql::AuditNote> audit_note_of(const sql::NewRecord& record,
                                            const ExecuteOptions& options) {
  if (!options.audit) return std::nullopt;
  std::string detail = "{";
  if (!record.scope.empty()) {  // Not of one that was resumed: the record has it.
    detail += "\"scope\":";
    append_json_string(detail, record.scope);
    detail += ",";
  }
  detail += "\"status\":" + std::to_string(record.status) + "}";
  return sql::AuditNote{
      record.state == OperationState::succeeded ? "operation.succeeded" : "operation.failed",
      "operation " + to_hex(record.key_hash), std::move(detail)};
}

void note_in_audit(sql::Connection& connection, const std::optional<sql::AuditNote>& note) {
  if (!note) return;
  if (!connection.pipelines())
    return store::append_audit(connection,
                               {store::current_actor(), note->act, note->subject, note->detail});
  const sql::StatementScope insert{sql::insert_pending_audit(connection, *note)};
  insert->step();
}

Reply storable(const Reply& reply, const ExecuteOptions& options) {
  try {
    validate_reply(reply, options);
    return reply;
  } catch (const Error&) {
    return {.verdict = Verdict::final_failure, .status = 500};
  }
}

TransactionOptions transaction_options(const ExecuteOptions& options) {
  return {.statements = options.statements,
          .named_statements = options.named_statements,
          .append_at_once = options.append_at_once,
          .isolation = options.isolation,
          .observer = options.observer};
}

}  // namespace operation

std::optional<ExecuteResult> find(Session session, const Operation& operation,
                                  const ExecuteOptions& options) {
  validate_operation("find", operation);
  const auto impl = Transaction::Impl::attach(
      session, {.statements = options.statements, .named_statements = options.named_statements});
  impl->connection->require_idle("find");
  auto known = operation::look_up(*impl->connection, operation::key_hash(operation), operation);
  if (!known) return std::nullopt;
  const auto outcome = operation::answer_of(known->found);
  return operation::result_of(outcome.value(), std::move(*known));
}

Purged purge_operations(Session session, const PurgeOptions& options) {
  options.validate();
  Purged purged;
  for (std::uint32_t step = 0; options.steps_max == 0 || step < options.steps_max; ++step) {
    Transaction tx{session};
    const sql::PurgedRows rows = sql::purge_operations(store::connection_of(tx), options.step_rows);
    tx.commit();
    purged.responses += static_cast<std::uint64_t>(rows.responses);
    purged.records += static_cast<std::uint64_t>(rows.records);
    if (rows.responses + rows.records < options.step_rows) break;
  }
  return purged;
}

}  // namespace outseal
