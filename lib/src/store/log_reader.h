// The order in which a database's log is read; one implementation per dialect.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/number_range.h"
#include "model/batch.h"
#include "model/subscription.h"
#include "sql/connection.h"
#include "sql/event_row.h"

namespace outseal::store {

/// A timeline that no cluster has: the cursor was translated, but its sink not looked at yet.
inline constexpr std::int64_t kUnverifiedTimeline = -1;

/// How much one page may hold.
struct PageLimits {
  static constexpr NumberRange<std::size_t> kEvents{1'000, 1, 100'000};
  static constexpr NumberRange<std::size_t> kBytes{1U << 20U, 1U << 10U, 256U << 20U};

  std::size_t events_max = kEvents.fallback;
  std::size_t bytes_max = kBytes.fallback;
};

/// What is read at once from a server if nobody says: round trips and commits over a network cost
/// more than memory.
inline constexpr PageLimits kServerPage{.events_max = 5'000, .bytes_max = 4U << 20U};

/// Some rows of the log in its order. While step() is true, `row` is an event.
class LogPage {
 public:
  virtual ~LogPage() = default;
  virtual bool step() = 0;
  virtual sql::EventColumns row() const = 0;
  /// The cursor after the row at hand; after step() said false, the one after all of them.
  virtual Cursor cursor() const = 0;
  /// Once step() said false: whether the log goes on right behind this page.
  virtual bool has_more() const = 0;
};

/// Reads the log of one connection. Forgets nothing that matters: a new one reads the same.
///
/// Threads: Not thread-safe; same rule as the connection.
class LogReader {
 public:
  virtual ~LogReader() = default;

  /// The database that is connected to, as a relay may read it.
  /// @throws Error{refused} if the log cannot be read here: on a standby, or by a cursor of
  ///         another cluster, of another timeline or from the future.
  virtual SourceIdentity identify(const Cursor& cursor,
                                  const std::optional<SourceIdentity>& known) = 0;

  /// What comes after `from`. The page ends before the next one is opened.
  virtual std::unique_ptr<LogPage> open(const Cursor& from, const PageLimits& limits) = 0;

  /// The rows between the cursors of one batch, all of them, as they were when it was bound.
  virtual sql::Statement& open_range(const Cursor& from, const Cursor& to) = 0;

  /// The server's run that the last page came from; empty where a crash cannot go unnoticed.
  virtual const std::string& incarnation() const = 0;
};

/// Opens one more connection to the same database.
using OpenConnection = std::function<std::unique_ptr<sql::Connection>()>;

/// `open_second`: on PostgreSQL a huge backlog is fetched ahead over a connection of its own, if
/// there may be one.
std::unique_ptr<LogReader> make_log_reader(sql::Connection& connection,
                                           OpenConnection open_second = {});

}  // namespace outseal::store
