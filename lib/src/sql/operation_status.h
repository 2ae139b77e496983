// What is known of an operation, with its effects, as one statement reads it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sql/connection.h"
#include "sql/text.h"

namespace outseal::sql {

/// Without what only the one who resumes an operation needs.
struct EffectStatusRow {
  std::string name;
  std::string state;
  std::string reference;
  std::optional<std::int64_t> amount_minor;
  std::string currency;
  int attempts = 0;
};

struct OperationStatusRow {
  bool is_running = false;  ///< Somebody holds the key's lock (PostgreSQL).
  std::int64_t now_ms = 0;
  bool is_there = false;  ///< There is a record; all below is of it.
  std::string state;
  std::string scope;
  std::string handle;  ///< 16 random bytes; empty if it has none.
  std::int64_t created_ms = 0;
  std::int64_t lease_until_ms = 0;
  std::string lease_owner;
  int attempts = 0;
  bool has_expired = false;  ///< The key's retention has passed.
  int status = 0;
  /// None while it is not final, and after the response's retention, whether or not it was purged.
  std::optional<std::string> body;
  std::string content_type;
  std::string headers;                   ///< A JSON object; empty for none.
  std::vector<EffectStatusRow> effects;  ///< In the order in which they were intended.
};

/// One round trip; on SQLite a second SELECT unless the first finds a one-transaction operation.
/// `lock` is the number of the key's lock, which only PostgreSQL has.
OperationStatusRow read_operation_status(Connection& connection, std::string_view key_hash,
                                         std::int64_t lock);

// Its plan is tested.
extern const Text kReadOperationStatus;

}  // namespace outseal::sql
