#include "support/pgbouncer.h"

#include <libpq-fe.h>
#include <signal.h>

#include <filesystem>
#include <fstream>

namespace outseal::test {
namespace {

constexpr const char* kProgram = "/usr/sbin/pgbouncer";

}  // namespace

bool pgbouncer_is_installed() { return std::filesystem::exists(kProgram); }

PgBouncer::PgBouncer(const PostgresServer& server, int pool_size, int by_way_of)
    : server_{server}, pool_size_{pool_size}, folder_{make_server_folder()} {
  // Only admin's password is known here; those of other roles are looked up in the server.
  std::ofstream{folder_->file("users.txt")} << "\"admin\" \"" << server.password() << "\"\n";
  const auto launch_on = [&](int port) {
    write_settings(by_way_of == 0 ? server.port() : by_way_of, port);
    return Launch{.arguments = {kProgram, folder_->file("pgbouncer.ini")},
                  .folder = folder_->path().string(),
                  .log = log(),
                  .unprivileged = true};
  };
  const auto is_ready = [&](int port) {
    const std::string target =
        "host=127.0.0.1 user=admin dbname=postgres password=" + server.password() +
        " port=" + std::to_string(port);
    const std::unique_ptr<PGconn, decltype(&PQfinish)> connection{PQconnectdb(target.c_str()),
                                                                  &PQfinish};
    return PQstatus(connection.get()) == CONNECTION_OK;
  };
  served_ = serve(0, launch_on, is_ready);
}

void PgBouncer::write_settings(int server_port, int port) const {
  std::ofstream{folder_->file("pgbouncer.ini")}
      << "[databases]\n"
         "* = host=127.0.0.1 port="
      << server_port
      << " auth_user=admin\n"
         "[pgbouncer]\n"
         "listen_addr = 127.0.0.1\n"
         "listen_port = "
      << port
      << "\n"
         "unix_socket_dir =\n"
         "auth_type = scram-sha-256\n"
         "auth_file = "
      << folder_->file("users.txt")
      << "\n"
         "pool_mode = transaction\n"
         "max_client_conn = 200\n"
         "default_pool_size = "
      << pool_size_
      << "\n"
         "server_tls_sslmode = disable\n"  // A WireProxy knows none.
         "server_login_retry = 1\n";       // 15 s are long for a restart.
}

void PgBouncer::lead_to(const PostgresServer& server) {
  write_settings(server.port(), port());
  served_.program->send(SIGHUP);
}

std::string PgBouncer::url(const std::string& database, const std::string& user) const {
  return "postgresql://" + user + ":" + server_.password() +
         "@127.0.0.1:" + std::to_string(port()) + "/" + database;
}

}  // namespace outseal::test
