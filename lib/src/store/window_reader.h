// PostgreSQL's log: the order of numbers is not the order of commits, so it is read in windows.
//
// A window (from, to] is the difference of two snapshots: what is visible in `to` and not in
// `from`. Its content never changes, so it can be read again after a crash, and a transaction that
// commits late belongs to a later window; nothing waits for it. Within a window events come in the
// order of seq, which is drawn while the key's lock is held; an xid may be assigned long before.
//
// Cursor: {snap_from, snap_to, after_seq} is inside of a window, after the event after_seq.
// With snap_to empty the window is closed: the next one begins at snap_from, and after_seq only
// says which event was the last of the window before.
//
// Small windows are read by transaction and sorted. Huge ones (the relay was down, or a transaction
// wrote millions) are read in chunks by seq, from the window's own lowest number on, so that a
// chunk costs O(chunk), and no transaction is open between two of them. While the relay encodes and
// publishes one chunk, the next one is fetched over a connection of its own. It only saves time:
// whatever becomes of it, the first connection can read the same.
//
// A snapshot means something on the server alone that gave it. A name or a pooler may lead another
// statement or connection to a standby that lags behind, where a window would seem to end early. So
// each read of a window says itself whether it ran on that server.
#pragma once

#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>

#include "sql/window.h"
#include "store/log_reader.h"
#include "store/snapshot.h"

namespace outseal::store {

/// A window and what its queries need of it.
struct Window {
  std::string from;
  std::string to;
  Snapshot begin;
  Snapshot end;
  std::string late;  ///< Transactions that ran in `from` and have ended in `to`.

  Window() = default;
  Window(std::string snap_from, std::string snap_to);
  bool is_empty() const { return begin.xmax == end.xmax && late == "{}"; }
  /// Views into it.
  sql::WindowSpan span() const {
    return {.from_xmax = begin.xmax, .to_xmax = end.xmax, .to = to, .late = late};
  }
};

/// Some rows of a window in memory.
struct Chunk {
  std::unique_ptr<sql::Statement> rows;
  std::int64_t count = 0;
  std::int64_t next = 0;  ///< The first row that was not taken yet.
  Seq after_seq;          ///< The seq before it.
  Seq last_seq;
  bool is_last = true;  ///< Nothing of the window comes after it.
};

class WindowReader final : public LogReader {
 public:
  WindowReader(sql::Connection& connection, OpenConnection open_second);
  ~WindowReader() override;

  SourceIdentity identify(const Cursor& cursor,
                          const std::optional<SourceIdentity>& known) override;
  std::unique_ptr<LogPage> open(const Cursor& from, const PageLimits& limits) override;
  sql::Statement& open_range(const Cursor& from, const Cursor& to) override;
  const std::string& incarnation() const override { return incarnation_; }

 private:
  sql::WindowFetch fetch(std::size_t rows_max, const PageLimits& limits) const;
  std::string read_snapshot();
  std::unique_ptr<LogPage> open_next(const Cursor& from, const PageLimits& limits);
  std::unique_ptr<LogPage> open_inside(const Cursor& from, const PageLimits& limits);
  std::unique_ptr<sql::Statement> bind_chunk(sql::Connection& connection, Seq after_seq,
                                             const PageLimits& limits) const;
  void fetch_ahead(const PageLimits& limits);
  void give_up_second();
  bool take_ahead(Seq after_seq);
  void forget_window();

  sql::Connection& connection_;
  OpenConnection open_second_;
  SourceIdentity source_;  ///< As identified; a pooler may lead us elsewhere meanwhile.
  std::string incarnation_;

  // The last window that was looked through in vain; its content never changes.
  std::string empty_from_;
  std::string empty_to_;

  // The huge window at hand.
  Window window_;
  std::optional<sql::WindowBounds> bounds_;  ///< Once they are known.
  Chunk chunk_;
  std::unique_ptr<sql::Connection> second_;  ///< Used by the fetch ahead alone.
  bool second_failed_ = false;               ///< In this window; it is not tried again.
  Seq ahead_after_{-1};                      ///< Where the chunk to come begins.
  std::future<Chunk> ahead_;
};

}  // namespace outseal::store
