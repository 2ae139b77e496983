// Reading the status of an operation, for status() and whoever waits.
#pragma once

#include <string>
#include <string_view>

#include "outseal/status.h"
#include "sql/connection.h"
#include "sql/operation_status.h"

namespace outseal::operation {

/// Which record is looked at.
struct StatusOf {
  std::string key_hash;
  /// The random part of a handle, which must be the record's. Empty: asked by the key.
  std::string secret = {};

  auto operator<=>(const StatusOf&) const = default;
};

/// @throws Error{invalid_argument} if a field breaks its limit.
StatusOf status_of(std::string_view caller, const OperationKey& operation);
/// A text that is no handle names no record.
StatusOf status_of(std::string_view handle);

/// One SELECT.
OperationStatus read_status(sql::Connection& connection, const StatusOf& which);
/// The same on a session, and tells the observer.
OperationStatus look(Session session, const StatusOf& which, const StatusOptions& options);

/// What a row says.
OperationStatus status_from(sql::OperationStatusRow row, const StatusOf& which);

}  // namespace outseal::operation
