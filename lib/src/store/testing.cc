#include "outseal/testing.h"

#include "outseal/error.h"
#include "sql/connection.h"
#include "store/migrations.h"

namespace outseal {

void migrate(Session session) {
  const auto connection = sql::wrap(session, false);
  connection->require_idle("migrate");
  if (connection->in_transaction())
    throw Error{ErrorCode::invalid_argument,
                "migrate",
                "the session is in a transaction",
                {.hint = "end it first: each migration is a transaction of its own"}};
  store::migrate_up(*connection, store::newest_version(connection->dialect()), {});
}

}  // namespace outseal
