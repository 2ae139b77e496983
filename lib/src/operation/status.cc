#include "operation/status.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/failpoint.h"
#include "base/owner.h"
#include "model/headers.h"
#include "model/validation.h"
#include "operation/record.h"
#include "store/observed.h"
#include "store/transaction.h"

namespace outseal {
namespace operation {
namespace {

using std::chrono::milliseconds;

EffectState effect_state_of(std::string_view text) {
  using enum EffectState;
  constexpr std::array<std::pair<std::string_view, EffectState>, 7> kStates{{
      {"intended", intended},
      {"confirmed", confirmed},
      {"not_applied", not_applied},
      {"failed", failed},
      {"applied", applied},
      {"abandoned", abandoned},
      {"disputed", disputed},
  }};
  for (const auto& [name, state] : kStates)
    if (name == text) return state;
  return unknown;  // Whatever else it says: nobody knows.
}

EffectOutcome outcome_of(sql::EffectStatusRow row) {
  EffectOutcome effect{.name = std::move(row.name),
                       .state = effect_state_of(row.state),
                       .reference = std::move(row.reference),
                       .attempts = row.attempts};
  if (row.amount_minor) effect.amount = Amount{*row.amount_minor, std::move(row.currency)};
  return effect;
}

bool any_in(const std::vector<EffectOutcome>& effects, std::initializer_list<EffectState> states) {
  return std::any_of(effects.begin(), effects.end(), [&](const EffectOutcome& effect) {
    return std::find(states.begin(), states.end(), effect.state) != states.end();
  });
}

/// In constant time, so that the time it takes tells nothing about the record's.
bool is_same_secret(std::string_view given, std::string_view kept) {
  return given.size() == kept.size() && CRYPTO_memcmp(given.data(), kept.data(), given.size()) == 0;
}

/// Of one in progress, with a record.
void note_lease(OperationStatus& status, const sql::OperationStatusRow& row) {
  const milliseconds left{std::max<std::int64_t>(0, row.lease_until_ms - row.now_ms)};
  status.owner_gone = is_certainly_gone(row.lease_owner);
  // Whoever lives may end it long before its lease does; after a dead one nobody may come earlier.
  status.retry_after = status.owner_gone ? left : std::min(left, ExecuteResult::kRetryAfterDefault);
}

void note_end(OperationStatus& status, sql::OperationStatusRow& row) {
  using enum EffectState;
  status.ended = row.state == "succeeded" ? Verdict::success : Verdict::final_failure;
  if (status.state != OperationState::disputed) {
    status.state = !row.body                          ? OperationState::expired
                   : status.ended == Verdict::success ? OperationState::succeeded
                                                      : OperationState::failed;
    if (row.body)
      status.reply = Reply{.verdict = *status.ended,
                           .status = row.status,
                           .body = std::move(*row.body),
                           .content_type = std::move(row.content_type),
                           .headers = headers_from_json("status", row.headers)};
  }
  const bool all_proven = std::all_of(
      status.effects.begin(), status.effects.end(),
      [](const EffectOutcome& each) { return each.state == not_applied || each.state == failed; });
  status.safe_new_key = status.ended == Verdict::final_failure && all_proven;
}

}  // namespace

StatusOf status_of(std::string_view caller, const OperationKey& operation) {
  const Operation named{.scope = operation.scope,
                        .principal = operation.principal,
                        .key = operation.key,
                        .fingerprint = std::string(32, '\0')};
  validate_operation(caller, named);
  return {key_hash(named)};
}

StatusOf status_of(std::string_view handle) {
  auto parsed = parse_handle(handle);
  if (!parsed) return {};
  return {std::move(parsed->key_hash), std::move(parsed->secret)};
}

OperationStatus status_from(sql::OperationStatusRow row, const StatusOf& which) {
  using enum EffectState;
  OperationStatus status;
  if (!which.secret.empty() && !is_same_secret(which.secret, row.handle) &&
      !mutant("no_handle_check"))
    return status;
  for (sql::EffectStatusRow& effect : row.effects)
    status.effects.push_back(outcome_of(std::move(effect)));
  // What is open keeps its key beyond the key's retention.
  const bool is_open = any_in(status.effects, {intended, unknown, disputed});
  if (!row.is_there || (row.has_expired && !is_open)) {
    if (!row.is_running || !which.secret.empty()) return {};
    return {.state = OperationState::in_progress, .retry_after = ExecuteResult::kRetryAfterDefault};
  }
  status.scope = std::move(row.scope);
  status.since = std::chrono::system_clock::time_point{milliseconds{row.created_ms}};
  status.attempts = row.attempts;
  if (!row.handle.empty()) status.handle = handle_text(which.key_hash, row.handle);
  // One that is not final is what its effects are: when an operator has decided on the last one, it
  // may be taken over.
  status.state = any_in(status.effects, {disputed})               ? OperationState::disputed
                 : any_in(status.effects, {EffectState::unknown}) ? OperationState::unknown
                                                                  : OperationState::in_progress;
  if (row.state == "succeeded" || row.state == "failed")
    note_end(status, row);
  else if (status.state == OperationState::in_progress)
    note_lease(status, row);
  return status;
}

OperationStatus read_status(sql::Connection& connection, const StatusOf& which) {
  if (which.key_hash.empty()) return {};
  return status_from(
      sql::read_operation_status(connection, which.key_hash, lock_of(which.key_hash)), which);
}

OperationStatus look(Session session, const StatusOf& which, const StatusOptions& options) {
  StatusCall seen;
  return store::observed(options.observer, seen, [&] {
    const auto impl = Transaction::Impl::attach(
        session, {.statements = options.statements, .named_statements = options.named_statements});
    impl->connection->require_idle("status");
    OperationStatus status = read_status(*impl->connection, which);
    seen.state = status.state;
    return status;
  });
}

}  // namespace operation

OperationStatus status(Session session, const OperationKey& operation,
                       const StatusOptions& options) {
  return operation::look(session, operation::status_of("status", operation), options);
}

OperationStatus status(Session session, std::string_view handle, const StatusOptions& options) {
  return operation::look(session, operation::status_of(handle), options);
}

std::string_view name_of(OperationState state) {
  switch (state) {
    case OperationState::absent:
      return "absent";
    case OperationState::in_progress:
      return "in_progress";
    case OperationState::succeeded:
      return "succeeded";
    case OperationState::failed:
      return "failed";
    case OperationState::unknown:
      return "unknown";
    case OperationState::expired:
      return "expired";
    case OperationState::disputed:
      return "disputed";
  }
  return "unknown";
}

}  // namespace outseal
