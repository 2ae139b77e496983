#include "outseal/error.h"
#include "sql/connection.h"
#include "sql/postgres/connection.h"
#include "sql/sqlite/connection.h"
#include "sql/typed.h"

namespace outseal::sql {
namespace {

[[noreturn]] void refuse_array() {
  throw Error{ErrorCode::internal, "bind", "this database has no arrays"};
}

}  // namespace

void Statement::bind_texts(int, std::span<const std::string_view>) { refuse_array(); }
void Statement::bind_blobs(int, std::span<const std::string_view>) { refuse_array(); }
void Statement::bind_ids(int, std::span<const EventId>) { refuse_array(); }
void Statement::bind_times(int, std::span<const std::int64_t>) { refuse_array(); }

EventId Statement::event_id(int column) const {
  return EventId::parse(text(column)).value_or(EventId{});
}

std::optional<std::uint64_t> Connection::payload_bytes(std::int64_t /*seq*/) { return {}; }

std::int64_t Statement::row_count() const {
  throw Error{ErrorCode::internal, "step", "this database gives rows one by one"};
}

void Statement::go_to(std::int64_t) {
  throw Error{ErrorCode::internal, "step", "this database gives rows one by one"};
}

void refuse_empty(const Text& text) {
  throw Error{ErrorCode::internal, "step", std::string{text.name} + " gave no row"};
}

void check_url(const Url& url) {
  if (url.scheme == "sqlite") return url.refuse_parameters_except("");
  if (url.scheme == "postgresql" || url.scheme == "postgres") return postgres::check_url(url);
  throw Error{ErrorCode::invalid_argument,
              "open",
              "database URL has the unknown scheme '" + url.scheme + "'",
              {.hint = "use postgresql://USER@HOST/DATABASE or sqlite:PATH"}};
}

std::unique_ptr<Connection> open_scratch() { return sqlite::open_scratch(); }

std::unique_ptr<Connection> open(const Url& url, OpenMode mode) {
  check_url(url);
  return url.scheme == "sqlite" ? sqlite::open(url.rest, mode) : postgres::open(url);
}

}  // namespace outseal::sql
