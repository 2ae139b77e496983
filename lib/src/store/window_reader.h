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
// wrote millions) are paged by seq, from the window's own lowest number on, so that a page costs
// O(page), and no transaction is open between two pages.
#pragma once

#include <chrono>
#include <string>

#include "store/log_reader.h"
#include "store/snapshot.h"

namespace outseal::store {

class WindowReader final : public LogReader {
 public:
  explicit WindowReader(sql::Connection& connection) : connection_{connection} {}

  SourceIdentity identify(const Cursor& cursor,
                          const std::optional<SourceIdentity>& known) override;
  std::unique_ptr<LogPage> open(const Cursor& from, const PageLimits& limits) override;
  sql::Statement& open_range(const Cursor& from, const Cursor& to) override;
  const std::string& incarnation() const override { return incarnation_; }

 private:
  /// A window and what its queries need of it.
  struct Window {
    std::string from;
    std::string to;
    Snapshot begin;
    Snapshot end;
    std::string late;  ///< Transactions that ran in `from` and have ended in `to`.
    bool is_empty() const { return begin.xmax == end.xmax && late == "{}"; }
  };
  struct Bounds {
    std::string from;
    std::string to;
    std::int64_t lowest = 0;
    std::int64_t highest = 0;
  };

  static Window make_window(const std::string& from, const std::string& to);
  void bind_window(sql::Statement& rows, const Window& window) const;
  std::string look();
  std::unique_ptr<LogPage> open_window(const Cursor& from, const PageLimits& limits);
  std::unique_ptr<LogPage> open_page(const Window& window, const Cursor& from,
                                     const PageLimits& limits);
  const Bounds& bounds_of(const Window& window);

  sql::Connection& connection_;
  SourceIdentity source_;  ///< As identified; a pooler may lead us elsewhere meanwhile.
  std::string incarnation_;
  Bounds bounds_;  ///< Of the huge window at hand.
};

}  // namespace outseal::store
