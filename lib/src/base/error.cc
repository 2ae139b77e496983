#include "outseal/error.h"

#include <utility>

namespace outseal {
namespace {

/// One row per code: name, what to do, exit code. lib/README.md prints the same table.
struct CodeRow {
  ErrorCode code;
  std::string_view name;
  Recovery recovery;
  int exit_code;
};

constexpr CodeRow kCodes[] = {
    {ErrorCode::invalid_argument, "invalid_argument", Recovery::fix_first, 2},
    {ErrorCode::invalid_config, "invalid_config", Recovery::fix_first, 2},
    {ErrorCode::unreachable, "unreachable", Recovery::reconnect, 3},
    {ErrorCode::denied, "denied", Recovery::fix_first, 3},
    {ErrorCode::sink_unreachable, "sink_unreachable", Recovery::reconnect, 4},
    {ErrorCode::conflict, "conflict", Recovery::retry_transaction, 3},
    {ErrorCode::commit_in_doubt, "commit_in_doubt", Recovery::find_out, 3},
    {ErrorCode::foreign_commit, "foreign_commit", Recovery::fix_first, 3},
    {ErrorCode::lease_lost, "lease_lost", Recovery::fix_first, 5},
    {ErrorCode::schema_missing, "schema_missing", Recovery::fix_first, 3},
    {ErrorCode::schema_mismatch, "schema_mismatch", Recovery::fix_first, 3},
    {ErrorCode::constraint, "constraint", Recovery::fix_first, 2},
    {ErrorCode::storage, "storage", Recovery::fix_first, 3},
    {ErrorCode::refused, "refused", Recovery::fix_first, 5},
    {ErrorCode::internal, "internal", Recovery::fix_first, 70},
};

const CodeRow& row_of(ErrorCode code) {
  for (const CodeRow& row : kCodes)
    if (row.code == code) return row;
  return row_of(ErrorCode::internal);
}

}  // namespace

std::string_view name_of(ErrorCode code) { return row_of(code).name; }
Recovery recovery_of(ErrorCode code) { return row_of(code).recovery; }
int exit_code_of(ErrorCode code) { return row_of(code).exit_code; }

std::string_view name_of(Recovery recovery) {
  switch (recovery) {
    case Recovery::retry_transaction:
      return "retry_transaction";
    case Recovery::reconnect:
      return "reconnect";
    case Recovery::fix_first:
      return "fix_first";
    case Recovery::find_out:
      return "find_out";
  }
  return "fix_first";
}

Error::Error(ErrorCode code, std::string_view operation, std::string_view message)
    : Error{code, operation, message, {}} {}

Error::Error(ErrorCode code, std::string_view operation, std::string_view message, Detail detail)
    : std::runtime_error{std::string{operation} + ": " + std::string{message}},
      code_{code},
      operation_{operation},
      message_{message},
      detail_{std::move(detail)} {}

}  // namespace outseal
