// What statements of ours fail with on purpose (PostgreSQL), told from the database's own errors.
#pragma once

#include <string>

#include "outseal/error.h"

namespace outseal::sql {

enum class Refusal {
  none,                 ///< The error is one of the database's own.
  another_transaction,  ///< The statement was meant for another transaction than the one at hand.
  overtaken,            ///< It would have appended behind events of others.
  dropped,              ///< A trigger has dropped a row; see dropped_table().
};
Refusal refusal_of(const Error& error);

/// The table that lost the row, after Refusal::dropped.
std::string dropped_table(const Error& error);

}  // namespace outseal::sql
