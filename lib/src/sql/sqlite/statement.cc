#include "sql/sqlite/statement.h"

#include <sqlite3.h>

#include "outseal/error.h"

namespace outseal::sql::sqlite {
namespace {

/// Which of our codes an SQLite result means. Source: sqlite.org, "Result and Error Codes".
ErrorCode code_of(int result, std::string_view message) {
  switch (result & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return ErrorCode::conflict;
    case SQLITE_CONSTRAINT:
      return ErrorCode::constraint;
    case SQLITE_CANTOPEN:
    case SQLITE_NOTADB:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return ErrorCode::unreachable;
    case SQLITE_ERROR:
      if (message.find("no such table") != std::string_view::npos) return ErrorCode::schema_missing;
      if (message.find("no such column") != std::string_view::npos ||
          message.find("has no column") != std::string_view::npos)
        return ErrorCode::schema_mismatch;
      return ErrorCode::internal;
    case SQLITE_RANGE:
    case SQLITE_MISUSE:
    case SQLITE_MISMATCH:
      return ErrorCode::internal;
    default:  // IOERR, FULL, CORRUPT, READONLY, NOMEM, ...
      return ErrorCode::storage;
  }
}

std::string hint_of(ErrorCode code, int result) {
  if (code == ErrorCode::schema_missing) return "run: outseal-migrate up --db sqlite:PATH";
  if (code == ErrorCode::schema_mismatch) return "run: outseal-migrate status --db sqlite:PATH";
  if (code == ErrorCode::conflict) return "roll back and run the whole transaction again";
  if ((result & 0xff) == SQLITE_CANTOPEN)
    return "check that its folder exists, and the file's and its folder's permissions";
  if ((result & 0xff) == SQLITE_NOTADB) return "check the path: the file is no SQLite database";
  if ((result & 0xff) == SQLITE_READONLY) return "check the file's and its folder's permissions";
  if ((result & 0xff) == SQLITE_CORRUPT) return "the file is damaged: restore it from a backup";
  if ((result & 0xff) == SQLITE_FULL) return "free space on the file system";
  return {};
}

// A null pointer would bind NULL; an empty value is not the same.
const char* non_null(std::string_view bytes) { return bytes.data() != nullptr ? bytes.data() : ""; }

}  // namespace

void fail(sqlite3* handle, int result, std::string_view operation) {
  const int extended = handle != nullptr ? sqlite3_extended_errcode(handle) : result;
  const std::string message = handle != nullptr ? sqlite3_errmsg(handle) : sqlite3_errstr(result);
  const ErrorCode code = code_of(result, message);
  throw Error{code,
              operation,
              message,
              {.hint = hint_of(code, result), .detail_code = std::to_string(extended)}};
}

SqliteStatement::SqliteStatement(sqlite3* handle, std::string_view sql, unsigned flags)
    : handle_{handle} {
  const int result = sqlite3_prepare_v3(handle, sql.data(), static_cast<int>(sql.size()), flags,
                                        &statement_, nullptr);
  if (result != SQLITE_OK) fail(handle, result, "prepare");
}

SqliteStatement::~SqliteStatement() { sqlite3_finalize(statement_); }

void SqliteStatement::bind(int index, std::int64_t value) {
  check(sqlite3_bind_int64(statement_, index + 1, value));
}

void SqliteStatement::bind_text(int index, std::string_view text) {
  check(sqlite3_bind_text64(statement_, index + 1, non_null(text), text.size(), SQLITE_STATIC,
                            SQLITE_UTF8));
}

void SqliteStatement::bind_blob(int index, std::string_view bytes) {
  check(sqlite3_bind_blob64(statement_, index + 1, non_null(bytes), bytes.size(), SQLITE_STATIC));
}

void SqliteStatement::bind_null(int index) { check(sqlite3_bind_null(statement_, index + 1)); }

bool SqliteStatement::step() {
  const int result = sqlite3_step(statement_);
  if (result == SQLITE_ROW) return true;
  if (result == SQLITE_DONE) return false;
  fail(handle_, result, "step");
}

void SqliteStatement::reset() noexcept {
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

std::int64_t SqliteStatement::integer(int column) const {
  return sqlite3_column_int64(statement_, column);
}

std::string_view SqliteStatement::text(int column) const {
  const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  if (bytes == nullptr) return {};
  return {bytes, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
}

std::string_view SqliteStatement::blob(int column) const {
  const auto* bytes = static_cast<const char*>(sqlite3_column_blob(statement_, column));
  if (bytes == nullptr) return {};
  return {bytes, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
}

bool SqliteStatement::is_null(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

void SqliteStatement::check(int result) const {
  if (result != SQLITE_OK) fail(handle_, result, "bind");
}

}  // namespace outseal::sql::sqlite
