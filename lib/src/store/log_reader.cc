// SQLite: one writer at a time, so the order of numbers is the order of commits.
#include "store/log_reader.h"

#include <utility>

#include "store/window_reader.h"

namespace outseal::store {
namespace {

class SequencePage final : public LogPage {
 public:
  SequencePage(sql::Statement& rows, const Cursor& from, std::size_t rows_max)
      : use_{rows}, rows_{rows}, cursor_{from}, rows_max_{rows_max} {
    rows_.bind(0, from.after_seq.value());
    rows_.bind(1, static_cast<std::int64_t>(rows_max));
  }
  bool step() override {
    if (!rows_.step()) return false;
    ++count_;
    cursor_.after_seq = Seq{rows_.integer(0)};
    return true;
  }
  sql::Statement& rows() override { return rows_; }
  Cursor cursor() const override { return cursor_; }
  bool goes_on() const override { return count_ == rows_max_; }

 private:
  sql::Use use_;
  sql::Statement& rows_;
  Cursor cursor_;
  std::size_t rows_max_;
  std::size_t count_ = 0;
};

class SequenceReader final : public LogReader {
 public:
  explicit SequenceReader(sql::Connection& connection) : connection_{connection} {}

  SourceIdentity identify(const Cursor&, const std::optional<SourceIdentity>&) override {
    return {};
  }
  std::unique_ptr<LogPage> open(const Cursor& from, const PageLimits& limits) override {
    return std::make_unique<SequencePage>(connection_.statement(sql::Query::read_log), from,
                                          limits.events_max);
  }
  sql::Statement& open_range(const Cursor& from, const Cursor& to) override {
    sql::Statement& rows = connection_.statement(sql::Query::read_log_range);
    rows.bind(0, from.after_seq.value());
    rows.bind(1, to.after_seq.value());
    return rows;
  }
  const std::string& incarnation() const override { return none_; }

 private:
  sql::Connection& connection_;
  std::string none_;
};

}  // namespace

std::unique_ptr<LogReader> make_log_reader(sql::Connection& connection,
                                           OpenConnection open_second) {
  if (connection.dialect() == "sqlite") return std::make_unique<SequenceReader>(connection);
  return std::make_unique<WindowReader>(connection, std::move(open_second));
}

}  // namespace outseal::store
