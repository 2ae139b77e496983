// Parameters and columns by type and order, for sql/<area>.cc: no index is ever written down.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "outseal/ids.h"
#include "outseal/strong.h"
#include "sql/connection.h"
#include "sql/text.h"

namespace outseal::sql {

/// A parameter that is bytes, not text.
struct Bytes {
  std::string_view bytes;
};
/// A parameter that is NULL if the text is empty.
struct NullIfEmpty {
  std::string_view text;
};
/// A parameter that is an array of bytes, not of texts; an element without data() is NULL.
struct BytesArray {
  std::span<const std::string_view> values;
};
/// A parameter that is an array of times, in milliseconds since 1970 UTC.
struct TimeArray {
  std::span<const std::int64_t> values_ms;
};

// --- Parameters: put(statement, index, value) ----------------------------------------------------
// Text and bytes are not copied: they live until the statement is reset. Arrays, which only
// PostgreSQL has, are.

template <typename T>
requires std::is_integral_v<T>
void put(Statement& statement, int index, T value) {
  statement.bind(index, static_cast<std::int64_t>(value));
}
template <typename Tag, typename T>
void put(Statement& statement, int index, Strong<Tag, T> value) {
  statement.bind(index, static_cast<std::int64_t>(value.value()));
}
inline void put(Statement& statement, int index, std::string_view text) {
  statement.bind_text(index, text);
}
inline void put(Statement& statement, int index, const std::string& text) {
  statement.bind_text(index, text);
}
inline void put(Statement& statement, int index, const char* text) {
  statement.bind_text(index, text);
}
inline void put(Statement& statement, int index, Bytes value) {
  statement.bind_blob(index, value.bytes);
}
inline void put(Statement& statement, int index, NullIfEmpty value) {
  value.text.empty() ? statement.bind_null(index) : statement.bind_text(index, value.text);
}
inline void put(Statement& statement, int index, std::span<const std::string_view> texts) {
  statement.bind_texts(index, texts);
}
inline void put(Statement& statement, int index, std::span<const EventId> ids) {
  statement.bind_ids(index, ids);
}
inline void put(Statement& statement, int index, BytesArray array) {
  statement.bind_blobs(index, array.values);
}
inline void put(Statement& statement, int index, TimeArray array) {
  statement.bind_times(index, array.values_ms);
}
inline void put(Statement& statement, int index, std::nullopt_t) { statement.bind_null(index); }
template <typename T>
void put(Statement& statement, int index, const std::optional<T>& value) {
  value ? put(statement, index, *value) : statement.bind_null(index);
}

/// Binds all parameters of a statement, in order.
template <typename... Values>
void bind_all([[maybe_unused]] Statement& statement, const Values&... values) {
  [[maybe_unused]] int index = 0;
  (put(statement, index++, values), ...);
}

/// An event's id as the databases' columns hold it: no event has no id.
inline std::string id_text(const EventId& id) {
  return id.is_nil() ? std::string{} : id.to_string();
}

// --- Columns -------------------------------------------------------------------------------------

/// The columns of the current row, from left to right. Views live until the next step().
class Columns {
 public:
  explicit Columns(const Statement& row) : row_{&row} {}

  Columns& operator>>(std::string_view& text) { return text = row_->text(next_++), *this; }
  Columns& operator>>(std::string& text) { return text = row_->text(next_++), *this; }
  Columns& operator>>(EventId& id) { return id = row_->event_id(next_++), *this; }
  Columns& operator>>(bool& value) { return value = row_->integer(next_++) != 0, *this; }
  template <typename T>
  requires(std::is_integral_v<T> && !std::is_same_v<T, bool>) Columns& operator>>(T& value) {
    value = static_cast<T>(row_->integer(next_++));
    return *this;
  }
  template <typename Tag, typename T>
  Columns& operator>>(Strong<Tag, T>& value) {
    value = Strong<Tag, T>{static_cast<T>(row_->integer(next_++))};
    return *this;
  }
  /// NULL is nothing.
  template <typename T>
  Columns& operator>>(std::optional<T>& value) {
    if (row_->is_null(next_)) {
      ++next_;
      value.reset();
      return *this;
    }
    return *this >> value.emplace();
  }

  /// Whether the next column is NULL.
  bool is_null() const { return row_->is_null(next_); }
  /// The next column, which is bytes.
  std::string_view bytes() { return row_->blob(next_++); }
  template <typename T>
  T get() {
    T value{};
    *this >> value;
    return value;
  }

 private:
  const Statement* row_;
  int next_ = 0;
};

// --- Running -------------------------------------------------------------------------------------

/// A statement with its parameters, to be stepped through, up to the end of a scope.
class Bound {
 public:
  template <typename... Values>
  Bound(Connection& connection, const Text& text, const Values&... values)
      : statement_{connection.statement(text)}, scope_{statement_} {
    bind_all(statement_, values...);
  }

  bool step() { return statement_.step(); }
  Columns columns() const { return Columns{statement_}; }
  Statement& statement() { return statement_; }

 private:
  Statement& statement_;
  StatementScope scope_;
};

/// A statement with its parameters, for whoever runs it, maybe with BEGIN or COMMIT.
template <typename... Values>
Statement& bind_statement(Connection& connection, const Text& text, const Values&... values) {
  Statement& statement = connection.statement(text);
  statement.reset();
  bind_all(statement, values...);
  return statement;
}

/// Runs a statement whose rows, if any, nobody wants.
/// @returns how many rows it changed.
template <typename... Values>
std::int64_t run(Connection& connection, const Text& text, const Values&... values) {
  Bound bound{connection, text, values...};
  bound.step();
  return connection.changes();
}

/// Reads a row that has one column.
template <typename T>
T column(Columns& columns) {
  return columns.get<T>();
}

/// The first row, as `read(Columns&)` makes it; nothing if there is none.
template <typename Read, typename... Values>
auto find_row(Connection& connection, const Text& text, Read&& read, const Values&... values)
    -> std::optional<std::invoke_result_t<Read, Columns&>> {
  Bound bound{connection, text, values...};
  if (!bound.step()) return std::nullopt;
  Columns columns = bound.columns();
  return read(columns);
}

/// All rows, in memory: for statements that are bounded.
template <typename Read, typename... Values>
auto list_rows(Connection& connection, const Text& text, Read&& read, const Values&... values)
    -> std::vector<std::invoke_result_t<Read, Columns&>> {
  std::vector<std::invoke_result_t<Read, Columns&>> rows;
  Bound bound{connection, text, values...};
  while (bound.step()) {
    Columns columns = bound.columns();
    rows.push_back(read(columns));
  }
  return rows;
}

[[noreturn]] void refuse_empty(const Text& text);

/// The column of the row that there always is.
/// @throws Error{internal} if there is none.
template <typename T, typename... Values>
T get_value(Connection& connection, const Text& text, const Values&... values) {
  auto value = find_row(connection, text, column<T>, values...);
  if (!value) refuse_empty(text);
  return std::move(*value);
}

}  // namespace outseal::sql
