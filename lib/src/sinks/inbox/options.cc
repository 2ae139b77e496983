#include "sinks/inbox/options.h"

#include <array>

namespace outseal::sinks {

std::span<const Parameter> InboxSinkOptions::parameters() {
  static constexpr std::array kRows{
      Parameter{.name = "event_bytes_max",
                .kind = Parameter::Kind::number,
                .fallback = kEventBytesDefault,
                .min = kEventBytesMin,
                .max = kEventBytesMax,
                .help = "maximum size of an event, all its fields together; a larger one is "
                        "parked"},
  };
  return kRows;
}

InboxSinkOptions InboxSinkOptions::from(const Url& url, OtherParameters others) {
  return {.event_bytes_max = Parameters{url, parameters(), others}.number("event_bytes_max")};
}

}  // namespace outseal::sinks
