// The inbox in a PostgreSQL database of another server, which crashes and restarts.
#include <libpq-fe.h>
#include <signal.h>

#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <string>

#include "support/paths.h"
#include "support/postgres_server.h"
#include "torture/sink_stage.h"

namespace outseal::test {
namespace {

constexpr const char* kDatabase = "receiver";

class PostgresInbox final : public SinkServer {
 public:
  PostgresInbox() {
    server_.create_database(kDatabase);
    Process process{
        {program_path("outseal-migrate"), "up", "--db", server_.url(kDatabase)}, {}, "/dev/null"};
    if (process.wait() != Exit{}) throw std::runtime_error{"the inbox cannot be made"};
  }

  SinkTraits traits() const override {
    return {.name = "inbox on postgresql", .has_server = true, .mutant = "no_inbox_condition"};
  }

  std::string url() const override {
    return "postgresql://admin:" + server_.password() +
           "@127.0.0.1:" + std::to_string(proxy_.port()) + "/" + kDatabase +
           "?sslmode=disable&gssencmode=disable&event_bytes_max=" +
           std::to_string(event_bytes_max_);
  }
  FaultProxy* proxy() override { return &proxy_; }

  /// In turns all of its processes at once, and only what a client is connected to.
  void kill() override {
    thaw();  // A process that is stopped cannot obey SIGQUIT.
    if (++kills_ % 2 == 0)
      server_.kill_hard();
    else
      server_.stop_immediate();
  }
  void start() override { server_.start(); }
  void freeze() override { send_to_all(SIGSTOP); }
  void thaw() override { send_to_all(SIGCONT); }

  std::vector<StoredEvent> stored() override {
    PGconn* const connection = PQconnectdb(server_.conninfo(kDatabase).c_str());
    PGresult* const rows = PQexec(
        connection, "SELECT position, event_id, key FROM outseal.inbox_event ORDER BY position");
    const bool works = PQresultStatus(rows) == PGRES_TUPLES_OK;
    std::vector<StoredEvent> events;
    for (int row = 0; works && row < PQntuples(rows); ++row)
      events.push_back({Position{std::strtoull(PQgetvalue(rows, row, 0), nullptr, 10)},
                        EventId::parse(PQgetvalue(rows, row, 1)).value_or(EventId{}),
                        PQgetvalue(rows, row, 2)});
    PQclear(rows);
    PQfinish(connection);
    if (!works) throw std::runtime_error{"the inbox cannot be read"};
    return events;
  }

  /// As a failover to a standby that lagged behind would.
  void lose_tail(std::size_t count) override {
    const std::string before =
        "(SELECT position - " + std::to_string(count) + " FROM outseal.inbox_tail)";
    execute("DELETE FROM outseal.inbox_event WHERE position > " + before +
            "; UPDATE outseal.inbox_tail SET position = position - " + std::to_string(count) +
            ", last_event_id = (SELECT event_id FROM outseal.inbox_event"
            " ORDER BY position DESC LIMIT 1)");
  }

  void recreate() override { execute("TRUNCATE outseal.inbox_event, outseal.inbox_tail"); }

  void lift_limit() override { event_bytes_max_ = 1U << 20U; }

 private:
  void execute(const std::string& sql) const { server_.execute(sql, kDatabase); }

  void send_to_all(int signal) const {
    std::ifstream file{server_.folder() / "data" / "postmaster.pid"};
    pid_t parent = 0;
    if (!(file >> parent)) return;
    // The parent first, so that it starts nothing more.
    ::kill(parent, signal);
    const std::string id = std::to_string(parent);
    std::ifstream children{"/proc/" + id + "/task/" + id + "/children"};
    for (pid_t child = 0; children >> child;) ::kill(child, signal);
  }

  PostgresServer server_;
  FaultProxy proxy_{server_.port()};
  std::size_t event_bytes_max_ = kSinkEventBytesMax;
  int kills_ = 0;
};

}  // namespace

bool skipped_without_sink_server() { return skipped_without_postgres(); }

std::unique_ptr<SinkServer> make_sink_server() { return std::make_unique<PostgresInbox>(); }

}  // namespace outseal::test
