// Savepoints that a service sets by itself between its appends: what PostgreSQL keeps of the
// service's own rows is what it must keep of the events.
#include <cstdlib>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "integration/postgres/postgres_fixture.h"
#include "support/scale.h"

using namespace outseal;
using namespace outseal::test;

namespace {

/// A service that writes a row of its own with each event: so it is the server that says which
/// events have to be there, and in which order.
class Service {
 public:
  explicit Service(const PostgresDatabase& database)
      : session_{database.session()}, reader_{database.open()} {}

  /// Runs a transaction. Each word of `script` is a step: "+3" appends three events, "big" one of
  /// 600 KiB, "sNAME" sets a savepoint, "bNAME" goes back to it, "rNAME" releases it, "fNAME" fails
  /// and goes back. "commit" commits; without it the transaction is rolled back.
  void run(const std::string& script, bool joined = false) {
    CAPTURE(script);
    CAPTURE(joined);
    *session_ << "TRUNCATE note, outseal.outbox";
    if (joined) {
      soci::transaction own{*session_};
      Transaction tx = Transaction::join(*session_);
      steps(tx, script);
      if (script.ends_with("commit")) own.commit();
    } else {
      Transaction tx{*session_};
      steps(tx, script);
    }
    CHECK(read("SELECT string_agg(substr(payload, 1, 9), ' ' ORDER BY seq)"
               " FROM outseal.outbox") ==
          read("SELECT string_agg(n, ' ' ORDER BY id) FROM public.note"));
  }

 private:
  void steps(Transaction& tx, const std::string& script) {
    std::istringstream words{script};
    for (std::string word; words >> word;) {
      const std::string name = word.substr(1);
      if (word == "commit")
        tx.commit();
      else if (word == "big")
        append_events(tx, 1, 600U << 10U);
      else if (word[0] == '+')
        append_events(tx, std::stoul(name), 0);
      else if (word[0] == 's')
        *session_ << "SAVEPOINT " + name;
      else if (word[0] == 'r')
        *session_ << "RELEASE " + name;
      else if (word[0] == 'b')
        *session_ << "ROLLBACK TO " + name;
      else if (word[0] == 'f')
        fail_and_return_to(name);
    }
  }

  void fail_and_return_to(const std::string& name) {
    CHECK_THROWS(*session_ << "SELECT 1/0");
    *session_ << "ROLLBACK TO SAVEPOINT " + name;
  }

  void append_events(Transaction& tx, std::size_t count, std::size_t bytes) {
    std::vector<Event> events;
    const int first = number_ + 1;
    for (std::size_t i = 0; i < count; ++i) {
      std::string payload = std::to_string(++number_);
      payload.insert(0, 9 - payload.size(), '0');
      events.push_back(event(payload + std::string(bytes, '.')));
    }
    append(tx, events);
    *session_ << "INSERT INTO note (n) SELECT lpad(i::text, 9, '0') FROM generate_series(" +
                     std::to_string(first) + ", " + std::to_string(number_) + ") i";
  }

  std::string read(const std::string& sql) {
    const auto rows = reader_->prepare(sql);
    rows->step();
    return std::string{rows->text(0)};
  }

  std::unique_ptr<soci::session> session_;
  std::unique_ptr<sql::Connection> reader_;
  int number_ = 0;
};

/// A random script that the server does not refuse: it knows which savepoints there are.
std::string random_script(std::mt19937_64& random) {
  const auto below = [&](std::size_t end) { return static_cast<std::size_t>(random() % end); };
  std::vector<char> savepoints;
  std::string script;
  const auto innermost = [&](char name) {
    std::size_t at = savepoints.size();
    while (savepoints[--at] != name) {
    }
    return at;
  };
  const std::size_t length = 2 + below(14);
  for (std::size_t i = 0; i < length; ++i) {
    const std::size_t choice = below(100);
    if (choice < 40 || (choice >= 65 && savepoints.empty())) {
      const std::size_t kind = below(100);
      script += kind == 0   ? "+1100 "
                : kind == 1 ? "big "
                            : "+" + std::to_string(1 + below(3)) + " ";
    } else if (choice < 65) {
      savepoints.push_back(static_cast<char>('a' + below(3)));  // May hide one of the same name.
      script += std::string{"s"} + savepoints.back() + " ";
    } else {
      const char name = savepoints[below(savepoints.size())];
      const bool releases = choice >= 90;
      script += std::string{releases ? "r" : choice >= 85 ? "f" : "b"} + name + " ";
      savepoints.resize(innermost(name) + (releases ? 0 : 1));
    }
  }
  return below(8) == 0 ? script : script + "commit";
}

}  // namespace

TEST_CASE("of events around savepoints, what the server keeps of a service's rows is kept") {
  PostgresDatabase database;
  Service service{database};
  for (const char* script : {
           "+1 sa +1 +1 ra +1 commit",
           "+1 sa +1 ba +1 commit",
           "+1 sa +1 ba commit",
           "+1 sa ba +1 commit",
           "sa +1 ba commit",
           "+1 sa +1 ba +1 ba +1 commit",
           "+1 sa +1 ba ba commit",
           "+1 sa sb +1 rb ba +1 commit",
           "+1 sa sb +1 bb +1 ba commit",
           "+1 sa +1 sb +1 bb +1 ra +1 commit",
           "+1 sa +1 sa +1 ba ra +1 ba commit",
           "+1 sa +1 fa +1 commit",
           "+1 sa fa commit",
           "+1 sa +1 ba",
           "+1 sa ra +2 commit",
           "+1100 sa +1 ba +1 commit",
           "+600 +600 sa +1100 ba +1 commit",
           "+1 sa +1100 ba +1100 commit",
           "big big +1 sa big ba +1 commit",
           "big sa big big ba commit",
           "big sa +1 ba +1 sb +1 bb +1 commit",
       }) {
    service.run(script);
    service.run(script, true);
  }
}

TEST_CASE("of events around random savepoints, what the server keeps of rows is kept") {
  const char* given = std::getenv("OUTSEAL_SEED");
  const std::uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  MESSAGE("OUTSEAL_SEED=" << seed);
  std::mt19937_64 random{seed};
  PostgresDatabase database;
  Service service{database};
  for (std::uint64_t i = 0; i < scaled(250, 20'000); ++i)
    service.run(random_script(random), random() % 5 == 0);
}

TEST_CASE("events of a transaction that the service rolled back do not travel with its next one") {
  PostgresDatabase database;
  const auto session = database.session();
  for (const bool savepoint : {false, true}) {
    for (const std::string ending : {"ROLLBACK; BEGIN", "ROLLBACK AND CHAIN", "ABORT"}) {
      CAPTURE(ending);
      CAPTURE(savepoint);
      const auto end = [&](Transaction& tx) {
        append(tx, event("x"));
        if (savepoint) *session << "SAVEPOINT s";
        *session << ending;
        *session << kCharge;
      };
      {
        Transaction tx{*session};
        end(tx);
        CHECK(code_of([&] { tx.commit(); }) == ErrorCode::storage);
      }
      *session << "ROLLBACK";  // The service's own transaction is left to it.
      CHECK(code_of([&] {
              return execute(*session, operation("k"), [&](Transaction& tx) {
                end(tx);
                return Reply{};
              });
            }) == ErrorCode::invalid_argument);
      *session << "ROLLBACK";
    }
  }
  CHECK(database.events() == "0");
}
