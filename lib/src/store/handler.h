// A handler of a service's that runs inside of a transaction of ours.
#pragma once

#include <string_view>

#include "store/transaction.h"

namespace outseal::store {

/// While it lives a handler runs: nothing but the handler's caller can end its transaction.
class InHandler {
 public:
  explicit InHandler(Transaction::Impl& impl) : impl_{impl} { impl_.in_handler = true; }
  ~InHandler() { impl_.in_handler = false; }
  InHandler(const InHandler&) = delete;
  InHandler& operator=(const InHandler&) = delete;

 private:
  Transaction::Impl& impl_;
};

/// Whether an SQLSTATE is a serialization failure or a deadlock: a handler that met one decided on
/// rows that were not to be had.
inline bool is_conflict(std::string_view state) { return state == "40001" || state == "40P01"; }

}  // namespace outseal::store
