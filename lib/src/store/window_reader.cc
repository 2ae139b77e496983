#include "store/window_reader.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/failpoint.h"
#include "outseal/error.h"

namespace outseal::store {
namespace {

using std::chrono::steady_clock;

/// An empty window that took longer than this to look through holds rows of transactions that still
/// run: the cursor then moves on, durably, so that they are not passed again by each poll.
constexpr std::chrono::milliseconds kSlowLook{10};
/// Payloads above this share of a page are read one by one.
constexpr std::size_t kInlineShares = 4;
constexpr std::size_t kInlineBytesMin = 2'048;

[[noreturn]] void refuse(const std::string& message, const std::string& hint) {
  throw Error{ErrorCode::refused, "read", message, {.hint = hint}};
}

/// So that a chunk of any rows stays within a few times the page's bytes.
std::int64_t inline_bytes(const PageLimits& limits) {
  return static_cast<std::int64_t>(
      std::max(kInlineBytesMin, kInlineShares * limits.bytes_max / limits.events_max));
}

/// The rows of a chunk from its `next` on. What is not taken stays there for the next page.
class ChunkPage final : public LogPage {
 public:
  ChunkPage(Chunk& chunk, Cursor inside) : chunk_{chunk}, cursor_{std::move(inside)} {}

  bool step() override {
    if (chunk_.next == chunk_.count) {
      if (chunk_.is_last && !cursor_.snap_to.empty()) {
        cursor_.snap_from = std::move(cursor_.snap_to);
        cursor_.snap_to.clear();
      }
      return false;
    }
    chunk_.rows->go_to(chunk_.next++);
    cursor_.after_seq = chunk_.after_seq = row().seq();
    return true;
  }
  sql::EventColumns row() const override { return sql::EventColumns{*chunk_.rows}; }
  Cursor cursor() const override { return cursor_; }
  bool has_more() const override { return !cursor_.snap_to.empty(); }

 private:
  Chunk& chunk_;
  Cursor cursor_;
};

/// Nothing new; the cursor after it.
class EmptyPage final : public LogPage {
 public:
  explicit EmptyPage(Cursor end) : end_{std::move(end)} {}
  bool step() override { return false; }
  sql::EventColumns row() const override { throw Error{ErrorCode::internal, "read", "no row"}; }
  Cursor cursor() const override { return end_; }
  bool has_more() const override { return false; }

