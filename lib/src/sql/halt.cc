#include "sql/halt.h"

#include "sql/typed.h"

namespace outseal::sql {

// subscription, now, error, message, hint
const Text kRecordHalt{
    .name = "record_halt",
    .sqlite =
        "INSERT INTO outseal_halt (subscription, halted_at, error, message, hint)"
        " VALUES (?1, ?2, ?3, ?4, ?5)"
        " ON CONFLICT (subscription) DO UPDATE SET halted_at = excluded.halted_at,"
        " error = excluded.error, message = excluded.message, hint = excluded.hint",
    .postgres =
        "INSERT INTO outseal.halt (subscription, halted_at, error, message, hint)"
        " VALUES ($1, to_timestamp($2::float8 / 1000), $3, $4, $5)"
        " ON CONFLICT (subscription) DO UPDATE SET halted_at = excluded.halted_at,"
        " error = excluded.error, message = excluded.message, hint = excluded.hint"};

void record_halt(Connection& connection, const Halt& halt) {
  run(connection, kRecordHalt, halt.subscription, halt.at_ms, halt.error, halt.message, halt.hint);
}

// subscription
const Text kClearHalt{.name = "clear_halt",
                      .sqlite = "DELETE FROM outseal_halt WHERE subscription = ?1",
                      .postgres = "DELETE FROM outseal.halt WHERE subscription = $1"};

void clear_halt(Connection& connection, std::string_view subscription) {
  run(connection, kClearHalt, subscription);
}

const Text kListHalts{.name = "list_halts",
                      .sqlite =
                          "SELECT subscription, halted_at, error, message, hint FROM outseal_halt"
                          " ORDER BY subscription",
                      .postgres =
                          "SELECT subscription, halted_at, error, message, hint FROM outseal.halt"
                          " ORDER BY subscription"};

std::vector<Halt> list_halts(Connection& connection) {
  return list_rows(connection, kListHalts, [](Columns& columns) {
    Halt halt;
    columns >> halt.subscription >> halt.at_ms >> halt.error >> halt.message >> halt.hint;
    return halt;
  });
}

}  // namespace outseal::sql
