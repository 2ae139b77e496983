#include "sinks/inbox/message.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace outseal::sinks {
namespace {

constexpr char kVersion = 1;

/// The fields of any length, in the order of the frame.
constexpr std::array kFields{&EventRow::topic,        &EventRow::key,     &EventRow::type,
                             &EventRow::content_type, &EventRow::headers, &EventRow::payload};

void append_number(std::string& out, std::uint64_t number, unsigned bytes) {
  while (bytes-- > 0) out += static_cast<char>(number >> (8 * bytes) & 0xffU);
}

/// Takes bytes from the front; once there are too few, everything it takes is empty.
class Front {
 public:
  explicit Front(std::string_view bytes) : rest_{bytes} {}

  std::string_view take(std::size_t bytes) {
    if (bytes > rest_.size()) whole_ = false;
    if (!whole_) return {};
    const std::string_view taken = rest_.substr(0, bytes);
    rest_.remove_prefix(bytes);
    return taken;
  }
  std::uint64_t take_number(std::size_t bytes) {
    std::uint64_t number = 0;
    for (const char byte : take(bytes)) number = number << 8U | static_cast<unsigned char>(byte);
    return number;
  }
  /// Nothing was missing and nothing is left.
  bool is_done() const { return whole_ && rest_.empty(); }

 private:
  std::string_view rest_;
  bool whole_ = true;
};

}  // namespace

void append_inbox_frame(const EventRow& row, Position position, std::string& out) {
  out += kVersion;
  append_number(out, position.value(), 8);
  for (const std::uint8_t byte : row.id.bytes()) out += static_cast<char>(byte);
  append_number(out, static_cast<std::uint64_t>(row.created_at_ms), 8);
  for (const auto field : kFields) {
    append_number(out, (row.*field).size(), 4);
    out += row.*field;
  }
}

std::optional<InboxFrame> parse_inbox_frame(std::string_view bytes) {
  Front front{bytes};
  if (front.take(1) != std::string_view{&kVersion, 1}) return std::nullopt;
  InboxFrame frame;
  frame.position = Position{front.take_number(8)};
  std::array<std::uint8_t, 16> id{};
  const std::string_view id_bytes = front.take(id.size());
  std::transform(id_bytes.begin(), id_bytes.end(), id.begin(),
                 [](char byte) { return static_cast<std::uint8_t>(byte); });
  frame.row.id = EventId{id};
  frame.row.created_at_ms = static_cast<std::int64_t>(front.take_number(8));
  for (const auto field : kFields)
    frame.row.*field = front.take(static_cast<std::size_t>(front.take_number(4)));
  if (!front.is_done()) return std::nullopt;
  return frame;
}

}  // namespace outseal::sinks
