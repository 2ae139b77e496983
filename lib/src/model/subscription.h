// What a subscription is, where it stands, and how its relay's writes end.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/number_range.h"
#include "model/batch.h"
#include "outseal/ids.h"

namespace outseal {

/// For how long a relay leads without a renewal.
inline constexpr NumberRange<std::chrono::milliseconds> kLease{
    .fallback = std::chrono::seconds{10},
    .min = std::chrono::milliseconds{100},
    .max = std::chrono::hours{1}};

/// Where a new subscription begins.
enum class Start {
  beginning,  ///< With the oldest event that retention left.
  now,        ///< With what commits after the declaration.
};

/// What an operator says about a subscription when a relay starts it.
struct SubscriptionSpec {
  static constexpr std::string_view kNameDefault = "main";
  static constexpr std::string_view kTopicsDefault = "*";

  std::string name{kNameDefault};
  /// Topic patterns; an event that matches any of them belongs to the subscription.
  std::vector<std::string> topics{std::string{kTopicsDefault}};
  std::string sink;  ///< Names the sink; the same from everywhere, without credentials.
  std::string sink_identity = {};  ///< As found in the database: see OpenResult::identity.
  std::string event_source;        ///< CloudEvents "source"; empty: "/outseal/" and the name.
  Start start = Start::beginning;  ///< Only when it is made: no cursor is ever moved by it.

  /// @throws Error{invalid_config} naming every fault.
  void validate() const;
};

/// Which database a cursor belongs to (PostgreSQL; empty and 0 elsewhere).
struct SourceIdentity {
  std::string system;  ///< System identifier of the cluster.
  std::int64_t timeline = 0;

  /// The timeline, where there is one.
  std::optional<std::int64_t> known_timeline() const {
    return system.empty() ? std::nullopt : std::optional{timeline};
  }
};

/// What a relay knows right after it acquired the lease; from then on nobody else can change it.
struct SubscriptionState {
  Cursor cursor;
  Position bound;
  Tail acked;
  std::string mark;  ///< What the sink said with the acknowledgement; empty if unknown.
  Epoch epoch;
};

/// What acquire() did.
struct Acquisition {
  bool granted = false;
  bool paused = false;                     ///< Not granted: an operator paused the subscription.
  SubscriptionState state;                 ///< If granted.
  std::string holder;                      ///< Otherwise: who leads,
  std::chrono::milliseconds remaining{0};  ///< and for how long at most without a renewal.
};

/// An acknowledgement by the sink, to be written with the next intent or alone.
struct Ack {
  Tail tail;         ///< The last event that the sink has made durable.
  Position first;    ///< The journal row that it completes.
  std::string mark;  ///< DeliveryResult::mark.
};

/// How a compare-and-set on the subscription ended.
enum class WriteOutcome {
  done,
  fenced,  ///< The epoch moved on: another relay leads.
  stale,   ///< The page is out of date (an operator decided about a parked event): read again.
};

}  // namespace outseal
