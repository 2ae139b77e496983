// A prepared statement of SQLite, and what its result codes mean.
#pragma once

#include "sql/connection.h"

struct sqlite3;
struct sqlite3_stmt;

namespace outseal::sql::sqlite {

/// Throws the Error that the extended code of `handle` means; without a handle, `result`.
[[noreturn]] void fail(sqlite3* handle, int result, std::string_view operation);

/// @throws Error{invalid_argument} naming a statement of `handle` that writes and is not finished.
void require_finished_statements(sqlite3* handle, int result, std::string_view operation);

class SqliteStatement final : public Statement {
 public:
  SqliteStatement(sqlite3* handle, std::string_view sql, unsigned flags);
  ~SqliteStatement() override;
  SqliteStatement(const SqliteStatement&) = delete;
  SqliteStatement& operator=(const SqliteStatement&) = delete;

  void bind(int index, std::int64_t value) override;
  void bind_text(int index, std::string_view text) override;
  void bind_blob(int index, std::string_view bytes) override;
  void bind_null(int index) override;

  bool step() override;
  /// Runs a statement without rows, and leaves it reset. Its extended code, which is no Error yet.
  int run() noexcept;
  void reset() noexcept override;

  std::int64_t integer(int column) const override;
  std::string_view text(int column) const override;
  std::string_view blob(int column) const override;
  bool is_null(int column) const override;

 private:
  void check(int result) const;

  sqlite3* handle_;
  sqlite3_stmt* statement_ = nullptr;
};

}  // namespace outseal::sql::sqlite
