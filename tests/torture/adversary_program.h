// Programs of the adversarial suite: what a careless service may do with its session, at random.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace outseal::test::adversary {

/// One thing that a service does. The names are those of name_of().
enum class Act {
  // Through the public API; `slot` says by which of the living Transactions.
  begin,
  join,
  append,
  append_bad,
  commit,
  roll_back,
  destroy,
  execute,
  // By SQL of its own.
  row,
  append_by_trigger,
  append_by_sql,
  update,
  savepoint,
  rollback_to,
  release,
  helper,
  raw_begin,
  raw_commit,
  raw_rollback,
  commit_and_chain,
  rollback_and_chain,
  commit_begin,
  rollback_begin,
  prepare,
  // Errors that it swallows.
  violation,
  deferred_violation,
  mend_deferred,
  or_rollback,
  interrupt,
  full,
  // Its connection and settings.
  reconnect,
  close,
  terminate,
  latin1,
  utf8,
  set_role,
  reset_role,
  deallocate,
  write_other_file,
  // What somebody else does meanwhile.
  beside_event,
  beside_update,
  beside_lock,
  beside_unlock,
};
constexpr int kActCount = static_cast<int>(Act::beside_unlock) + 1;

std::string_view name_of(Act act);

struct Move {
  Act act;
  std::uint32_t a = 0;          ///< Chooses among variants; see Service.
  std::uint32_t b = 0;          ///< Likewise.
  std::vector<Move> body = {};  ///< Of execute: what the handler does.
};

enum class Kill { never, at_move, at_failpoint, from_outside };

struct Program {
  std::vector<Move> moves;
  std::uint32_t bits = 0;  ///< Settings of the session and how the program ends; see Service.
  Kill kill = Kill::never;
  std::uint32_t kill_at = 0;  ///< Which move, or which hit of the failpoint.
  std::string failpoint;
};

/// The same seed gives the same program everywhere.
Program make_program(std::uint64_t seed, bool postgres);

}  // namespace outseal::test::adversary
