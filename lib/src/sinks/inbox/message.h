// An event on its way into a SQL inbox, as bytes: what encode() makes and the columns give
// back.
//
//   1 byte   version of this format, 1
//   8 bytes  position            16 bytes  event id            8 bytes  created at, ms since 1970
//   then topic, key, type, content type, headers, payload: 4 bytes of length, and the bytes
//
// Numbers are big-endian. Every field of the row is in it and nothing else, so that a row of the
// inbox gives the very bytes back that its sender's journal has hashed.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "model/batch.h"

namespace outseal::sinks {

/// Appends the frame of `row`; its seq is not part of it.
void append_inbox_frame(const EventRow& row, Position position, std::string& out);

struct InboxFrame {
  Position position;
  EventRow row;  ///< Views into the frame; its seq is 0.
};

/// Nothing if `bytes` are not exactly one frame.
std::optional<InboxFrame> parse_inbox_frame(std::string_view bytes);

}  // namespace outseal::sinks
