// A database for the adversarial suite. Every row of `work` is one step of a program; the events
// that the step appended belong to it. Whatever savepoints and rollbacks do, the database keeps the
// row if and only if it must keep the events: it is the model itself.
#pragma once

#include <soci/soci.h>

#include <memory>
#include <string>

namespace outseal::test::adversary {

/// Tables: work (label, n, event, key), with a trigger that appends `event` if it is not NULL;
/// account (id, v) with the rows 1 and 2; strict (id), unique, with the row 1; later (id), where
/// doubles (PostgreSQL) or all values but 1 (SQLite) are refused at COMMIT.
class Site {
 public:
  virtual ~Site() = default;
  virtual bool postgres() const = 0;
  /// Whether a commit over both files of SQLite would not be atomic.
  virtual bool splits_files() const { return false; }
  /// A session as a service has it; `beside`: of somebody else, who waits for nobody.
  virtual std::unique_ptr<soci::session> open(bool beside = false) const = 0;
  /// What a service sets up on a new connection.
  virtual void prepare(soci::session& session) const = 0;
  /// Waits until no connection of a program is left, and rolls back what it has prepared.
  virtual void settle(soci::session& reader) const = 0;

  std::string outbox() const { return postgres() ? "outseal.outbox" : "main.outseal_outbox"; }
  std::string idempotency() const {
    return postgres() ? "outseal.idempotency" : "main.outseal_idempotency";
  }
};

/// By the driver's own handle, without asking the server.
enum class SessionState { gone, idle, open, failed };
SessionState state_of(soci::session& session);

}  // namespace outseal::test::adversary
