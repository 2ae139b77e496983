#include "store/snapshot.h"

#include <algorithm>
#include <charconv>

#include "outseal/error.h"

namespace outseal::store {
namespace {

Xid number_at(std::string_view& text, char end, std::string_view whole) {
  Xid value = 0;
  const auto [stop, fault] = std::from_chars(text.data(), text.data() + text.size(), value);
  const auto length = static_cast<std::size_t>(stop - text.data());
  if (fault != std::errc{} || (length < text.size() && text[length] != end && text[length] != ','))
    throw Error{ErrorCode::internal, "snapshot", "odd snapshot '" + std::string{whole} + "'"};
  text.remove_prefix(std::min(length + 1, text.size()));
  return value;
}

}  // namespace

Snapshot Snapshot::parse(std::string_view text) {
  const std::string_view whole = text;
  Snapshot snapshot;
  snapshot.xmin = number_at(text, ':', whole);
  snapshot.xmax = number_at(text, ':', whole);
  while (!text.empty()) snapshot.running.push_back(number_at(text, ',', whole));
  return snapshot;
}

bool Snapshot::has_ended(Xid xid) const {
  return xid < xmax && !std::binary_search(running.begin(), running.end(), xid);
}

std::string ended_since(const Snapshot& from, const Snapshot& to) {
  std::string array = "{";
  for (const Xid xid : from.running)
    if (to.has_ended(xid)) array += (array.size() > 1 ? "," : "") + std::to_string(xid);
  return array + "}";
}

bool is_ahead(const Cursor& cursor, const std::string& present) {
  const Xid xmax = Snapshot::parse(present).xmax;
  for (const std::string& passed : {cursor.snap_from, cursor.snap_to})
    if (!passed.empty() && Snapshot::parse(passed).xmax > xmax) return true;
  return false;
}

}  // namespace outseal::store
