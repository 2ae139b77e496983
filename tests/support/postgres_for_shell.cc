// Runs a command beside a PostgreSQL server of its own:
//
//   with_postgres COMMAND ARGUMENT...
//
// The server has an empty database `shop`. OUTSEAL_TEST_PG is its URL, and PGHOST, PGPORT, PGUSER,
// PGPASSWORD and PGDATABASE name it to PostgreSQL's programs. The exit code is the command's, or
// 128 + the signal that killed it.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <string>

#include "support/postgres_server.h"

namespace {

volatile sig_atomic_t command_pid = 0;

extern "C" void pass_on(int signal) {
  if (command_pid > 0) ::kill(command_pid, signal);
}

int run_command(char** arguments) {
  // The server is stopped in order: we end when the command does.
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::signal(signal, pass_on);
  const pid_t child = ::fork();
  if (child == 0) {
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::signal(signal, SIG_DFL);
    ::execvp(arguments[0], arguments);
    ::_exit(127);
  }
  command_pid = child;
  int status = 0;
  while (::waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return 70;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: with_postgres COMMAND ARGUMENT...\n";
    return 2;
  }
  if (outseal::test::skipped_without_postgres()) return 0;
  try {
    outseal::test::PostgresServer server;
    server.create_database("shop");
    ::setenv("OUTSEAL_TEST_PG", server.url("shop").c_str(), 1);
    ::setenv("PGHOST", "127.0.0.1", 1);
    ::setenv("PGPORT", std::to_string(server.port()).c_str(), 1);
    ::setenv("PGUSER", "admin", 1);
    ::setenv("PGPASSWORD", server.password().c_str(), 1);
    ::setenv("PGDATABASE", "shop", 1);
    return run_command(argv + 1);
  } catch (const std::exception& fault) {
    std::cerr << "with_postgres: " << fault.what() << '\n';
    return 70;
  }
}
