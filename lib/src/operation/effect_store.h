// The seam between an attempt and its database: what is read at once, and what is written at once.
//
// Every write is a compare-and-set on the record's fence, and one commit. Times are the database's.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "model/effect_view.h"
#include "outseal/effects.h"
#include "outseal/idempotency.h"

namespace outseal::operation {

using Milliseconds = std::chrono::milliseconds;

/// An operation's identity, for all that is written of it.
struct OperationId {
  std::string key_hash;
  const Operation* operation = nullptr;  ///< Null for a resumed one: there is nothing to begin.
  std::string handle;                    ///< 16 random bytes, for the case that it is begun.
  std::string owner;                     ///< Of the lease, unless it is given back.
};

/// The events that undo what was applied, the last effect's first.
using Compensations = std::function<std::vector<Event>()>;

class EffectStore {
 public:
  virtual ~EffectStore() = default;
  EffectStore() = default;
  EffectStore(const EffectStore&) = delete;
  EffectStore& operator=(const EffectStore&) = delete;

  /// One round trip, without a lock.
  virtual OperationView load(const std::string& key_hash) = 0;

  /// Takes over an operation if it still has `fence`, its lease ended at least `idle` ago, and no
  /// effect of it is unknown or disputed (may_take_over()): it is in progress, with the next fence
  /// and one attempt more. @returns its view, or nothing.
  virtual std::optional<OperationView> take_over(const OperationId& id, std::int64_t fence,
                                                 Milliseconds idle, Milliseconds lease) = 0;
  /// Of the operations of `scope` that take_over() would take, the one that was left first; key
  /// hash and fence.
  virtual std::optional<std::pair<std::string, std::int64_t>> find_left(const std::string& scope,
                                                                        Milliseconds idle) = 0;

  /// One commit. @returns false if the key has a record that is not expired (to begin), the record
  /// is not in progress or has another fence (may_write()), or an effect that is settled is no
  /// longer intended; nothing was changed then.
  virtual bool advance(const OperationId& id, const Advance& advance) = 0;

  /// The last commit: begins a transaction, runs `handler` in it, writes `settled`, the record of
  /// its reply (with its retentions) and what it appended, and commits. On a final failure the
  /// handler's work is undone, and what `compensations` gives is appended in the same transaction.
  /// On a retryable one everything is undone, and nothing is written.
  /// @returns the reply; nothing if the fence was another one, and everything is undone.
  virtual std::optional<Reply> finish(const OperationId& id, std::optional<std::int64_t> fence,
                                      std::span<const Settle> settled, const FinishHandler& handler,
                                      const Compensations& compensations) = 0;
};

/// As their databases need it. SQLite: statements in a transaction. PostgreSQL: SQL functions.
std::unique_ptr<EffectStore> make_sqlite_effect_store(Session session,
                                                      const AttemptOptions& options);
std::unique_ptr<EffectStore> make_postgres_effect_store(Session session,
                                                        const AttemptOptions& options);

}  // namespace outseal::operation
