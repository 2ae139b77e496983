// Transaction's implementation, for the parts of the store that work inside one.
#pragma once

#include <memory>

#include "outseal/transaction.h"
#include "sql/connection.h"

namespace outseal {

class Transaction::Impl {
 public:
  std::shared_ptr<sql::Connection> connection;
  TransactionOptions options;
  bool owned = true;  ///< False for join(): whoever began it ends it.
  bool committed = false;
};

}  // namespace outseal

namespace outseal::store {

/// The connection under `tx`, whose statements live as long as the transaction.
inline sql::Connection& connection_of(Transaction& tx) { return *tx.impl().connection; }

}  // namespace outseal::store
