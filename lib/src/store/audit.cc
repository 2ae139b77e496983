#include "store/audit.h"

#include <pwd.h>
#include <unistd.h>

#include <array>
#include <vector>

#include "base/hash.h"
#include "outseal/error.h"

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

}  // namespace

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
  sql::Use { connection.statement(sql::Query::take_turns) } -> step();
  std::string previous = genesis();
  {
    const sql::Use last{connection.statement(sql::Query::last_audit_hash)};
    if (last->step()) previous = last->blob(0);
  }
  const std::int64_t at_ms = connection.now_ms();
  const std::string hash = link_hash(previous, at_ms, entry);
  const sql::Use insert{connection.statement(sql::Query::insert_audit)};
  insert->bind(0, at_ms);
  insert->bind_text(1, entry.actor);
  insert->bind_text(2, entry.act);
  insert->bind_text(3, entry.subject);
  insert->bind_text(4, entry.detail);
  insert->bind_blob(5, previous);
  insert->bind_blob(6, hash);
  insert->step();
}

std::optional<std::string> verify_audit(sql::Connection& connection) {
  const sql::Use rows{connection.statement(sql::Query::read_audit)};
  std::string previous = genesis();
  while (rows->step()) {
    const std::string where = "audit row " + std::to_string(rows->integer(0));
    const AuditEntry entry{rows->text(2), rows->text(3), rows->text(4), rows->text(5)};
    if (rows->blob(6) != previous) return where + " does not follow the row before it";
    previous = link_hash(previous, rows->integer(1), entry);
    if (rows->blob(7) != previous) return where + " was changed after it was written";
  }
  return std::nullopt;
}

}  // namespace outseal::store
