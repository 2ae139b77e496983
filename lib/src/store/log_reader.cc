// SQLite: one writer at a time, so the order of numbers is the order of commits.
#include "store/log_reader.h"

#include <optional>
#include <utility>

#include "outseal/error.h"
#include "sql/log.h"
#include "store/passage.h"
#include "store/window_reader.h"

namespace outseal::store {
namespace {

class SequencePage final : public LogPage {
 public:
  SequencePage(sql::Connection& connection, const Cursor& from, std::size_t rows_max)
      : connection_{connection},
        cursor_{from},
        rows_max_{rows_max},
        rows_{&sql::read_log(connection, from.after_seq, rows_left())},
        use_{std::in_place, *rows_} {}
  bool step() override {
    if (!step_within_limit()) {
      // Whoever finds nothing makes sure that nothing new can be before the cursor.
      if (count_ == 0) refuse_numbers_behind(connection_, cursor_.after_seq);
      return false;
    }
    ++count_;
    cursor_.after_seq = row().seq();
    return true;
  }
  sql::EventColumns row() const override { return sql::EventColumns{*rows_}; }
  Cursor cursor() const override { return cursor_; }
  bool has_more() const override { return count_ == rows_max_; }

 private:
  std::size_t rows_left() const { return rows_max_ - count_; }
  /// Goes on without payloads of text once one of them is larger than may be read.
  bool step_within_limit() {
    try {
      return rows_->step();
    } catch (const Error& error) {
      if (error.detail_code() != sql::Connection::kTooBig) throw;
    }
    use_.reset();
    rows_ = &sql::read_log_apart(connection_, cursor_.after_seq, rows_left());
    use_.emplace(*rows_);
    return rows_->step();
  }

  sql::Connection& connection_;
  Cursor cursor_;
  std::size_t rows_max_;
  std::size_t count_ = 0;
  sql::Statement* rows_;
  std::optional<sql::StatementScope> use_;
};

class SequenceReader final : public LogReader {
 public:
  explicit SequenceReader(sql::Connection& connection) : connection_{connection} {}

  SourceIdentity identify(const Cursor&, const std::optional<SourceIdentity>&) override {
    return {};
  }
  std::unique_ptr<LogPage> open(const Cursor& from, const PageLimits& limits) override {
    return std::make_unique<SequencePage>(connection_, from, limits.events_max);
  }
  sql::Statement& open_range(const Cursor& from, const Cursor& to) override {
    return sql::read_log_range(connection_, from.after_seq, to.after_seq);
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
