// PostgreSQL's snapshots, as far as the log is read by them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/batch.h"

namespace outseal::store {

/// A transaction number of PostgreSQL, 64 bits wide: never used twice by a cluster.
using Xid = std::uint64_t;

/// The text of a pg_snapshot, `xmin:xmax:xip,...`: all transactions below xmax have ended but for
/// those in xip.
struct Snapshot {
  Xid xmin = 0;
  Xid xmax = 0;
  std::vector<Xid> running;  ///< Ascending.

  /// @throws Error{internal} if `text` is none.
  static Snapshot parse(std::string_view text);
  /// Whether transaction `xid` had ended.
  bool has_ended(Xid xid) const;
};

/// The transactions that were running in `from` and have ended in `to`, as text of an array.
std::string ended_since(const Snapshot& from, const Snapshot& to);

/// Whether `cursor` has passed transactions that the `present` snapshot does not know yet.
bool is_ahead(const Cursor& cursor, const std::string& present);

}  // namespace outseal::store
