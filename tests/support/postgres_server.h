// Real PostgreSQL servers for tests: each in a temporary folder, on 127.0.0.1 and a free port.
//
// They are of the newest version installed on the machine, or of the one whose programs are in the
// folder that the environment variable OUTSEAL_POSTGRES names (support/on_postgres.sh).
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "support/program.h"
#include "support/temp_folder.h"

namespace outseal::test {

/// Are there programs of a PostgreSQL server on this machine?
bool postgres_is_installed();

/// True, and says so loudly, if a test has to be left out because PostgreSQL is not installed:
/// `if (skipped_without_postgres()) return;`
bool skipped_without_postgres();

struct PostgresOptions {
  /// False: nothing is ever synced to the disk. Commits survive any end of the server, not one of
  /// the machine. True: PostgreSQL's own defaults, for figures that mean something.
  bool durable = false;
  /// Lines for postgresql.conf, for example "max_connections=5". They win over ours.
  std::vector<std::string> settings = {};
};

/// A cluster of its own, initialised and started by the constructor, gone with the destructor. If
/// the test process is killed, the server stops by itself; its folder stays.
///
/// Its superuser is `admin` with a random password, which is asked for (SCRAM). What influences
/// plans is as in a fresh installation. Every server has a system identifier of its own.
///
/// Everything throws std::runtime_error, with the end of the server's log if it can help.
/// Threads: Not thread-safe; one thread at a time. Const members that only name things (url(),
/// port(), ...) may be called from any thread.
class PostgresServer {
 public:
  explicit PostgresServer(PostgresOptions options = {});
  ~PostgresServer();
  PostgresServer(const PostgresServer&) = delete;
  PostgresServer& operator=(const PostgresServer&) = delete;

  /// The port stays the same for the life of the object.
  void start();
  /// SIGINT: ends every session and shuts down in order.
  void stop_fast();
  /// SIGQUIT: what `pg_ctl stop -m immediate` does. The next start recovers from the log.
  void stop_immediate();
  /// SIGKILL to all of its processes at once. The next start recovers from the log.
  void kill_hard();
  /// stop_fast() and start().
  void restart();
  bool is_running();

  int port() const { return port_; }
  /// Of `admin`. Roles that a test creates may take it too, url() then serves them as well.
  const std::string& password() const { return password_; }
  const std::filesystem::path& folder() const { return folder_->path(); }
  std::string log() const { return folder_->file("server.log"); }

  /// postgresql://USER:PASSWORD@127.0.0.1:PORT/DATABASE
  std::string url(const std::string& database = "postgres",
                  const std::string& user = "admin") const;
  std::string url(const std::string& database, const std::string& user,
                  const std::string& password) const;
  /// The same as keywords and values, as SOCI wants it.
  std::string conninfo(const std::string& database = "postgres",
                       const std::string& user = "admin") const;

  /// Creates an empty database of that name.
  void create_database(const std::string& name);
  /// Creates an empty database with a name that this server has not had yet.
  /// @returns the name.
  std::string fresh_database();
  /// Disconnects whoever uses it and drops it, if it exists.
  void drop_database(const std::string& name);

  /// Runs one or several statements as admin, for set-up.
  /// @returns the first field of the last result; empty if there is none or it is NULL.
  std::string execute(const std::string& sql, const std::string& database = "postgres") const;

  /// A running hot standby of this server, with a password, roles and settings like its own. It has
  /// connected to the primary when this returns.
  std::unique_ptr<PostgresServer> make_standby();
  /// Of a standby: waits until it has replayed all that `primary` has committed so far.
  void wait_for_replay(const PostgresServer& primary) const;
  /// Of a standby: takes nothing more from its primary, so that it lags behind from here on. (To
  /// pause the replay would not do: a promotion replays first whatever has been received.)
  void stop_following() const;
  /// Of a standby: makes it a primary on a new timeline.
  void promote() const;

  /// pg_dump of a database as plain SQL, to `file`.
  void dump_to(const std::string& file, const std::string& database) const;
  /// Runs such a dump in a database, which should be empty.
  void restore_from(const std::string& file, const std::string& database) const;

 private:
  PostgresServer(PostgresOptions options, std::string password);

  std::string data() const { return folder_->file("data"); }
  Launch client(const std::string& name, const std::vector<std::string>& arguments) const;
  void initialise() const;
  void stop(int signal);

  std::unique_ptr<TempFolder> folder_;
  PostgresOptions options_;
  std::string password_;
  int port_ = 0;
  int databases_ = 0;
  std::unique_ptr<Program> program_;
};

/// The server that the test cases of a process share, each with a database of its own. It starts at
/// the first call and ends with the process.
PostgresServer& shared_server();

}  // namespace outseal::test
