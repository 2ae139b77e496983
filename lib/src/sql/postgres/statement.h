// A statement of PostgreSQL: parameters, rows, and what an SQLSTATE means.
#pragma once

#include <libpq-fe.h>

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "outseal/error.h"
#include "sql/connection.h"

namespace outseal::sql::postgres {

struct ClearResult {
  void operator()(PGresult* result) const noexcept { PQclear(result); }
};
using Result = std::unique_ptr<PGresult, ClearResult>;

/// The Error that a failed `result` means; without one, what the connection says. Messages carry
/// no detail of rows: a payload or a key could stand there.
/// Source: PostgreSQL docs, appendix "PostgreSQL Error Codes".
Error error_of(PGconn* connection, const PGresult* result, std::string_view operation);

/// Whether an SQLSTATE means that the transaction may succeed when it is run again.
bool is_conflict(std::string_view state);

/// Whether `result` is one row, or some, of an answer that goes on.
bool is_part(const PGresult* result);
/// Whether `result` is an answer to a statement that worked.
bool is_fine(const PGresult* result);

/// Parameters in libpq's form.
class Parameters {
 public:
  void set(int index, std::int64_t value);
  void set_text(int index, std::string_view text);
  void set_bytes(int index, std::string_view bytes);
  void set_array(int index, std::uint32_t element_type, std::span<const std::string_view> elements);
  void set_null(int index);
  void clear() noexcept { values_.clear(); }

  int count() const { return static_cast<int>(values_.size()); }
  /// The three arrays live until the next call.
  const char* const* values();
  const int* lengths() const { return lengths_.data(); }
  const int* formats() const { return formats_.data(); }

 private:
  struct Value {
    bool null = true;
    bool binary = false;
    std::string text;        ///< A copy: libpq wants text to end with NUL.
    std::string_view bytes;  ///< Not copied: may be megabytes.
  };
  Value& at(int index);

  std::vector<Value> values_;
  std::vector<const char*> pointers_;
  std::vector<int> lengths_;
  std::vector<int> formats_;
};

/// How a statement reaches the server; implemented by the connection.
class Runner {
 public:
  virtual ~Runner() = default;
  /// Runs `statement` alone and gives it its rows.
  virtual void run(class PgStatement& statement) = 0;
  /// The same in two halves.
  virtual void send(class PgStatement& statement) = 0;
  virtual void collect(class PgStatement& statement) = 0;
};

/// Rows come all at once, in binary form; step() walks them.
class PgStatement final : public Statement {
 public:
  /// One of ours; `text` is a constant.
  PgStatement(Runner& runner, const Text& text) : runner_{runner}, ours_{&text} {}
  /// One of free text.
  PgStatement(Runner& runner, std::string sql) : runner_{runner}, free_{std::move(sql)} {}

  void bind(int index, std::int64_t value) override { parameters_.set(index, value); }
  void bind_text(int index, std::string_view text) override { parameters_.set_text(index, text); }
  void bind_blob(int index, std::string_view bytes) override {
    parameters_.set_bytes(index, bytes);
  }
  void bind_null(int index) override { parameters_.set_null(index); }
  void bind_texts(int index, std::span<const std::string_view> texts) override;
  void bind_blobs(int index, std::span<const std::string_view> blobs) override;
  void bind_ids(int index, std::span<const EventId> ids) override;
  void bind_times(int index, std::span<const std::int64_t> times) override;

  void send() override;
  bool step() override;
  void reset() noexcept override;

  std::int64_t integer(int column) const override;
  std::string_view text(int column) const override;
  std::string_view blob(int column) const override;
  EventId event_id(int column) const override;
  bool is_null(int column) const override;

  std::int64_t row_count() const override { return PQntuples(result_.get()); }
  void go_to(std::int64_t row) override;

  const char* sql() const { return ours_ != nullptr ? ours_->postgres : free_.c_str(); }
  const Text* ours() const { return ours_; }
  /// By which one of ours is prepared on the server.
  std::string name(unsigned number) const {
    std::string name = "outseal_" + std::string{ours_->name};
    return number == 0 ? name : name + '_' + std::to_string(number);
  }
  Setting setting() const { return ours_ != nullptr ? ours_->setting : Setting{}; }
  Parameters& parameters() { return parameters_; }
  /// Its rows; the next step() is the first of them.
  void take(Result result);

 private:
  std::string_view raw(int column) const;

  Runner& runner_;
  const Text* ours_ = nullptr;
  std::string free_;
  Parameters parameters_;
  Result result_;
  bool is_sent_ = false;
  int row_ = -1;
  mutable std::vector<std::string> uuids_;  ///< Text of the current row's uuid columns.
};

}  // namespace outseal::sql::postgres
