#include "sql/sqlite/statement.h"

#include <sqlite3.h>

#include <algorithm>
#include <utility>

#include "outseal/error.h"

namespace outseal::sql::sqlite {
namespace {

/// Which of our codes an SQLite result means. Source: sqlite.org, "Result and Error Codes".
ErrorCode code_of(int result, std::string_view message) {
  switch (result & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_INTERRUPT:
      return ErrorCode::conflict;
    case SQLITE_CONSTRAINT:
      return ErrorCode::constraint;
    case SQLITE_CANTOPEN:
    case SQLITE_NOTADB:
    case SQLITE_PERM:
      return ErrorCode::unreachable;
    case SQLITE_AUTH:
      return ErrorCode::denied;
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
  if ((result & 0xff) == SQLITE_INTERRUPT)
    return "cancelled by sqlite3_interrupt() or a progress handler: roll back and run the whole "
           "transaction again";
  if (code == ErrorCode::conflict) return "roll back and run the whole transaction again";
  if (code == ErrorCode::denied)
    return "the session's authorizer refuses it: let it read and write outseal's tables";
  if ((result & 0xff) == SQLITE_CANTOPEN)
    return "check that its folder exists, and the file's and its folder's permissions";
  if ((result & 0xff) == SQLITE_NOTADB) return "check the path: the file is no SQLite database";
  if ((result & 0xff) == SQLITE_READONLY) return "check the file's and its folder's permissions";
  if ((result & 0xff) == SQLITE_CORRUPT) return "the file is damaged: restore it from a backup";
  if ((result & 0xff) == SQLITE_FULL) return "free space on the file system";
  return {};
}

/// The names that a message of SQLite ends with: "UNIQUE constraint failed: TABLE.COLUMN, ..." or
/// "CHECK constraint failed: NAME".
void name_constraint(std::string_view message, Error::Detail& detail) {
  constexpr std::string_view kFailed = " constraint failed: ";
  const auto at = message.find(kFailed);
  if (at == std::string_view::npos) return;
  const std::string_view name = message.substr(at + kFailed.size());
  if (message.substr(0, at) == "CHECK")
    detail.constraint = name;
  else
    detail.table = name.substr(0, name.find('.'));
}

// A null pointer would bind NULL; an empty value is not the same.
const char* non_null(std::string_view bytes) { return bytes.data() != nullptr ? bytes.data() : ""; }

/// As much of a statement's text as cannot hold a value.
std::string begin_of(sqlite3_stmt* statement) {
  const std::string sql = sqlite3_sql(statement);
  return sql.substr(0, std::min(sql.find_first_of("('\"0123456789"), std::size_t{60}));
}

}  // namespace

void require_finished_statements(sqlite3* handle, int result, std::string_view operation) {
  for (sqlite3_stmt* statement = sqlite3_next_stmt(handle, nullptr); statement != nullptr;
       statement = sqlite3_next_stmt(handle, statement))
    if (sqlite3_stmt_busy(statement) != 0 && sqlite3_stmt_readonly(statement) == 0)
      throw Error{ErrorCode::invalid_argument,
                  operation,
                  "a statement of the session is not finished: " + begin_of(statement),
                  {.hint = "fetch all of its rows, or reset it, before the commit",
                   .detail_code = std::to_string(result)}};
}

void fail(sqlite3* handle, int result, std::string_view operation) {
  const int extended = handle != nullptr ? sqlite3_extended_errcode(handle) : result;
  const std::string message = handle != nullptr ? sqlite3_errmsg(handle) : sqlite3_errstr(result);
  // Of a savepoint, where no other connection is in the way.
  if (extended == SQLITE_BUSY && message.ends_with("SQL statements in progress"))
    require_finished_statements(handle, extended, operation);
  const ErrorCode code = code_of(result, message);
  Error::Detail detail{.hint = hint_of(code, result), .detail_code = std::to_string(extended)};
  if (code == ErrorCode::constraint) name_constraint(message, detail);
  throw Error{code, operation, message, std::move(detail)};
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

int SqliteStatement::run() noexcept {
  sqlite3_step(statement_);
  return sqlite3_reset(statement_) == SQLITE_OK ? SQLITE_OK : sqlite3_extended_errcode(handle_);
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
