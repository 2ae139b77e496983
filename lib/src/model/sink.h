// Sink: where events go. This is all that the relay and the reconciler know about any of them.
//
// A sink has three roles, each with the interface that its user needs: the relay's main thread
// encodes events (SinkEncoder), its worker talks to the sink (SinkSession), and the reconciler
// reads it (SinkReader). `lib/src/sinks/kind.h` makes sinks from URLs.
//
// A sink accepts position p only while its tail is exactly the event bound to p-1 (position and
// id). That one condition makes retries, crashes and zombies harmless: see lib/README.md, "The
// protocol".
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "model/batch.h"

namespace outseal {

/// No sink takes a larger payload. Chosen by us: the relay holds one of these in memory.
inline constexpr std::size_t kPayloadBytesMax = 256U << 20U;

/// How a sink keeps out a second copy of an event that is sent again.
enum class SecondCopy {
  none,              ///< It does not: the receiver has to tell by the event's id or position.
  id_within_window,  ///< It drops an id that it has seen, as long as it remembers it.
  refuses,           ///< It refuses p unless its tail is the event at p-1.
  ignores,           ///< It stores nothing of a position that it has, whenever that was.
  transactional,     ///< As `refuses`, and a batch is stored whole or not at all.
};

/// What a sink claims. The conformance suite holds it to each claim.
struct SinkFeatures {
  SecondCopy second_copy = SecondCopy::none;
  bool exclusive = false;  ///< open() locks others out until close() or death.
  bool readable = false;   ///< read() gives back every stored event.
  /// A crash of its server may take back what it acknowledged: what it lost is sent again from the
  /// log without asking an operator.
  bool may_lose_acknowledged = false;
  /// Most events in a batch: a sink without a condition may get all of them again after a crash.
  std::size_t batch_events_max = SIZE_MAX;

  /// It can say what it stored last, also after a crash: without that it could keep nothing out for
  /// longer than a window.
  bool has_tail() const { return second_copy >= SecondCopy::refuses; }
};

/// What open() found.
struct OpenResult {
  enum class Status {
    opened,       ///< Ready; `tail` says where it stands, empty if has_tail() is false.
    retry_later,  ///< Locked or unreachable now.
    unusable,     ///< No such folder, no permission, wrong settings: somebody has to mend it.
    refused,      ///< Somebody else's data, or damage that open() must not touch. Halt.
  };
  Status status = Status::opened;
  std::optional<Tail> tail = {};
  std::string detail = {};  ///< For humans: what and where. No payloads, no credentials.
  std::string hint = {};    ///< What to do about it.
  /// What was opened, whatever address led there: the same text means the same sink, another one
  /// another sink. Empty if it cannot tell.
  std::string identity = {};
};

/// What deliver() did. Outcomes are values: a sink that throws counts as retry_later.
struct DeliveryResult {
  enum class Status {
    delivered,    ///< Everything is durable in the sink.
    retry_later,  ///< In doubt or not now: the relay opens the sink again and looks at its tail.
    rejected,     ///< entries[done] is refused for good; those before it are durable.
    conflict,     ///< The tail was not the expected one: somebody else wrote. Look again.
    failed,       ///< The sink must not be written again by this process (fsync error).
    refused,      ///< What the sink holds contradicts the log, for example an event of it twice.
  };
  Status status = Status::delivered;
  std::size_t done = 0;  ///< Entries of the batch (from its start) known to be durable.
  std::string mark =
      {};  ///< Where the batch ends, for operators, for example "events.ndjson:4711".
  std::string detail = {};
  std::string hint = {};
  std::chrono::milliseconds retry_after{0};  ///< The sink's own wish; 0 leaves it to the relay.
};

/// One event as a sink stores it.
struct SinkRecord {
  Position position;
  EventId event_id;
  std::string_view encoded;  ///< Byte for byte what encode() made; valid until the next next().
  std::string where;         ///< For humans, for example "events.ndjson:4711".
  bool torn = false;         ///< The end of a write that a crash cut off, or that is under way.
};

/// Turns events into the bytes that are bound to their positions.
///
/// Threads: Not thread-safe; one thread at a time, which may be another than the session's.
class SinkEncoder {
 public:
  virtual ~SinkEncoder() = default;

  /// Payloads of more bytes are refused without being read.
  virtual std::size_t payload_bytes_max() const { return kPayloadBytesMax; }

  /// Appends the bytes that stand for `row` at `position`. Pure: the same row and position give the
  /// same bytes in every process of this version.
  /// @returns why the sink will never take this event; then `out` is unchanged.
  virtual std::optional<std::string> encode(const EventRow& row, Position position,
                                            std::string& out) = 0;
};

/// Stores what was encoded.
///
/// Threads: Not thread-safe; one thread at a time, which may be another than the encoder's.
class SinkSession {
 public:
  virtual ~SinkSession() = default;

  /// Told before each open(): the last event that the database knows to be in the sink, and the
  /// mark that came with it (empty if unknown). For a sink whose last event may have been consumed.
  virtual void resume_from(const Tail& /*acked*/, std::string_view /*mark*/) {}

  /// Connects or locks and reports the tail: the last event that is whole. Changes nothing that is
  /// stored: what a crash tore is repaired by the first deliver(), when the relay has agreed.
  virtual OpenResult open() = 0;

  /// Stores entries[from..] under the condition that the sink's tail is batch.tail_after(from), and
  /// makes them durable before it returns `delivered`. Blocks at most about the sink's own timeout.
  /// There may be none: after a crash that lost the answer, this is how the relay gets the mark.
  /// Crash: a prefix of the entries may be stored.
  virtual DeliveryResult deliver(const Batch& batch, std::size_t from) = 0;

  /// Gives up the lock or connection. open() may follow.
  virtual void close() noexcept = 0;
};

/// Reads a sink from its first event to its last, in constant memory. Takes no lock.
///
/// Threads: Not thread-safe; one thread at a time.
class SinkReader {
 public:
  virtual ~SinkReader() = default;
  /// False at the end. A record that is not one of ours has position 0 and the raw bytes.
  /// @throws Error{sink_unreachable} if the sink cannot be read.
  virtual bool next(SinkRecord& record) = 0;
};

/// A sink of one subscription.
///
/// Threads: The encoder's part and the session's share nothing that changes.
class Sink : public SinkEncoder, public SinkSession {
 public:
  virtual SinkFeatures features() const = 0;

  /// Independent of the session.
  /// @throws Error{invalid_config} if features().readable is false.
  /// @throws Error{sink_unreachable} if the sink cannot be read.
  virtual std::unique_ptr<SinkReader> read() = 0;
};

}  // namespace outseal
