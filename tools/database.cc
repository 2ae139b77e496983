#include "database.h"

#include "outseal/error.h"
#include "store/migrations.h"

namespace outseal::tools {

Url database_url(const Settings& settings) {
  Url url = Url::parse("--db", settings.text(Option::db));
  if (url.scheme != "sqlite")
    throw Error{ErrorCode::invalid_argument,
                "--db",
                "unknown database scheme '" + url.scheme + "'",
                {.hint = "write sqlite:PATH"}};
  return url;
}

std::unique_ptr<sql::Connection> open_database(const Settings& settings) {
  std::unique_ptr<sql::Connection> connection = sql::open(database_url(settings));
  store::require_schema(*connection);
  return connection;
}

}  // namespace outseal::tools
