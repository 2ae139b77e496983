// The stream as the sink finds it: is it fit, and what stands at its end?
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "model/sink.h"
#include "sinks/nats/connection.h"

namespace outseal::sinks {

/// What the database remembers: the event that it knows to be in the stream, and where it stands.
struct NatsMark {
  Tail acked;
  std::uint64_t sequence = 0;  ///< 0 if that is not known.

  /// "STREAM:SEQUENCE".
  static std::string text(std::string_view stream, std::uint64_t sequence);
  /// Without a sequence if `mark` is not one of `stream`.
  static NatsMark parse(std::string_view stream, const Tail& acked, std::string_view mark);
};

/// What is needed to write to a stream that has been looked at.
struct NatsStreamFacts {
  std::uint64_t last_sequence = 0;    ///< The next message is expected to come after this.
  std::size_t message_bytes_max = 0;  ///< Headers and payload; 0 if the stream has no limit.
  bool replicated = false;            ///< Several servers hold it.
};

/// Looks at the stream, and creates it if the options say so.
///
/// Everything is asked of the stream's leader: a replica may lag. A new leader may lag too, behind
/// what the old one acknowledged; if it does, it is given time to catch up. (If it still seems to
/// have less than there is, what is sent to it is refused in the end.)
///
/// What stands behind the last event that the database knows of is read if the stream has replicas:
/// there only the sequence is a condition (NatsPublisher says why), so behind a message of somebody
/// else, or behind one that the server took back, the events after the one that it kept out may
/// stand. They were all under way then, so no more than that has to be read. If an event is missing
/// there, the stream is refused; it would be lost otherwise.
/// @param our_name what the header outseal-stream says in our messages.
/// @returns `opened` with the tail (without one if the stream is shared), and with a warning in
///          `detail` if a setting weakens what the sink can promise; or why not.
OpenResult open_stream(const NatsConnection& connection, const NatsSinkOptions& options,
                       const NatsSubject& subject, std::string_view our_name, const NatsMark& mark,
                       NatsStreamFacts& facts);

/// Whether the sequences of removed messages are asked for: there may be many.
enum class Deleted { counted, listed };

/// Asks for the stream's settings and state. If it fails, `failure` says why; if the stream is
/// simply not there, `failure` stays `opened`.
NatsStreamInfoPtr ask_for_stream(const NatsConnection& connection, const NatsSinkOptions& options,
                                 OpenResult& failure, Deleted deleted = Deleted::counted);

/// The sequence of the last message that is still there; `state` must list those that are not.
std::uint64_t last_kept(const jsStreamState& state);

}  // namespace outseal::sinks
