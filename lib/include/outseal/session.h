// Session: the service's own connection to the database, whichever library it uses it by.
#pragma once

#include <functional>

struct pg_conn;  // libpq's PGconn.
struct sqlite3;

namespace soci {
class session;
}

namespace outseal {

/// A service's connection to PostgreSQL or SQLite. Its name need not be written: wherever a Session
/// is taken, each of the three kinds below is passed as it is.
///
/// ```
/// outseal::Transaction tx{handle};  // PGconn*, sqlite3* or soci::session&
/// ```
///
/// The service opens the connection, uses it and closes it. Other libraries fit if they tell which
/// handle they use: Qt by QSqlDriver::handle(), libpqxx by connection::seize_raw_connection().
///
/// Lifetime: the connection must outlive each Transaction and StatementCache on it. If the service
/// closes it while a Transaction lives, no freed memory is touched and nothing is committed; later
/// calls throw Error{unreachable}, or what they would throw after a COMMIT of the service's own:
///
/// - PGconn*: PQfinish() and PQreset() are noticed by an event procedure.
/// - sqlite3*: sqlite3_close() fails with SQLITE_BUSY and changes nothing, as it does while any
///   statement is left. sqlite3_close_v2() is noticed; SQLite rolls back and frees the handle when
///   the Transaction and all statements are destroyed. Nothing new may be made on it.
/// - soci::session: close() and reconnect() are noticed. The session object itself must live.
///
/// PostgreSQL: outseal's calls block even if the PGconn is in nonblocking mode. In pipeline mode,
/// in a COPY, or with results that were not fetched it is refused; a rollback drops such results
/// and leaves such a pipeline.
/// SQLite: the handle must come from the same copy of SQLite that outseal is linked with; some
/// builds of Qt bring another one.
///
/// Threads: one thread at a time may use the connection, outseal's calls included.
/// Source: PostgreSQL docs, "Event System"; sqlite.org, "Closing A Database Connection".
class Session {
 public:
  Session(pg_conn* connection) noexcept;
  Session(sqlite3* connection) noexcept;
  /// Defined by the library outseal::soci. SOCI's backends postgresql and sqlite3 are supported.
  Session(soci::session& session) noexcept;

  /// The implementation; opaque to users. At most one is set, none if there is no connection now.
  struct Handle {
    pg_conn* postgres = nullptr;
    sqlite3* sqlite = nullptr;
  };
  Handle handle() const noexcept { return handle_of_(connection_); }

 private:
  void* connection_;
  Handle (*handle_of_)(void* connection) noexcept;
};

/// Opens a connection of the service's and returns it. The service owns it, and may close the one
/// that it returned before:
///
/// ```
/// std::unique_ptr<soci::session> session;
/// const outseal::SessionOpener open = [&]() -> outseal::Session {
///   session = std::make_unique<soci::session>(soci::postgresql, "dbname=billing");
///   return *session;  // For PGconn* and sqlite3* as well: return the handle.
/// };
/// ```
using SessionOpener = std::function<Session()>;

}  // namespace outseal
