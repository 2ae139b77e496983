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
#include <vector>

#include "outseal/effects.h"
#include "outseal/idempotency.h"

namespace outseal::operation {

using Milliseconds = std::chrono::milliseconds;

/// An effect's row.
struct EffectRow {
  EffectOutcome outcome;
  std::string request_hash;
  std::string provider;
  std::string provider_key;
  std::string policies;
  std::optional<Amount> asked;  ///< What was asked for.
  std::string compensation;     ///< The event as JSON; empty for none.
  std::int64_t version = 0;
  /// How long ago the first and the last request may have left; none if proven that none has.
  std::optional<Milliseconds> first_sent_ago = {};
  std::optional<Milliseconds> last_sent_ago = {};
};

/// What the database holds of an operation, read at once.
struct OperationView {
  enum class State { absent, in_progress, succeeded, failed, unknown };
  State state = State::absent;  ///< absent also if its retention has passed.
  std::string key_hash;
  std::string fingerprint;
  int fingerprint_version = 0;
  std::string handle;  ///< 16 random bytes; empty for a one-transaction operation.
  std::int64_t fence = 0;
  int attempts = 0;
  std::string lease_owner;
  Milliseconds lease_left{};       ///< Negative: it ended so long ago.
  std::optional<Reply> reply;      ///< None while not final, and after the response's retention.
  int status = 0;                  ///< Of a final one, also without a reply.
  std::vector<EffectRow> effects;  ///< In the order in which they were intended.
};

/// How an effect ended, or that nothing of it was sent.
struct Settle {
  std::string name;
  EffectState state = EffectState::confirmed;  ///< intended: it is proven that nothing was sent.
  std::string reference;
  std::string response;
  std::string compensation;
  std::string decided_by;  ///< Empty: the call itself. Else the policy, for example "ask".
  std::string evidence;
};

/// An effect that is about to be sent: its row is made, or, if it is known, its sending is noted.
struct Send {
  std::string name;
  std::string request_hash;
  std::string provider;
  std::string provider_key;
  std::string policies;
  std::optional<Amount> amount;
  std::string attributes;
  std::optional<Milliseconds> rerun_for;  ///< From its first sending on; none: never.
};

/// What one commit changes of an operation that is not final.
struct Advance {
  /// Nothing: the operation is begun, with fence 1.
  std::optional<std::int64_t> fence;
  std::vector<Settle> settled;
  std::optional<Send> send;
  /// Renews the lease for so long from now on; 0 gives it back.
  Milliseconds lease{};
  bool hand_over = false;  ///< The operation is unknown from now on.
};

/// An operation's identity, for all that is written of it.
struct OperationId {
  std::string key_hash;
  const Operation* operation = nullptr;  ///< Null for a resumed one: there is nothing to begin.
  std::string handle;                    ///< 16 random bytes, for the case that it is begun.
  std::string owner;
};

class EffectStore {
 public:
  virtual ~EffectStore() = default;
  EffectStore() = default;
  EffectStore(const EffectStore&) = delete;
  EffectStore& operator=(const EffectStore&) = delete;

  /// One round trip, without a lock.
  virtual OperationView load(const std::string& key_hash) = 0;

  /// Takes over an operation in progress if it still has `fence` and its lease ended at least
  /// `idle` ago. @returns its view with the new fence, or nothing.
  virtual std::optional<OperationView> take_over(const OperationId& id, std::int64_t fence,
                                                 Milliseconds idle, Milliseconds lease) = 0;
  /// The oldest operation of `scope` whose lease ended at least `idle` ago; key hash and fence.
  virtual std::optional<std::pair<std::string, std::int64_t>> find_left(const std::string& scope,
                                                                        Milliseconds idle) = 0;

  /// One commit. @returns false if the key has a record that is not expired (to begin), or the
  /// record has another fence, is final, or its lease has ended and somebody else has taken it;
  /// nothing was changed then.
  virtual bool advance(const OperationId& id, const Advance& advance) = 0;

  /// The last commit: begins a transaction, runs `handler` in it, writes `settled`, the record of
  /// its reply (with its retentions) and what it appended, and commits. On a final failure the
  /// handler's work is undone and `compensate` runs in the same transaction. On a retryable one,
  /// everything is undone, and advance() writes `settled` and gives the lease back.
  /// @returns the reply; nothing if the fence was another one, and everything is undone.
  virtual std::optional<Reply> finish(const OperationId& id, std::optional<std::int64_t> fence,
                                      std::span<const Settle> settled, const FinishHandler& handler,
                                      const std::function<void(Transaction&)>& compensate) = 0;
};

/// As their databases need it. SQLite: statements in a transaction. PostgreSQL: SQL functions.
std::unique_ptr<EffectStore> make_sqlite_effect_store(Session session,
                                                      const AttemptOptions& options);
std::unique_ptr<EffectStore> make_postgres_effect_store(Session session,
                                                        const AttemptOptions& options);

}  // namespace outseal::operation
