// The records of operations with external effects, and of their effects. (SQLite; PostgreSQL has
// functions that do each step at once.)
//
// Whoever writes holds the database, in a transaction of its own, and has looked the operation up
// in it.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "model/effect_view.h"
#include "sql/connection.h"
#include "sql/operation.h"
#include "sql/text.h"

namespace outseal::sql {

/// One SELECT, without a lock: the operation, with its effects unless it is final.
OperationView find_operation_view(Connection& connection, std::string_view key_hash);

/// Of the operations of `scope` in progress whose lease ended at least `idle` ago, the one that
/// was left first: its key hash and fence. Also one that was unknown until an operator decided on
/// its last effect.
std::optional<std::pair<std::string, std::int64_t>> find_left_operation(
    Connection& connection, std::string_view scope, std::chrono::milliseconds idle);

/// An operation that begins; views into what its attempt has.
struct NewOperation {
  std::string_view key_hash;
  std::string_view scope;
  std::string_view fingerprint;
  int fingerprint_version = 1;
  std::string_view handle;
};
/// In progress with fence 1, in place of a record that has expired.
void begin_operation(Connection& connection, const NewOperation& operation, std::int64_t now_ms);

/// Who holds an operation from now on.
struct NewLease {
  std::string_view owner;  ///< Empty: nobody.
  std::int64_t until_ms = 0;
};
/// In progress with the next fence and one attempt more.
void take_over_operation(Connection& connection, std::string_view key_hash, const NewLease& lease);
void hold_operation(Connection& connection, std::string_view key_hash, const NewLease& lease,
                    bool hand_over);
/// Makes it final.
void finish_operation(Connection& connection, const NewRecord& record, std::int64_t now_ms);

// Each tells whether there was such an effect whose end was open.

bool settle_effect(Connection& connection, std::string_view key_hash, const Settle& settle,
                   std::int64_t fence, std::int64_t now_ms);
bool send_effect(Connection& connection, std::string_view key_hash, const Send& send,
                 std::int64_t fence, std::int64_t lease_end_ms, std::int64_t now_ms);
bool note_sending(Connection& connection, std::string_view key_hash, std::string_view name,
                  std::int64_t lease_end_ms);

// Their plans are tested.
extern const Text kFindOperationView;
extern const Text kFindLeftOperation;

}  // namespace outseal::sql
