// Events that kill whoever handles them, in real processes: the stream goes on without them.
#include <doctest/doctest.h>
#include <signal.h>
#include <soci/postgresql/soci-postgresql.h>
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/url.h"
#include "outseal/outseal.h"
#include "support/paths.h"
#include "support/postgres_server.h"
#include "support/temp_folder.h"
#include "torture/process.h"

namespace outseal::test {
namespace {

constexpr const char* kStream = "/outseal/main#main";
constexpr int kDuplicate = 10;
constexpr int kParked = 11;

EventId id_of(int number) {
  const std::string digits = std::to_string(number);
  return EventId::parse("00000000-0000-7000-8000-" + std::string(12 - digits.size(), '0') + digits)
      .value();
}

/// A receiving service's database.
class Site {
 public:
  explicit Site(bool sqlite) : sqlite_{sqlite} {
    if (!sqlite) database_ = shared_server().fresh_database();
    const std::string url =
        sqlite ? "sqlite:" + folder_.file("receiver.db") : shared_server().url(database_);
    connection_ =
        sqlite ? "dbname=" + folder_.file("receiver.db") : shared_server().conninfo(database_);
    REQUIRE(run({program_path("outseal-migrate"), "up", "--db", url}) == Exit{});
    if (sqlite)
      session_.open(soci::sqlite3, connection_);
    else
      session_.open(soci::postgresql, connection_);
    ask("CREATE TABLE applied (event_id text)");
  }

  /// Their keys are k0, k1 and k2 in turn.
  void fill(int first, int last) {
    const std::string table = sqlite_ ? "outseal_inbox_event" : "outseal.inbox_event";
    const std::string time = sqlite_ ? "1" : "to_timestamp(1)";
    for (int n = first; n <= last; ++n)
      ask("INSERT INTO " + table +
          " (stream, position, event_id, topic, key, type, content_type, headers, created_at,"
          " received_at, payload) VALUES ('" +
          kStream + "', " + std::to_string(n) + ", '" + id_of(n).to_string() + "', 't', 'k" +
          std::to_string(n % 3) + "', 'x', 'text/plain', '{}', " + time + ", " + time + ", 'x')");
  }
  void ask(const std::string& sql) { session_ << sql; }
  void park_everything() {
    ask(std::string{"UPDATE "} + (sqlite_ ? "outseal_inbox_attempt" : "outseal.inbox_attempt") +
        " SET state = 'parked', attempt_id = " + (sqlite_ ? "''" : "NULL"));
  }
  int number(const std::string& sql) {
    int value = 0;
    session_ << sql, soci::into(value);
    return value;
  }
  std::vector<ParkedEvent> parked() { return list_parked(session_, kStream); }

  std::unique_ptr<Process> start(const std::vector<std::string>& words,
                                 const std::map<std::string, std::string>& environment = {}) {
    std::vector<std::string> all{OUTSEAL_CONSUMER, sqlite_ ? "sqlite3" : "postgresql", connection_,
                                 kStream};
    all.insert(all.end(), words.begin(), words.end());
    return std::make_unique<Process>(all, environment, folder_.file("log"));
  }
  Exit consume(const std::vector<std::string>& words) { return start(words)->wait(); }

 private:
  Exit run(const std::vector<std::string>& words) {
    return Process{words, {}, folder_.file("log")}.wait();
  }

