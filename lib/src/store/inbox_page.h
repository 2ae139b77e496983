// What is next in the inbox, for take() and consume().
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "outseal/inbox.h"
#include "sql/inbox.h"
#include "store/transaction.h"

namespace outseal::store {

/// @throws Error{invalid_argument}, always.
[[noreturn]] void refuse_argument(std::string_view operation, std::string_view message,
                                  std::string hint);
/// @throws Error{invalid_argument} if `stream` is no name.
void check_stream(std::string_view operation, std::string_view stream);

/// A table with one row a stream.
struct StreamTable {
  std::string_view name;
  std::string_view operation;  ///< What uses it.
};

/// What `lock` says of the stream: from then on nobody else moves it. A row that is missing is
/// made, at position 0; that waits for whoever makes it at this moment, and then it is there.
template <typename Lock, typename Insert>
auto lock_row(sql::Connection& connection, const StreamTable& table, std::string_view stream,
              Lock&& lock, Insert&& insert) {
  for (bool made = false;; made = true) {
    if (const auto row = lock(connection, stream)) return *row;
    insert(connection, stream);
    if (made) require_stored(connection, table.operation, table.name);
  }
}

/// The stream's cursor: workers take turns from here to the end of the transaction.
sql::InboxCursor lock_cursor(sql::Connection& connection, std::string_view stream);

/// Events that can be taken, and what else goes with them.
struct InboxPage {
  std::vector<InboxEvent> events = {};
  bool queued = false;                ///< They were set aside, and are to be tried again.
  std::vector<Position> behind = {};  ///< To be set aside behind others of their key.
  sql::InboxCursor from = {};
  Position last = {};  ///< Where the cursor goes if all are taken.
};

/// Reads what is next: first what is queued, then what comes after the cursor.
/// @throws Error as take() does.
InboxPage read_inbox_page(sql::Connection& connection, std::string_view stream,
                          const sql::InboxCursor& cursor, const TakeOptions& limits);

/// Takes the first `count` events of a page, and sets aside what stands behind others up to there.
/// @returns how many were set aside.
std::size_t take_page(sql::Connection& connection, std::string_view stream, const InboxPage& page,
                      std::size_t count);

/// Refuses a stream that no relay has ever delivered into, while there are others: nothing would
/// ever come.
void check_known(sql::Connection& connection, std::string_view stream);

}  // namespace outseal::store
