// PostgreSQL's log, which is read in windows (store/window_reader.h): what is visible in one
// snapshot and was not in the one before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "model/subscription.h"
#include "outseal/ids.h"
#include "sql/connection.h"

namespace outseal::sql {

/// A server and its present moment. Cheap: it is what an idle relay asks all the time.
struct SourceState {
  std::string snapshot;
  bool is_standby = false;
  SourceIdentity identity;
  std::string incarnation;  ///< One run of the server: a crash may take back what was visible.
};
SourceState read_source_state(Connection& connection);

/// Whether the log has an event of a transaction that this cluster has not come to yet.
bool is_log_ahead(Connection& connection);

/// A window as its statements want it: the transactions from `from_xmax` up to `to_xmax`, without
/// that, which are visible in the snapshot `to`; and those that ran when it began and have ended.
struct WindowSpan {
  std::uint64_t from_xmax = 0;
  std::uint64_t to_xmax = 0;
  std::string_view to;
  std::string_view late;  ///< An array.
};

/// Between which numbers the events of a window lie. The highest one may be none of them.
struct WindowBounds {
  Seq lowest;
  Seq highest;
};
/// 0 if there are none.
WindowBounds find_window_bounds(Connection& connection, const WindowSpan& window);

/// How much is read at once, and where.
struct WindowFetch {
  std::size_t rows_max = 0;
  std::int64_t inline_bytes = 0;  ///< Payloads and headers that are longer stay behind.
  std::string_view incarnation;   ///< The server of the snapshots; empty: whichever it is.
};

// Statements of their own, not run yet. Their rows are events (event_row.h), in the order of their
// numbers, all of which come at once. The first one tells where they come from.

/// For small windows. Of one with more than fetch.rows_max events it gives so many, which are not
/// the first ones.
std::unique_ptr<Statement> read_window(Connection& connection, const WindowSpan& window,
                                       const WindowFetch& fetch);
/// For huge ones: what comes after `after`.
std::unique_ptr<Statement> read_window_page(Connection& connection, const WindowSpan& window,
                                            const WindowBounds& bounds, Seq after,
                                            const WindowFetch& fetch);
/// Whether the rows come from the server of fetch.incarnation.
bool is_same_run(const Statement& first);
/// False for a first row that is the only one, and no event.
bool has_event(const Statement& first);

/// All events of a window after `after` and not behind `up_to`, in order. Whoever steps through it
/// resets it.
Statement& read_window_range(Connection& connection, const WindowSpan& window, Seq after,
                             Seq up_to);

// Their plans are tested.
extern const Text kFindWindowBounds;
extern const Text kReadWindow;
extern const Text kReadWindowPage;
extern const Text kReadWindowRange;

}  // namespace outseal::sql
