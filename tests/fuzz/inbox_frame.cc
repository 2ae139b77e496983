// Frames of the SQL inbox.
#include <string>

#include "fuzz/fuzz.h"
#include "sinks/inbox/message.h"

using namespace outseal;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes = fuzz::text_of(data, size);
  const auto frame = sinks::parse_inbox_frame(bytes);
  if (!frame) return 0;
  std::string again;
  sinks::append_inbox_frame(frame->row, frame->position, again);
  fuzz::require(again == bytes, "a frame has one form");
  return 0;
}
