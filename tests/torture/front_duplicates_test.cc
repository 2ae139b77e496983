// Clients that send one request many times at once, to two servers in front of one database, while
// the one that executes it is killed: one execution, and the same answer to all.
#include <doctest/doctest.h>
#include <httplib.h>
#include <soci/postgresql/soci-postgresql.h>
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>

#include <array>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "outseal/testing.h"
#include "support/postgres_server.h"
#include "support/program.h"
#include "support/scale.h"
#include "support/temp_folder.h"
#include "torture/process.h"

namespace outseal::test {
namespace {

constexpr int kClients = 64;

/// A database, and two servers in front of it.
class Site {
 public:
  explicit Site(bool on_postgres)
      : postgres_{on_postgres ? shared_server().fresh_database() : ""},
        connection_{on_postgres ? shared_server().conninfo(postgres_) : folder_.file("shop.db")} {
    const auto session = open();
    migrate(*session);
    *session << "CREATE TABLE account (id integer PRIMARY KEY, balance integer NOT NULL)";
    *session << "INSERT INTO account VALUES (1, 0)";
    for (int i = 0; i < 2; ++i) start(i, {});
  }
  ~Site() {
    for (auto& server : servers_) server.reset();
    if (!postgres_.empty()) shared_server().drop_database(postgres_);
  }
  Site(const Site&) = delete;
  Site& operator=(const Site&) = delete;

  std::unique_ptr<soci::session> open() const {
    return postgres_.empty() ? std::make_unique<soci::session>(soci::sqlite3, connection_)
                             : std::make_unique<soci::session>(soci::postgresql, connection_);
  }
  long number(const std::string& sql) const {
    long value = 0;
    *open() << sql, soci::into(value);
    return value;
  }
  long charges() const { return -number("SELECT balance FROM account") / 5; }
  long events() const {
    return number("SELECT count(*) FROM outseal" + std::string{postgres_.empty() ? "_" : "."} +
                  "outbox");
  }

  /// Starts server `i`, in place of the one that was there.
  void start(int i, const std::map<std::string, std::string>& environment) {
    servers_.at(i).reset();
    ports_.at(i) = free_port();
    servers_.at(i) = std::make_unique<Process>(
        std::vector<std::string>{OUTSEAL_FRONT_SERVER, postgres_.empty() ? "sqlite3" : "postgresql",
                                 connection_, std::to_string(ports_.at(i))},
        environment, folder_.file("server.log"));
    wait_until("the server", [&] {
      httplib::Client client{"127.0.0.1", ports_.at(i)};
      return static_cast<bool>(client.Get("/"));
    });
  }
  bool has_died(int i) { return servers_.at(i)->poll().has_value(); }
  int port(int i) const { return ports_.at(i); }
  std::string log() const { return end_of_log(folder_.file("server.log")); }

 private:
  TempFolder folder_;
  std::string postgres_;
  std::string connection_;
  std::array<std::unique_ptr<Process>, 2> servers_;
  std::array<int, 2> ports_{};
};

/// The answers of all clients to one request, and how many of them were no repetition.
struct Answers {
  std::set<std::string> texts;
  int firsts = 0;
};

/// Asks until there is an answer that is one, beginning with the server `turn`.
httplib::Response ask(const Site& site, const std::string& key, const std::string& body, int i,
                      int turn) {
  for (;; ++turn) {
    httplib::Client client{"127.0.0.1", site.port(turn % 2)};
    client.set_read_timeout(60, 0);
    httplib::Headers headers{{"Idempotency-Key", '"' + key + '"'}};
    if (i % 3 != 0) headers.emplace("Prefer", "wait=20");
    const auto result = client.Post("/charges", headers, body, "text/plain");
    if (result && result->status != 409 && result->status != 503) return *result;
    std::this_thread::yield();  // The server is dead, or somebody else is at it.
  }
}

Answers ask_all(const Site& site, const std::string& key, const std::string& body, bool one_first) {
  Answers answers;
  std::mutex mutex;
  std::vector<std::jthread> clients;
  for (int i = 0; i < kClients; ++i)
    clients.emplace_back([&, i] {
      const httplib::Response response = ask(site, key, body, i, one_first ? 0 : i);
      const std::lock_guard lock{mutex};
      answers.texts.insert(std::to_string(response.status) + ' ' + response.body + ' ' +
                           response.get_header_value("X-Number"));
      if (!response.has_header("Idempotent-Replayed")) ++answers.firsts;
    });
  clients.clear();
  return answers;
}

/// One request of 64 clients, and what must be true after it. `killed`: the first server will die
/// when it executes it, so all ask that one first; only when it is at it or dead they ask the
/// other.
void check_once(Site& site, const std::string& key, bool declined, bool killed) {
  CAPTURE(key);
  const long charged = site.charges();
  const long appended = site.events();
  const Answers answers = ask_all(site, key, declined ? "declined" : "ok", killed);
  CHECK_MESSAGE(answers.texts.size() == 1, site.log());
  CHECK(answers.texts.begin()->starts_with(declined ? "402 " : "201 "));
  // Who executed it may have died before it could answer.
  CHECK(answers.firsts <= 1);
  if (!killed) CHECK(answers.firsts == 1);
  CHECK(site.charges() - charged == (declined ? 0 : 1));
  CHECK(site.events() - appended == (declined ? 0 : 1));
}

void check_site(bool on_postgres) {
  Site site{on_postgres};
  const auto keys = static_cast<int>(scaled(10, 500));
  for (int i = 0; i < keys; ++i)
    for (const bool declined : {false, true})
      check_once(site, std::to_string(i) + (declined ? "-declined" : "-ok"), declined, false);
  for (const char* point :
       {"service.before_handler", "service.after_handler", "service.after_record",
        "service.before_commit", "service.after_commit"})
    for (const bool declined : {false, true}) {
      CAPTURE(point);
      site.start(0, {{"OUTSEAL_FAILPOINT", point}});
      check_once(site, point + std::string{declined ? "-d" : ""}, declined, true);
      CHECK(site.has_died(0));
    }
}

}  // namespace

TEST_CASE("64 duplicates at two servers are one execution with one answer (SQLite)") {
  check_site(false);
}

TEST_CASE("64 duplicates at two servers are one execution with one answer (PostgreSQL)") {
  if (skipped_without_postgres()) return;
  check_site(true);
}

}  // namespace outseal::test
