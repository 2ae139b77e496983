#include "outseal/error.h"
#include "sql/connection.h"
#include "sql/sqlite/connection.h"

namespace outseal::sql {

std::unique_ptr<Connection> open(const Url& url, OpenMode mode) {
  if (url.scheme == "sqlite") {
    url.refuse_parameters_except("");
    return sqlite::open(url.rest, mode);
  }
  throw Error{ErrorCode::invalid_argument,
              "open",
              "database URL has the unknown scheme '" + url.scheme + "'",
              {.hint = "use sqlite:PATH"}};
}

}  // namespace outseal::sql
