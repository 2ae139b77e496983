// Debian's PgBouncer in front of a PostgresServer, in transaction mode.
#pragma once

#include <memory>
#include <string>

#include "support/postgres_server.h"

namespace outseal::test {

/// Is the program pgbouncer on this machine?
bool pgbouncer_is_installed();

/// Serves all databases of `server` to all of its roles, with their own passwords. The server must
/// outlive it, but may be restarted meanwhile.
///
/// Threads: as PostgresServer.
class PgBouncer {
 public:
  /// @param pool_size server connections per database and role (default_pool_size).
  /// @param by_way_of the port of a WireProxy in front of the server; 0: the server's own.
  /// @throws std::runtime_error with the end of its log if it does not start.
  explicit PgBouncer(const PostgresServer& server, int pool_size = 20, int by_way_of = 0);

  /// From now on to another server, with the same password: as after a failover. Clients stay.
  void lead_to(const PostgresServer& server);

  int port() const { return served_.port; }
  std::string log() const { return folder_->file("pgbouncer.log"); }
  /// As PostgresServer::url().
  std::string url(const std::string& database = "postgres",
                  const std::string& user = "admin") const;

 private:
  void write_settings(int server_port, int port) const;

  const PostgresServer& server_;
  const int pool_size_;
  std::unique_ptr<TempFolder> folder_;
  Served served_;
};

}  // namespace outseal::test