 private:
  Cursor end_;
};

/// Runs a statement and takes over its rows.
Chunk make_chunk(std::unique_ptr<sql::Statement> rows, Seq after_seq, std::size_t rows_max) {
  Chunk chunk;
  rows->step();
  if (!sql::is_same_run(*rows))
    throw Error{ErrorCode::unreachable, "read", "another server answered than the one before"};
  chunk.count = sql::has_event(*rows) ? rows->row_count() : 0;
  chunk.after_seq = chunk.last_seq = after_seq;
  chunk.is_last = static_cast<std::size_t>(chunk.count) < rows_max;
  if (chunk.count > 0) {
    rows->go_to(chunk.count - 1);
    chunk.last_seq = sql::EventColumns{*rows}.seq();
  }
  chunk.rows = std::move(rows);
  return chunk;
}

}  // namespace

Window::Window(std::string snap_from, std::string snap_to)
    : from{std::move(snap_from)},
      to{std::move(snap_to)},
      begin{Snapshot::parse(from)},
      end{Snapshot::parse(to)},
      late{mutant("no_late_transactions") ? "{}" : ended_since(begin, end)} {}

WindowReader::WindowReader(sql::Connection& connection, OpenConnection open_second)
    : connection_{connection}, open_second_{std::move(open_second)} {}

WindowReader::~WindowReader() { forget_window(); }

/// At most `rows_max` rows from the server of the snapshots.
sql::WindowFetch WindowReader::fetch(std::size_t rows_max, const PageLimits& limits) const {
  return {.rows_max = rows_max,
          .inline_bytes = inline_bytes(limits),
          .incarnation =
              mutant("no_incarnation_check") ? std::string_view{} : std::string_view{incarnation_}};
}

/// The present snapshot of a server that may be read.
std::string WindowReader::read_snapshot() {
  sql::SourceState state = sql::read_source_state(connection_);
  if (state.is_standby && !mutant("no_standby_check"))
    refuse("the database is a standby: it does not tell which transactions are running",
           "give it the URL of the primary: outseal-relay run --db URL");
  SourceIdentity& now = state.identity;
  if (!source_.system.empty() && (now.system != source_.system || now.timeline != source_.timeline))
    refuse("the database behind the URL was exchanged: system " + now.system + ", timeline " +
               std::to_string(now.timeline) + ", before that " + source_.system + ", " +
               std::to_string(source_.timeline),
           "after a failover or restore: outseal-relay rebase");
  source_ = std::move(now);
  if (state.incarnation != incarnation_) {
    forget_window();  // It may hold what a crash took back,
    // and so may the pages that were read before: they must not be bound together with later ones.
    const bool restarted = !incarnation_.empty() && !mutant("no_incarnation_check");
    incarnation_ = std::move(state.incarnation);
    if (restarted) throw Error{ErrorCode::unreachable, "read", "the server was restarted"};
  }
  return std::move(state.snapshot);
}

SourceIdentity WindowReader::identify(const Cursor& cursor,
                                      const std::optional<SourceIdentity>& known) {
  forget_window();
  source_ = {};
  incarnation_.clear();
  const std::string present = read_snapshot();
  const std::string way_out =
      "stop all relays of the subscription, then: outseal-relay rebase; it compares with the sink";
  if (known && known->system != source_.system)
    refuse("the cursor belongs to another database cluster (system " + known->system + ", here " +
               source_.system + "): the database was restored from a dump or copied",
           way_out);
  if (known && known->timeline == kUnverifiedTimeline)
    refuse("another subscription was rebased after a restore, this one not yet", way_out);
  if (known && known->timeline != source_.timeline)
    refuse("the database is on timeline " + std::to_string(source_.timeline) +
               ", the cursor is from timeline " + std::to_string(known->timeline) +
               ": a failover or a restore may have lost commits that were published",
           way_out);
  if (is_ahead(cursor, present))
    refuse("the cursor is ahead of the database: transactions that it has passed do not exist",
           way_out);
  if (cursor.snap_from.empty()) return source_;
  if (sql::is_log_ahead(connection_))
    refuse(
        "the outbox is ahead of the database: it has events of transactions that do not exist, "
        "so it was restored from another cluster",
        way_out);
  return source_;
}

std::unique_ptr<LogPage> WindowReader::open(const Cursor& from, const PageLimits& limits) {
  if (from.snap_to.empty()) return open_next(from, limits);
  read_snapshot();
  if (window_.from != from.snap_from || window_.to != from.snap_to) {
    forget_window();
    window_ = Window{from.snap_from, from.snap_to};
  }
  return open_inside(from, limits);
}

/// Looks whether there is a new window; reads it if it is small.
std::unique_ptr<LogPage> WindowReader::open_next(const Cursor& from, const PageLimits& limits) {
  const auto begin = steady_clock::now();
  forget_window();
  Window window{from.snap_from, read_snapshot()};
  if (window.is_empty() || (window.from == empty_from_ && window.to == empty_to_))
    return std::make_unique<EmptyPage>(from);
  if (window.end.xmax < window.begin.xmax)
    refuse("the cursor is ahead of the database: transactions that it has passed do not exist",
           "after a failover or restore: outseal-relay rebase");

  const std::size_t rows_max = limits.events_max + 1;
  chunk_ = make_chunk(sql::read_window(connection_, window.span(), fetch(rows_max, limits)), Seq{},
                      rows_max);
  Cursor inside{.after_seq = Seq{0}, .snap_from = window.from, .snap_to = window.to};
  if (chunk_.count == 0) {
    empty_from_ = window.from;
    empty_to_ = window.to;
    const bool slow = steady_clock::now() - begin >= kSlowLook;
    return std::make_unique<EmptyPage>(
        slow ? Cursor{.after_seq = from.after_seq, .snap_from = window.to, .snap_to = {}} : from);
  }
  window_ = std::move(window);
  if (chunk_.is_last) return std::make_unique<ChunkPage>(chunk_, std::move(inside));
  chunk_ = {};
  return open_inside(inside, limits);
}

std::unique_ptr<LogPage> WindowReader::open_inside(const Cursor& from, const PageLimits& limits) {
  const Seq after = from.after_seq;
  const bool at_hand = chunk_.rows != nullptr && chunk_.after_seq == after &&
                       (chunk_.next < chunk_.count || chunk_.is_last);
  if (!at_hand) {
    if (!bounds_) bounds_ = sql::find_window_bounds(connection_, window_.span());
    if (!take_ahead(after))
      chunk_ = make_chunk(bind_chunk(connection_, after, limits), after, limits.events_max);
    if (!chunk_.is_last) fetch_ahead(limits);
  }
  return std::make_unique<ChunkPage>(chunk_, from);
}

/// The statement that fetches the chunk behind `after_seq`.
std::unique_ptr<sql::Statement> WindowReader::bind_chunk(sql::Connection& connection, Seq after_seq,
                                                         const PageLimits& limits) const {
  return sql::read_window_page(connection, window_.span(), *bounds_, after_seq,
                               fetch(limits.events_max, limits));
}

/// Begins to fetch the chunk behind the one at hand: the server works at once, and a thread takes
/// its rows while the caller takes those at hand.
void WindowReader::fetch_ahead(const PageLimits& limits) {
  if (ahead_.valid()) ahead_.wait();  // One that nobody came for.
  ahead_ = {};
  if (!open_second_ || second_failed_) return;
  ahead_after_ = chunk_.last_seq;
  const auto take_rows = [after = ahead_after_, limits](std::unique_ptr<sql::Statement> rows) {
    return make_chunk(std::move(rows), after, limits.events_max);
  };
  try {
    if (second_ == nullptr) second_ = open_second_();
    auto rows = bind_chunk(*second_, ahead_after_, limits);
    rows->send();
    ahead_ = std::async(std::launch::async, take_rows, std::move(rows));
  } catch (const Error&) {  // Out of connections, for example.
    give_up_second();
  }
}

void WindowReader::give_up_second() {
  second_.reset();
  second_failed_ = true;
}

/// False if the chunk behind `after_seq` was not fetched ahead, or could not be.
bool WindowReader::take_ahead(Seq after_seq) {
  if (!ahead_.valid() || ahead_after_ != after_seq) return false;
  try {
    chunk_ = ahead_.get();
    return true;
  } catch (const Error&) {  // Its server has ended, for example.
    give_up_second();
    return false;
  }
}

void WindowReader::forget_window() {
  if (ahead_.valid()) ahead_.wait();
  ahead_ = {};
  chunk_ = {};
  window_ = {};
  bounds_.reset();
  second_failed_ = false;
}

sql::Statement& WindowReader::open_range(const Cursor& from, const Cursor& to) {
  const Window window{from.snap_from, to.window_end()};
  return sql::read_window_range(connection_, window.span(),
                                from.snap_to.empty() ? Seq{} : from.after_seq, to.after_seq);
}

}  // namespace outseal::store