  const bool sqlite_;
  TempFolder folder_;
  std::string database_;
  std::string connection_;
  soci::session session_;
};

std::vector<std::unique_ptr<Site>> make_sites() {
  std::vector<std::unique_ptr<Site>> sites;
  sites.push_back(std::make_unique<Site>(true));
  if (!skipped_without_postgres()) sites.push_back(std::make_unique<Site>(false));
  return sites;
}

}  // namespace

TEST_CASE("an event that kills the loop is set aside, and the stream goes on") {
  for (const auto& site : make_sites()) {
    site->fill(1, 20);
    const std::string killer = id_of(8).to_string();
    int kills = 0;
    for (; kills < 50; ++kills) {
      const Exit end = site->consume({"loop", killer});
      if (end == Exit{}) break;
      REQUIRE(end.signal == SIGKILL);
    }
    CHECK(kills == 6);  // In its batch, and five times alone.
    // Behind 8: 11, 14, 17 and 20.
    CHECK(site->number("SELECT count(*) FROM applied") == 15);
    CHECK(site->number("SELECT count(DISTINCT event_id) FROM applied") == 15);
    const auto parked = site->parked();
    REQUIRE(parked.size() == 5);
    CHECK(parked[0].id == id_of(8));
    CHECK(parked[0].attempts == 5);
    CHECK_FALSE(parked[0].behind);
    CHECK(parked[4].behind);
  }
}

TEST_CASE("the loop may die at any failpoint, and every event takes effect once") {
  for (const auto& site : make_sites()) {
    int events = 0;
    int deaths = 0;
    for (const char* const failpoint :
         {"consume.begun", "consume.before_handler", "consume.after_handler",
          "consume.before_commit", "service.before_commit", "service.after_commit"}) {
      CAPTURE(failpoint);
      for (int hit = 1; hit <= 3; ++hit) {
        site->fill(events + 1, events + 6);
        events += 6;
        const Exit end =
            site->start({"loop", ""},
                        {{"OUTSEAL_FAILPOINT", failpoint + (":" + std::to_string(hit))}})
                ->wait();
        CHECK((end.signal == SIGKILL || end == Exit{}));
        deaths += end.signal == SIGKILL ? 1 : 0;
        CHECK(site->consume({"loop", ""}) == Exit{});
        CHECK(site->number("SELECT count(*) FROM applied") == events);
        CHECK(site->number("SELECT count(DISTINCT event_id) FROM applied") == events);
      }
    }
    CHECK(deaths >= 6);
    CHECK(site->parked().empty());
  }
}

TEST_CASE("a message that kills its receiver is set aside when it comes again") {
  for (const auto& site : make_sites()) {
    const std::string killer = id_of(1).to_string();
    for (int i = 0; i < 5; ++i) CHECK(site->consume({"message", killer, killer}).signal == SIGKILL);
    CHECK(site->consume({"message", killer, killer}) == Exit{.code = kParked});
    CHECK(site->consume({"message", "", killer}) == Exit{.code = kParked});
    CHECK(site->consume({"message", killer, id_of(2).to_string()}) == Exit{});
    CHECK(site->consume({"message", killer, id_of(2).to_string()}) == Exit{.code = kDuplicate});
    CHECK(site->number("SELECT count(*) FROM applied") == 1);
    CHECK(site->parked().size() == 1);
  }
}

namespace {

/// What becomes of a message whose worker sleeps between its attempt and its transaction, while
/// others set the message aside.
std::pair<Exit, int> overtaken(Site& site, const std::string& mutant) {
  const auto worker =
      site.start({"message", "", id_of(1).to_string()}, {{"OUTSEAL_FAILPOINT", "consume.begun"},
                                                         {"OUTSEAL_FAILPOINT_SIGNAL", "STOP"},
                                                         {"OUTSEAL_MUTANT", mutant}});
  REQUIRE(worker->wait_until_stopped());
  site.park_everything();
  worker->send(SIGCONT);
  const Exit end = worker->wait();
  return {end, site.number("SELECT count(*) FROM applied")};
}

}  // namespace

TEST_CASE("a worker that slept through the parking of its message does not handle it") {
  for (const auto& site : make_sites()) {
    const auto [end, effects] = overtaken(*site, "");
    CHECK(end == Exit{.code = kParked});
    CHECK(effects == 0);
  }
  for (const auto& site : make_sites()) CHECK(overtaken(*site, "no_attempt_check").second == 1);
}

}  // namespace outseal::test
