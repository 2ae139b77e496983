#include "store/window_reader.h"

#include <algorithm>

#include "base/failpoint.h"
#include "outseal/error.h"

namespace outseal::store {
namespace {

using std::chrono::steady_clock;

/// An empty window that took longer than this to look through holds rows of transactions that still
/// run: the cursor then moves on, durably, so that they are not passed again by each poll.
constexpr std::chrono::milliseconds kSlowLook{10};

[[noreturn]] void refuse(std::string message, std::string hint) {
  throw Error{ErrorCode::refused, "read", std::move(message), {.hint = std::move(hint)}};
}

class WindowPage final : public LogPage {
 public:
  /// `first`: whether the first row was stepped to already.
  WindowPage(sql::Statement& rows, Cursor inside, std::int64_t rows_max, bool first)
      : use_{std::make_unique<sql::Use>(rows)},
        rows_{&rows},
        inside_{std::move(inside)},
        rows_max_{rows_max},
        stepped_{first} {}
  /// A page without rows; the cursor after it is `end`.
  explicit WindowPage(Cursor end) : inside_{std::move(end)} {}

  bool step() override {
    if (rows_ == nullptr) return false;
    if (!stepped_ && !rows_->step()) {
      if (found_ == count_ && found_ < rows_max_) {
        inside_.snap_from = std::move(inside_.snap_to);
        inside_.snap_to.clear();
      }
      return false;
    }
    stepped_ = false;
    ++count_;
    found_ = rows_->integer(9);
    inside_.after_seq = Seq{rows_->integer(0)};
    return true;
  }
  sql::Statement& rows() override { return *rows_; }
  Cursor cursor() const override { return inside_; }
  bool goes_on() const override { return !inside_.snap_to.empty(); }

