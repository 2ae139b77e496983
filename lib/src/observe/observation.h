// What the programs' work can be observed to do: one plain struct for each thing that happens, with
// its numbers and durations. The log (log_line.h) is one visitor of them, the supervisor's snapshot
// (relay/relay_snapshot.h) another one. No text in here is ever parsed: what a visitor may want to
// know is a member of its own.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "model/sink.h"
#include "outseal/error.h"
#include "outseal/ids.h"

namespace outseal::observe {

using std::chrono::microseconds;
using std::chrono::milliseconds;

/// What a piece of work took that began at `begin` and ends now.
inline microseconds since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration_cast<microseconds>(std::chrono::steady_clock::now() - begin);
}

// --- The life of a relay -------------------------------------------------------------------------

struct Started {
  std::string sink;  ///< Without credentials.
};
/// The subscription was made just now.
struct Subscribed {
  std::optional<Seq> first_seq;  ///< The oldest event that it has; none if it begins with new ones.
};
/// The lease was asked for and not granted. StoodBy and Paused come only with the first of several.
struct LeaseRefused {
  bool is_paused = false;
};
struct StoodBy {
  std::string holder;  ///< Who leads.
};
struct Paused {};  ///< By an operator.
/// The lease was granted.
struct Led {
  Epoch epoch;
  Position acked;
  Position bound;
};
struct Fenced {};  ///< The lease is lost: another relay took over, or an operator acted.
struct DatabaseFailed {
  std::string detail;
  std::string hint;
  milliseconds pause{0};  ///< Until the next try.
};
/// Ended by an error.
struct Halted {
  ErrorCode code = ErrorCode::internal;
  std::string detail;  ///< Empty if nothing is known of it.
  std::string hint;
  std::optional<milliseconds> pause;  ///< Until the next try, if there is one.
};
/// A stop did not wait any longer. The next start recovers.
struct Abandoned {
  enum class What { sink, relay };
  What what = What::sink;
};
struct Finished {
  std::uint64_t published = 0;  ///< Events in this run.
  bool drained = false;
};

// --- Its sink ------------------------------------------------------------------------------------

struct SinkOpened {
  microseconds took{0};
};
/// It works, but says something about itself.
struct SinkWarned {
  std::string detail;
  std::string hint;
};
struct SinkWaiting {
  std::string detail;
  std::string hint;
  milliseconds pause{0};  ///< Until it is opened again.
};
/// Events that the sink has lost are sent again.
struct Rebuilding {
  std::uint64_t events = 0;
  std::string detail;
};

// --- Events on their way -------------------------------------------------------------------------

/// The intent of a batch that has events is durable.
struct Bound {
  Position last;
  std::uint64_t events = 0;
  std::uint64_t bytes = 0;
  microseconds took{0};  ///< The intent's transaction, with the acknowledgement that rides on it.
};
/// The sink has answered.
struct Delivered {
  DeliveryResult::Status status = DeliveryResult::Status::delivered;
  std::uint64_t events = 0;  ///< That it was given.
  microseconds took{0};
};
/// The acknowledgement of a batch is durable.
struct Acknowledged {
  Position last;
  std::uint64_t events = 0;
  std::uint64_t published = 0;  ///< In this run so far.
};
/// An event that was refused after it was bound ended its batch; what came after it is unbound.
struct Settled {
  Position last;             ///< Before the refused one.
  std::uint64_t events = 0;  ///< Acknowledged by it.
};
struct Parked {
  Seq seq;
  /// Of an event that the sink refused after it was bound.
  std::optional<EventId> bound_id;
  std::string reason;
};
/// Now and then while events flow.
struct Publishing {
  std::uint64_t published = 0;  ///< In this run so far.
};

// --- Retention, of the whole database ------------------------------------------------------------

struct Retained {
  std::uint64_t rows = 0;
  microseconds took{0};
};
/// It waits for a checkpoint by a service.
struct RetentionPaused {};
struct RetentionFailed {
  std::string detail;
  std::string hint;
};
struct RetentionKeeps {
  std::uint64_t events = 0;  ///< Old ones that stay.
  std::string detail;        ///< Why.
};

using Observation =
    std::variant<Started, Subscribed, LeaseRefused, StoodBy, Paused, Led, Fenced, DatabaseFailed,
                 Halted, Abandoned, Finished, SinkOpened, SinkWarned, SinkWaiting, Rebuilding,
                 Bound, Delivered, Acknowledged, Settled, Parked, Publishing, Retained,
                 RetentionPaused, RetentionFailed, RetentionKeeps>;

/// Gets each observation from the thread that made it, which waits for it meanwhile: it must be
/// quick, and must not throw. `subscription` is empty for what is about the whole database.
using Observer = std::function<void(std::string_view subscription, const Observation& what)>;

}  // namespace outseal::observe
