#include "sql/own_transaction.h"

#include <random>

#include "sql/postgres/fragments.h"
#include "sql/typed.h"

namespace outseal::sql {
namespace {

using State = OwnTransaction::State;

/// As pg_xact_status() says it; empty for one that is too old to be known.
State state_of(std::string_view status) {
  if (status == "committed") return State::committed;
  if (status == "aborted") return State::rolled_back;
  return status == "in progress" ? State::prepared : State::in_doubt;
}

struct Savepoint {
  std::string name =
      "outseal_" + std::to_string(std::random_device{}()) + std::to_string(std::random_device{}());
  std::string set_sql = "SAVEPOINT " + name;
  std::string back_sql = "ROLLBACK TO SAVEPOINT " + name;
  std::string release_sql = "RELEASE SAVEPOINT " + name;

  Text set{.name = "savepoint", .sqlite = set_sql.c_str(), .postgres = set_sql.c_str()};
  Text back{
      .name = "rollback_to_savepoint", .sqlite = back_sql.c_str(), .postgres = back_sql.c_str()};
  Text release{
      .name = "release_savepoint", .sqlite = release_sql.c_str(), .postgres = release_sql.c_str()};

  Savepoint() = default;
  Savepoint(const Savepoint&) = delete;  // The texts are its own.
  Savepoint& operator=(const Savepoint&) = delete;
};

const Savepoint& our_savepoint() {
  static const Savepoint savepoint;
  return savepoint;
}

}  // namespace

// Prepared like any other: a server that parses BEGIN and COMMIT anew takes longer for them.
const Text kBegin{.name = "begin", .postgres = "BEGIN"};
const Text kBeginReadCommitted{.name = "begin_read_committed",
                               .postgres = "BEGIN ISOLATION LEVEL READ COMMITTED"};
const Text kBeginRepeatableRead{.name = "begin_repeatable_read",
                                .postgres = "BEGIN ISOLATION LEVEL REPEATABLE READ"};
const Text kBeginSerializable{.name = "begin_serializable",
                              .postgres = "BEGIN ISOLATION LEVEL SERIALIZABLE"};
const Text kCommit{.name = "commit", .postgres = "COMMIT"};

const Text& begin_text(Isolation isolation) {
  switch (isolation) {
    case Isolation::read_committed:
      return kBeginReadCommitted;
    case Isolation::repeatable_read:
      return kBeginRepeatableRead;
    case Isolation::serializable:
      return kBeginSerializable;
    case Isolation::session_default:
      break;
  }
  return kBegin;
}

// -> the transaction's number
const Text kCurrentTransaction{.name = "current_transaction",
                               .postgres = "SELECT pg_current_xact_id()"};

Statement& current_transaction(Connection& connection) {
  return bind_statement(connection, kCurrentTransaction);
}

std::string read_identity(Statement& current) {
  return current.step() ? std::to_string(Columns{current}.get<std::int64_t>()) : std::string{};
}

// the transaction's number. Fails in any other.
const Text kProveTransaction{.name = "prove_transaction",
                             .postgres =
                                 "SELECT CASE WHEN pg_current_xact_id() <> $1::xid8 THEN"
                                 " ('" OUTSEAL_ANOTHER_TRANSACTION
                                 " ' || pg_current_xact_id()::text)::boolean"
                                 " ELSE true END"};

Statement& prove_transaction(Connection& connection, std::string_view identity) {
  return bind_statement(connection, kProveTransaction, identity);
}

// the transaction's number -> 1 if it is the one at hand, what has become of it
const Text kWhoseTransaction{
    .name = "whose_transaction",
    .postgres =
        "SELECT coalesce(pg_current_xact_id_if_assigned() = $1::xid8, false),"
        " coalesce(pg_xact_status($1::xid8), '')",
    .any_encoding = true};

TransactionFate find_fate(Connection& connection, std::string_view identity) {
  const auto read = [](Columns& columns) {
    const bool is_at_hand = columns.get<bool>();
    return TransactionFate{is_at_hand, state_of(columns.get<std::string_view>())};
  };
  return find_row(connection, kWhoseTransaction, read, identity).value_or(TransactionFate{});
}

// limit, for the length of the transaction
const Text kLimitLockWaits{.name = "limit_lock_waits",
                           .postgres = "SELECT set_config('lock_timeout', $1, true)"};

void limit_lock_waits(Connection& connection, std::chrono::milliseconds wait) {
  run(connection, kLimitLockWaits, std::to_string(wait.count()));
}

Statement& savepoint(Connection& connection) {
  return bind_statement(connection, our_savepoint().set);
}

void set_savepoint(Connection& connection) { run(connection, our_savepoint().set); }

void release_savepoint(Connection& connection) { run(connection, our_savepoint().release); }

const Text& rollback_to_savepoint() { return our_savepoint().back; }

}  // namespace outseal::sql
