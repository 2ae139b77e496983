#include "database.h"

#include "outseal/error.h"
#include "store/migrations.h"

namespace outseal::tools {

Url database_url(const Settings& settings) {
  const std::string origin = settings.origin(Option::db);
  Url url = Url::parse(origin, settings.text(Option::db));
  if (url.scheme == "postgres") url.scheme = "postgresql";  // libpq knows both.
  if (url.scheme == "postgresql") return url;
  if (url.scheme != "sqlite")
    throw Error{ErrorCode::invalid_argument,
                origin,
                "unknown database scheme '" + url.scheme + "'",
                {.hint = "write postgresql://USER@HOST/DATABASE or sqlite:PATH"}};
  // SQLite would give each connection a database of its own and drop it with the connection.
  if (url.rest.empty() || url.rest == ":memory:")
    throw Error{ErrorCode::invalid_argument,
                origin,
                "sqlite:" + url.rest + " names no file: it would keep nothing",
                {.hint = "write sqlite:PATH, for example sqlite:/var/lib/shop/shop.db"}};
  return url;
}

std::unique_ptr<sql::Connection> open_database(const Settings& settings) {
  std::unique_ptr<sql::Connection> connection = sql::open(database_url(settings));
  store::require_schema(*connection);
  return connection;
}

std::string actor_of(const Settings& settings) {
  const std::string actor = settings.text(Option::actor);
  return actor.empty() ? store::current_actor() : actor;
}

store::Act act_of(const Settings& settings) {
  return {.actor = actor_of(settings), .reason = settings.text(Option::reason)};
}

}  // namespace outseal::tools
