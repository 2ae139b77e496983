#include "support/postgres_server.h"

#include <libpq-fe.h>
#include <signal.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <optional>
#include <random>
#include <sstream>
#include <stdexcept>
#include <utility>

namespace outseal::test {
namespace {

namespace fs = std::filesystem;

/// Debian keeps one folder per version: the newest.
std::optional<fs::path> debian_folder() {
  std::optional<fs::path> found;
  int newest = 0;
  std::error_code absent;
  for (const auto& entry : fs::directory_iterator{"/usr/lib/postgresql", absent}) {
    const int version = std::atoi(entry.path().filename().c_str());
    if (version <= newest || !fs::exists(entry.path() / "bin/initdb")) continue;
    newest = version;
    found = entry.path() / "bin";
  }
  return found;
}

std::optional<fs::path> configured_folder() {
  FILE* const pipe = ::popen("pg_config --bindir 2>/dev/null", "r");
  if (pipe == nullptr) return std::nullopt;
  std::array<char, 4096> line{};
  const bool answered = std::fgets(line.data(), line.size(), pipe) != nullptr;
  ::pclose(pipe);
  if (!answered) return std::nullopt;
  std::string folder = line.data();
  while (folder.ends_with('\n')) folder.pop_back();
  if (!fs::exists(fs::path{folder} / "initdb")) return std::nullopt;
  return folder;
}

std::optional<fs::path> folder_on_path() {
  const char* const path = std::getenv("PATH");
  std::istringstream folders{path != nullptr ? path : ""};
  for (std::string folder; std::getline(folders, folder, ':');)
    if (fs::exists(fs::path{folder} / "initdb")) return folder;
  return std::nullopt;
}

/// initdb and postgres of another version, perhaps without the client programs.
std::optional<fs::path> wished_folder() {
  const char* const folder = std::getenv("OUTSEAL_POSTGRES");
  if (folder == nullptr) return std::nullopt;
  if (!fs::exists(fs::path{folder} / "initdb"))
    throw std::runtime_error{"OUTSEAL_POSTGRES: there is no initdb in " + std::string{folder}};
  return folder;
}

std::optional<fs::path> installed_folder() {
  static const std::optional<fs::path> folder = [] {
    auto found = debian_folder();
    if (!found) found = configured_folder();
    if (!found) found = folder_on_path();
    return found;
  }();
  return folder;
}

std::string program(const std::string& name) {
  const auto wished = wished_folder();
  const auto found = wished && fs::exists(*wished / name) ? wished : installed_folder();
  if (!found) throw std::runtime_error{"PostgreSQL is not installed (apt install postgresql)"};
  return (*found / name).string();
}

std::string random_password() {
  std::random_device random;
  std::ostringstream text;
  for (int i = 0; i < 4; ++i) text << std::hex << random();
  return text.str();
}

/// The System V segment that PostgreSQL keeps to notice processes of an earlier run.
std::optional<int> shared_memory_of(const std::string& data) {
  std::ifstream file{data + "/postmaster.pid"};
  std::string line;
  for (int number = 1; number <= 7; ++number)
    if (!std::getline(file, line)) return std::nullopt;
  std::istringstream fields{line};
  unsigned long key = 0;
  int id = 0;
  if (!(fields >> key >> id)) return std::nullopt;
  return id;
}

/// Of a process that is frozen.
std::vector<pid_t> children_of(pid_t parent) {
  const std::string id = std::to_string(parent);
  std::ifstream file{"/proc/" + id + "/task/" + id + "/children"};
  std::vector<pid_t> children;
  for (pid_t child = 0; file >> child;) children.push_back(child);
  return children;
}

}  // namespace

bool postgres_is_installed() { return wished_folder() || installed_folder(); }

bool skipped_without_postgres() {
  if (postgres_is_installed()) return false;
  std::cout << "SKIPPED: PostgreSQL is not installed (apt install postgresql)" << std::endl;
  return true;
}

PostgresServer::PostgresServer(PostgresOptions options, std::string password)
    : folder_{make_server_folder()}, options_{std::move(options)}, password_{std::move(password)} {}

PostgresServer::PostgresServer(PostgresOptions options)
    : PostgresServer{std::move(options), random_password()} {
  initialise();
  start();
}

PostgresServer::~PostgresServer() {
  if (!is_running()) return;
  program_->send(SIGQUIT);
  program_->send(SIGCONT);  // A test may have stopped it.
  if (!program_->wait_for_end()) kill_hard();
}

Launch PostgresServer::client(const std::string& name,
                              const std::vector<std::string>& arguments) const {
  Launch launch{.arguments = {program(name)},
                .environment = {{"PGHOST", "127.0.0.1"},
                                {"PGPORT", std::to_string(port_)},
                                {"PGUSER", "admin"},
                                {"PGPASSWORD", password_}},
                .folder = fs::current_path().string(),
                .log = folder_->file("tools.log")};
  launch.arguments.insert(launch.arguments.end(), arguments.begin(), arguments.end());
  return launch;
}

void PostgresServer::initialise() const {
  const std::string password_file = folder_->file("password");
  std::ofstream{password_file} << password_ << '\n';
  give_to_server(password_file);
  fs::permissions(password_file, fs::perms::owner_read);
  // One collation and encoding for all machines, one that Debian has without further packages.
  run({.arguments = {program("initdb"), "--pgdata", data(), "--username", "admin", "--pwfile",
                     password_file, "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale",
                     "C.UTF-8", "--no-sync"},
       .folder = folder().string(),
       .log = folder_->file("tools.log"),
       .unprivileged = true});
  fs::remove(password_file);

  std::ofstream file{data() + "/postgresql.conf", std::ios::app};
  file << "listen_addresses = '127.0.0.1'\n"
          "unix_socket_directories = ''\n"
          "max_connections = 50\n"
          "max_prepared_transactions = 20\n"
          "shared_buffers = 32MB\n"
          "dynamic_shared_memory_type = mmap\n";  // In files that go with the folder.
  if (!options_.durable) file << "fsync = off\nfull_page_writes = off\n";
  for (const std::string& setting : options_.settings) file << setting << '\n';
}

void PostgresServer::start() {
  if (is_running()) throw std::runtime_error{"the server runs already"};
  const auto launch_on = [&](int port) {
    return Launch{.arguments = {program("postgres"), "-D", data(), "-p", std::to_string(port)},
                  .folder = folder().string(),
                  .log = log(),
                  .unprivileged = true};
  };
  const auto is_ready = [](int port) {
    const std::string server =
        "host=127.0.0.1 user=admin dbname=postgres port=" + std::to_string(port);
    return PQping(server.c_str()) == PQPING_OK;
  };
  Served served = serve(port_, launch_on, is_ready);
  port_ = served.port;
  program_ = std::move(served.program);
}

void PostgresServer::stop(int signal) {
  if (!is_running()) throw std::runtime_error{"the server does not run"};
  program_->send(signal);
  if (!program_->wait_for_end())
    throw std::runtime_error{"the server does not stop:\n" + end_of_log(log())};
}

void PostgresServer::stop_fast() { stop(SIGINT); }

void PostgresServer::stop_immediate() { stop(SIGQUIT); }

void PostgresServer::kill_hard() {
  if (!is_running()) return;
  program_->freeze();  // So that it can start no more children.
  const auto memory = shared_memory_of(data());
  for (const pid_t child : children_of(program_->pid())) ::kill(child, SIGKILL);
  program_->send(SIGKILL);
  program_->wait();
  if (!memory) return;
  // All of them are attached to the segment: when nobody is, nobody is left.
  shmid_ds state{};
  while (::shmctl(*memory, IPC_STAT, &state) == 0 && state.shm_nattch > 0) ::usleep(1000);
  ::shmctl(*memory, IPC_RMID, nullptr);
}

void PostgresServer::restart() {
  stop_fast();
  start();
}

bool PostgresServer::is_running() { return program_ && program_->is_running(); }

std::string PostgresServer::url(const std::string& database, const std::string& user) const {
  return url(database, user, password_);
}

std::string PostgresServer::url(const std::string& database, const std::string& user,
                                const std::string& password) const {
  return "postgresql://" + user + ":" + password + "@127.0.0.1:" + std::to_string(port_) + "/" +
         database;
}

std::string PostgresServer::conninfo(const std::string& database, const std::string& user) const {
  return "host=127.0.0.1 port=" + std::to_string(port_) + " dbname=" + database + " user=" + user +
         " password=" + password_;
}

void PostgresServer::create_database(const std::string& name) {
  execute("CREATE DATABASE \"" + name + "\"");
}

std::string PostgresServer::fresh_database() {
  std::string name = "test_" + std::to_string(++databases_);
  create_database(name);
  return name;
}

void PostgresServer::drop_database(const std::string& name) {
  execute("DROP DATABASE IF EXISTS \"" + name + "\" WITH (FORCE)");
}

std::string PostgresServer::execute(const std::string& sql, const std::string& database) const {
  const std::unique_ptr<PGconn, decltype(&PQfinish)> connection{
      PQconnectdb(conninfo(database).c_str()), &PQfinish};
  PQsetNoticeProcessor(
      connection.get(), [](void*, const char*) {}, nullptr);
  if (PQstatus(connection.get()) != CONNECTION_OK)
    throw std::runtime_error{PQerrorMessage(connection.get())};
  const std::unique_ptr<PGresult, decltype(&PQclear)> result{PQexec(connection.get(), sql.c_str()),
                                                             &PQclear};
  const auto status = PQresultStatus(result.get());
  if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
    throw std::runtime_error{PQerrorMessage(connection.get()) + ("in: " + sql)};
  if (PQntuples(result.get()) == 0) return {};
  return PQgetvalue(result.get(), 0, 0);
}

std::unique_ptr<PostgresServer> PostgresServer::make_standby() {
  std::unique_ptr<PostgresServer> standby{new PostgresServer{options_, password_}};
  Launch backup =
      client("pg_basebackup", {"--pgdata", standby->data(), "--write-recovery-conf", "--wal-method",
                               "stream", "--checkpoint", "fast", "--no-sync", "--no-password"});
  backup.folder = standby->folder().string();
  backup.log = standby->folder_->file("tools.log");
  backup.unprivileged = true;
  run(backup);
  standby->start();
  wait_until("the standby to follow", [&] {
    return standby->execute("SELECT status FROM pg_stat_wal_receiver") == "streaming";
  });
  return standby;
}

void PostgresServer::wait_for_replay(const PostgresServer& primary) const {
  const std::string written = primary.execute("SELECT pg_current_wal_lsn()");
  wait_until("the standby to replay", [&] {
    return execute("SELECT pg_last_wal_replay_lsn() >= '" + written + "'") == "t";
  });
}

void PostgresServer::stop_following() const {
  execute("ALTER SYSTEM SET primary_conninfo = ''");
  execute("SELECT pg_reload_conf()");
  wait_until("the standby to stop following",
             [&] { return execute("SELECT pid FROM pg_stat_wal_receiver").empty(); });
}

void PostgresServer::promote() const {
  if (execute("SELECT pg_promote()") != "t")
    throw std::runtime_error{"not promoted:\n" + end_of_log(log())};
}

void PostgresServer::dump_to(const std::string& file, const std::string& database) const {
  run(client("pg_dump", {"--no-password", "--format", "plain", "--file", file, database}));
}

void PostgresServer::restore_from(const std::string& file, const std::string& database) const {
  run(client("psql", {"--no-psqlrc", "--no-password", "--quiet", "--set", "ON_ERROR_STOP=1",
                      "--file", file, database}));
}

PostgresServer& shared_server() {
  static PostgresServer server;
  return server;
}

}  // namespace outseal::test