 private:
  std::unique_ptr<sql::Use> use_;
  sql::Statement* rows_ = nullptr;
  Cursor inside_;
  std::int64_t rows_max_ = 0;
  std::int64_t count_ = 0;
  std::int64_t found_ = 0;  ///< Rows before the page was cut to its bytes.
  bool stepped_ = false;
};

}  // namespace

WindowReader::Window WindowReader::make_window(const std::string& from, const std::string& to) {
  Window window{.from = from,
                .to = to,
                .begin = Snapshot::parse(from),
                .end = Snapshot::parse(to),
                .late = {}};
  window.late = ended_since(window.begin, window.end);
  return window;
}

void WindowReader::bind_window(sql::Statement& rows, const Window& window) const {
  rows.bind(0, static_cast<std::int64_t>(window.begin.xmax));
  rows.bind(1, static_cast<std::int64_t>(window.end.xmax));
  if (&rows == &connection_.statement(sql::Query::window_bounds)) return;
  rows.bind_text(2, window.to);
  rows.bind_text(3, window.late);
}

/// The present snapshot of a server that may be read.
std::string WindowReader::look() {
  const sql::Use state{connection_.statement(sql::Query::source_state)};
  state->step();
  if (state->integer(1) != 0 && !mutant("no_standby_check"))
    refuse("the database is a standby: it does not tell which transactions are running",
           "give the relay the URL of the primary");
  SourceIdentity now{.system = std::string{state->text(3)}, .timeline = state->integer(2)};
  if (!source_.system.empty() && (now.system != source_.system || now.timeline != source_.timeline))
    refuse("the database behind the URL was exchanged: system " + now.system + ", timeline " +
               std::to_string(now.timeline) + ", before that " + source_.system + ", " +
               std::to_string(source_.timeline),
           "after a failover or restore: outseal-relay rebase");
  source_ = std::move(now);
  incarnation_ = state->text(4);
  return std::string{state->text(0)};
}

SourceIdentity WindowReader::identify(const Cursor& cursor,
                                      const std::optional<SourceIdentity>& known) {
  source_ = {};
  const std::string present = look();
  const std::string way_out =
      "stop all relays of the subscription, then: outseal-relay rebase; it compares with the sink";
  if (known && known->system != source_.system)
    refuse("the cursor belongs to another database cluster (system " + known->system + ", here " +
               source_.system + "): the database was restored from a dump or copied",
           way_out);
  if (known && known->timeline != source_.timeline)
    refuse("the database is on timeline " + std::to_string(source_.timeline) +
               ", the cursor is from timeline " + std::to_string(known->timeline) +
               ": a failover or a restore may have lost commits that were published",
           way_out);
  for (const std::string& snapshot : {cursor.snap_from, cursor.snap_to})
    if (!snapshot.empty() && Snapshot::parse(snapshot).xmax > Snapshot::parse(present).xmax)
      refuse("the cursor is ahead of the database: transactions that it has passed do not exist",
             way_out);
  return source_;
}

std::unique_ptr<LogPage> WindowReader::open(const Cursor& from, const PageLimits& limits) {
  if (from.snap_to.empty()) return open_window(from, limits);
  look();
  return open_page(make_window(from.snap_from, from.snap_to), from, limits);
}

/// Looks whether there is a new window; reads it if it is small.
std::unique_ptr<LogPage> WindowReader::open_window(const Cursor& from, const PageLimits& limits) {
  const auto begin = steady_clock::now();
  const Window window = make_window(from.snap_from, look());
  if (window.is_empty()) return std::make_unique<WindowPage>(from);
  if (window.end.xmax < window.begin.xmax)
    refuse("the cursor is ahead of the database: transactions that it has passed do not exist",
           "after a failover or restore: outseal-relay rebase");

  sql::Statement& rows = connection_.statement(sql::Query::read_window);
  const auto rows_max = static_cast<std::int64_t>(limits.events_max) + 1;
  bool any = false;
  bool small = true;
  {
    bind_window(rows, window);
    rows.bind(4, rows_max);
    rows.bind(5, static_cast<std::int64_t>(limits.bytes_max));
    any = rows.step();
    small = !any || rows.integer(9) < rows_max;
  }
  const Cursor inside{.after_seq = Seq{0}, .snap_from = window.from, .snap_to = window.to};
  if (any && small) return std::make_unique<WindowPage>(rows, inside, rows_max, true);
  rows.reset();
  if (!small) return open_page(window, inside, limits);
  if (steady_clock::now() - begin < kSlowLook) return std::make_unique<WindowPage>(from);
  return std::make_unique<WindowPage>(
      Cursor{.after_seq = from.after_seq, .snap_from = window.to, .snap_to = {}});
}

const WindowReader::Bounds& WindowReader::bounds_of(const Window& window) {
  if (bounds_.from == window.from && bounds_.to == window.to) return bounds_;
  const sql::Use query{connection_.statement(sql::Query::window_bounds)};
  bind_window(connection_.statement(sql::Query::window_bounds), window);
  query->step();
  bounds_ = {window.from, window.to, query->integer(0), query->integer(1)};
  return bounds_;
}

std::unique_ptr<LogPage> WindowReader::open_page(const Window& window, const Cursor& from,
                                                 const PageLimits& limits) {
  const Bounds& bounds = bounds_of(window);
  sql::Statement& rows = connection_.statement(sql::Query::read_window_page);
  const auto rows_max = static_cast<std::int64_t>(limits.events_max);
  bind_window(rows, window);
  rows.bind(4, rows_max);
  rows.bind(5, static_cast<std::int64_t>(limits.bytes_max));
  rows.bind(6, from.after_seq.value());
  rows.bind(7, bounds.highest);
  rows.bind(8, std::max(from.after_seq.value(), bounds.lowest - 1));
  return std::make_unique<WindowPage>(rows, from, rows_max, false);
}

sql::Statement& WindowReader::open_range(const Cursor& from, const Cursor& to) {
  const std::string& end = to.snap_to.empty() ? to.snap_from : to.snap_to;
  const Window window = make_window(from.snap_from, end);
  sql::Statement& rows = connection_.statement(sql::Query::read_window_range);
  bind_window(rows, window);
  rows.bind(4, from.snap_to.empty() ? 0 : from.after_seq.value());
  rows.bind(5, to.after_seq.value());
  return rows;
}

}  // namespace outseal::store
