// Errors of the library: one class that says what to do next, not what kind of error it is.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace outseal {

/// What went wrong, as a closed list. The names are stable: they are logged, printed by `--json`
/// and listed in `lib/README.md`.
enum class ErrorCode {
  invalid_argument,  ///< A value given to a call breaks a stated limit.
  invalid_config,    ///< Options, flags or a configuration file contradict themselves or a limit.
  unreachable,       ///< The database cannot be opened or the connection to it is gone.
  denied,            ///< The database refuses the user: wrong password or missing privilege.
  sink_unreachable,  ///< The sink cannot be opened, written or made durable.
  conflict,          ///< Another transaction won: busy, locked, deadlock, serialization failure.
  commit_in_doubt,   ///< The outcome of a COMMIT is unknown.
  foreign_commit,    ///< The service committed a Transaction by other means than its commit().
  lease_lost,        ///< Another relay leads, or another attempt has the operation.
  schema_missing,    ///< The database has no outseal schema.
  schema_mismatch,   ///< The schema is older or newer than this binary, or was edited.
  constraint,        ///< A database constraint refused a row, for example a reused event id.
  storage,           ///< The database reports I/O trouble, a full disk or corruption.
  refused,           ///< Refused for safety: fork, foreign sink, lost data, unpublished events.
  internal,          ///< A broken invariant of outseal itself. Please report it.
};

/// What the caller should do next.
enum class Recovery {
  retry_transaction,  ///< Roll back and run the whole transaction again.
  reconnect,          ///< Open a new connection, then run the transaction again.
  fix_first,          ///< Do not retry until schema, configuration, privilege or argument changed.
  find_out,  ///< The commit may have happened: look, or retry with the same idempotency key.
};

/// The stable snake_case name of `code`, for example "commit_in_doubt".
std::string_view name_of(ErrorCode code);
/// The stable snake_case name of `recovery`, for example "retry_transaction".
std::string_view name_of(Recovery recovery);
/// What to do after an error of `code`.
Recovery recovery_of(ErrorCode code);
/// The exit code with which outseal's programs end after an error of `code`; see `tools/README.md`.
int exit_code_of(ErrorCode code);

/// The one exception type of outseal. `what()` is "operation: message".
///
/// Threads: Immutable.
class Error : public std::runtime_error {
 public:
  /// What an error may carry besides its code, operation and message.
  struct Detail {
    std::string hint = {};         ///< One sentence: what to do about it. May be empty.
    std::string detail_code = {};  ///< SQLSTATE or SQLite's extended result code, as text.
    /// The table of a constraint, as "schema.table" on PostgreSQL; empty where it is not known.
    std::string table = {};
    std::string constraint = {};  ///< The name of the constraint that refused a row, likewise.
  };

  Error(ErrorCode code, std::string_view operation, std::string_view message);
  Error(ErrorCode code, std::string_view operation, std::string_view message, Detail detail);

  ErrorCode code() const noexcept { return code_; }
  Recovery recovery() const { return recovery_of(code_); }
  /// The verb that failed, for example "append".
  const std::string& operation() const noexcept { return operation_; }
  /// The message without the operation.
  const std::string& message() const noexcept { return message_; }
  const std::string& hint() const noexcept { return detail_.hint; }
  const std::string& detail_code() const noexcept { return detail_.detail_code; }
  const std::string& table() const noexcept { return detail_.table; }
  const std::string& constraint() const noexcept { return detail_.constraint; }

 private:
  ErrorCode code_;
  std::string operation_;
  std::string message_;
  Detail detail_;
};

}  // namespace outseal
