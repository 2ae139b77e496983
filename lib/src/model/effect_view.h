// What an attempt reads of its operation, and what it writes: plain values, the same for every
// database and for the simulation.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "outseal/effects.h"
#include "outseal/idempotency.h"

namespace outseal {

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
  /// How long ago the first request may have left at the earliest, and the last one at the latest;
  /// the latter is negative while its lease runs. None if proven that none has left.
  std::optional<std::chrono::milliseconds> first_sent_ago = {};
  std::optional<std::chrono::milliseconds> last_sent_ago = {};
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
  std::chrono::milliseconds lease_left{};  ///< Negative: it ended so long ago.
  std::optional<Reply> reply;      ///< None while not final, and after the response's retention.
  int status = 0;                  ///< Of a final one, also without a reply.
  std::vector<EffectRow> effects;  ///< In the order in which they were intended.
};

/// How an effect ended, or what is known of a request that did not end it. Only a row that is
/// `intended` is settled.
struct Settle {
  std::string name = {};
  EffectState state = EffectState::confirmed;
  /// If `intended`: what is known of the requests that were sent.
  enum class Sent {
    open,    ///< The last one has left by now: last_sent_at is now if it was later.
    absent,  ///< Proven: it was not applied, and never will be. last_sent_at goes.
    never,   ///< Proven: none has ever left. first_sent_at goes as well.
  };
  Sent sent = Sent::open;
  std::string reference = {};
  std::string response = {};
  std::string compensation = {};
  std::string decided_by = {};  ///< Empty: the call itself. Else the policy, for example "ask".
  std::string evidence = {};
};

constexpr std::string_view name_of(Settle::Sent sent) {
  switch (sent) {
    case Settle::Sent::absent:
      return "absent";
    case Settle::Sent::never:
      return "never";
    case Settle::Sent::open:
      break;
  }
  return "open";
}

/// An effect that is about to be sent: its row is made, or, if it is known, its sending is noted.
/// first_sent_at is now unless it is set; last_sent_at is the end of the lease, because until then
/// the request may leave.
struct Send {
  std::string name = {};
  std::string request_hash = {};
  std::string provider = {};
  std::string provider_key = {};
  std::string policies = {};
  std::optional<Amount> amount = {};
  std::string attributes = {};
  std::optional<std::chrono::milliseconds> rerun_for =
      {};  ///< From its first sending on; none: never.
};

/// What one commit changes of an operation that is not final, in the order of the members.
struct Advance {
  /// Nothing: the operation is begun, with fence 1.
  std::optional<std::int64_t> fence = {};
  std::vector<Settle> settled = {};
  std::optional<Send> send = {};
  /// The effect that is being cancelled, or whose call runs while the lease is renewed:
  /// last_sent_at becomes the end of the lease.
  std::string sending = {};
  /// The lease ends so long from now. Whoever renews it owns it; who gives it back names no owner,
  /// and how long the others need not come.
  std::chrono::milliseconds lease{};
  bool give_back = false;
  bool hand_over = false;  ///< The operation is unknown from now on.
};

}  // namespace outseal
