#include "store/audit.h"

#include <pwd.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <vector>

#include "base/hash.h"
#include "base/text.h"
#include "outseal/error.h"
#include "sql/audit.h"
#include "store/turns.h"

namespace outseal::store {

namespace {

/// What stands before the first row.
std::string genesis() { return std::string(kHashBytes, '\0'); }

std::string link_hash(std::string_view previous, std::int64_t at_ms, const AuditEntry& entry) {
  Sha256 hash;
  hash.add_field(previous);
  hash.add_field(std::to_string(at_ms));
  for (const std::string_view field : {entry.actor, entry.act, entry.subject, entry.detail})
    hash.add_field(field);
  return hash.finish();
}

/// As one statement and one transaction can carry them.
constexpr std::int64_t kSealedAtOnce = 1'000;
constexpr std::chrono::milliseconds kSealWait{10'000};

void append_link(sql::Connection& connection, std::int64_t at_ms, const AuditEntry& entry) {
  const std::string previous = sql::last_audit_hash(connection).value_or(genesis());
  const std::string hash = link_hash(previous, at_ms, entry);
  sql::insert_audit(connection, {.at_ms = at_ms,
                                 .actor = entry.actor,
                                 .act = entry.act,
                                 .subject = entry.subject,
                                 .detail = entry.detail,
                                 .prev_hash = previous,
                                 .hash = hash});
}

}  // namespace

void check_act(const std::string& operation, const Act& act) {
  if (!is_utf8(act.actor) || !is_utf8(act.reason))
    throw Error{ErrorCode::invalid_argument,
                operation,
                "actor and reason must be UTF-8",
                {.hint = "give them in UTF-8: they are kept in the audit trail"}};
}

void require_reason(const std::string& operation, const Act& act) {
  if (act.reason.empty())
    throw Error{ErrorCode::invalid_argument,
                operation,
                "a reason is missing",
                {.hint = "say why with --reason TEXT; it is kept in the audit trail"}};
}

std::string current_actor() {
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) host[0] = '\0';
  std::vector<char> memory(16'384);
  passwd entry{};
  passwd* found = nullptr;
  ::getpwuid_r(::geteuid(), &entry, memory.data(), memory.size(), &found);
  const std::string user =
      found != nullptr ? std::string{found->pw_name} : "uid" + std::to_string(::geteuid());
  return user + "@" + host.data();
}

void append_audit(sql::Connection& connection, const AuditEntry& entry) {
  if (!connection.in_transaction())
    throw Error{ErrorCode::internal, "audit", "an audit row needs the transaction of its act"};
  take_turns(connection);
  append_link(connection, connection.now_ms(), entry);
}

std::uint64_t seal_audit(sql::Connection& connection) {
  if (!connection.pipelines()) return 0;
  std::uint64_t sealed = 0;
  while (true) {
    std::size_t taken = 0;
    sql::transact(connection, kSealWait, [&] {
      take_turns(connection);
      const auto rows = sql::take_pending_audit(connection, kSealedAtOnce);
      for (const sql::PendingAudit& row : rows)
        append_link(connection, row.at_ms,
                    {row.actor, row.note.act, row.note.subject, row.note.detail});
      taken = rows.size();
    });
    sealed += taken;
    if (taken < kSealedAtOnce) return sealed;
  }
}

std::optional<std::string> verify_audit(sql::Connection& connection) {
  std::optional<std::string> broken;
  std::string previous = genesis();
  sql::walk_audit(connection, [&](const sql::AuditRow& row) {
    const std::string where = "audit row " + std::to_string(row.id);
    if (row.prev_hash != previous) {
      broken = where + " does not follow the row before it";
      return false;
    }
    previous = link_hash(previous, row.at_ms, {row.actor, row.act, row.subject, row.detail});
    if (row.hash != previous) broken = where + " was changed after it was written";
    return !broken;
  });
  return broken;
}

}  // namespace outseal::store
