#include "sql/log.h"

#include "sql/event_row.h"
#include "sql/postgres/fragments.h"
#include "sql/sqlite/fragments.h"
#include "sql/typed.h"

namespace outseal::sql {

const Text kFindOldestEvent{.name = "find_oldest_event",
                            .sqlite = "SELECT seq FROM outseal_outbox ORDER BY seq LIMIT 1",
                            .postgres = "SELECT seq FROM outseal.outbox ORDER BY seq LIMIT 1"};

std::optional<Seq> find_oldest_event(Connection& connection) {
  return find_row(connection, kFindOldestEvent, column<Seq>);
}

// seq
const Text kReadLargeEvent{
    .name = "read_large_event",
    .sqlite = "SELECT payload, headers FROM outseal_outbox WHERE seq = ?1",
    .postgres = "SELECT " OUTSEAL_PAYLOAD ", o.headers FROM outseal.outbox o WHERE o.seq = $1"};

LargeEvent::LargeEvent(Connection& connection, Seq seq)
    : bound_{connection, kReadLargeEvent, seq}, found_{bound_.step()} {
  if (!found_) return;
  Columns columns = bound_.columns();
  payload_ = columns.bytes();
  columns >> headers_;
}

// after seq, rows at most. With payloads of text: the connection's limit keeps too large ones from
// being read.
const Text kReadLog{.name = "read_log",
                    .sqlite = "SELECT " OUTSEAL_LITE_EVENT_COLUMNS_WITH(
                        "1") " FROM outseal_outbox o WHERE o.seq > ?1 ORDER BY o.seq LIMIT ?2"};

Statement& read_log(Connection& connection, Seq after, std::size_t rows_max) {
  return bind_statement(connection, kReadLog, after, rows_max);
}

// as read_log, without them
const Text kReadLogApart{.name = "read_log_apart",
                         .sqlite =
                             "SELECT " OUTSEAL_LITE_EVENT_COLUMNS
                             " FROM outseal_outbox o WHERE o.seq > ?1 ORDER BY o.seq LIMIT ?2"};

Statement& read_log_apart(Connection& connection, Seq after, std::size_t rows_max) {
  return bind_statement(connection, kReadLogApart, after, rows_max);
}

// from seq (exclusive), to seq (inclusive)
const Text kReadLogRange{
    .name = "read_log_range",
    .sqlite = "SELECT " OUTSEAL_LITE_EVENT_COLUMNS
              " FROM outseal_outbox o WHERE o.seq > ?1 AND o.seq <= ?2 ORDER BY o.seq"};

Statement& read_log_range(Connection& connection, Seq after, Seq up_to) {
  return bind_statement(connection, kReadLogRange, after, up_to);
}

// cursor's seq
const Text kIsLogBehind{.name = "is_log_behind",
                        .sqlite =
                            "SELECT max(coalesce((SELECT seq FROM sqlite_sequence"
                            " WHERE name = 'outseal_outbox'), 0),"
                            " coalesce((SELECT max(seq) FROM outseal_outbox), 0)) < ?1"};

bool is_log_behind(Connection& connection, Seq passed) {
  return get_value<bool>(connection, kIsLogBehind, passed);
}

// seq
const Text kRenumberEvent{
    .name = "renumber_event",
    // It comes behind every cursor and all other events.
    .sqlite =
        "UPDATE outseal_outbox SET seq = 1 + max((SELECT max(seq) FROM outseal_outbox),"
        " (SELECT max(after_seq) FROM outseal_subscription)) WHERE seq = ?1",
    // It belongs to the next window of every subscription.
    .postgres = "UPDATE outseal.outbox SET tx = pg_current_xact_id() WHERE seq = $1"};

void renumber_event(Connection& connection, Seq seq) { run(connection, kRenumberEvent, seq); }

const Text kForgetNumbers{.name = "forget_numbers",
                          .sqlite = "DELETE FROM sqlite_sequence WHERE name = 'outseal_outbox'"};

const Text kRaiseNumbers{.name = "raise_numbers",
                         .sqlite =
                             "INSERT INTO sqlite_sequence (name, seq) SELECT 'outseal_outbox',"
                             " max(coalesce((SELECT max(seq) FROM outseal_outbox), 0),"
                             " coalesce((SELECT max(after_seq) FROM outseal_subscription), 0))"};

void raise_numbers(Connection& connection) {
  run(connection, kForgetNumbers);
  run(connection, kRaiseNumbers);
}

}  // namespace outseal::sql
