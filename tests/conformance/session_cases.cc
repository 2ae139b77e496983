// What outseal promises on a service's session, whatever library the service has opened it with.
#include <doctest/doctest.h>

#include <optional>
#include <stdexcept>
#include <tuple>

#include "conformance/session_suite.h"
#include "conformance/sink_suite.h"
#include "conformance/store_suite.h"
#include "sinks/inbox/sink.h"
#include "sql/connection.h"
#include "store/migrations.h"

namespace outseal::test {

void prepare_database(const Url& url) {
  const auto connection = sql::open(url, sql::OpenMode::create);
  store::migrate_up(*connection, store::newest_version(connection->dialect()), {});
  connection->execute("CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)");
  connection->execute("INSERT INTO account VALUES (1, 100), (2, 100)");
}

long SessionFixture::number(const std::string& sql) const {
  const auto connection = sql::open(sessions.url());
  const auto statement = connection->prepare(in_dialect(connection->dialect(), sql));
  REQUIRE(statement->step());
  return static_cast<long>(statement->integer(0));
}

Handler SessionFixture::charging(Reply reply) const {
  return [this, reply](Transaction& tx) {
    run(kCharge);
    append(tx, charged());
    return reply;
  };
}

ErrorCode code_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    CHECK_FALSE(error.message().empty());
    CHECK_FALSE(error.hint().empty());
    return error.code();
  }
  FAIL("no error was thrown");
  return ErrorCode::internal;
}

namespace {

constexpr const char* kStream = "/outseal/test#main";

Operation charge(const std::string& request = "amount=5") {
  return {.scope = "payments", .key = "k", .fingerprint = fingerprint(request)};
}

/// Runs `body` with a session of each kind, each in a database of its own.
void on_each_kind(const std::function<void(SessionFixture&)>& body) {
  for (const auto& sessions : make_sessions()) {
    const std::string kind = sessions->kind();
    CAPTURE(kind);
    SessionFixture fixture{*sessions};
    body(fixture);
  }
}

}  // namespace

TEST_CASE("rows and events of a transaction are committed together, or neither") {
  on_each_kind([](SessionFixture& f) {
    {
      Transaction tx{f.session()};
      f.run(kCharge);
      append(tx, charged());
      CHECK(f.events() == 0);
      tx.commit();
      CHECK(code_of([&] { tx.commit(); }) == ErrorCode::internal);
    }
    CHECK(f.events() == 1);
    CHECK(f.balance() == 95);
    for (const bool explicitly : {true, false}) {
      Transaction tx{f.session()};
      CHECK(code_of([&] { Transaction{f.session()}; }) == ErrorCode::invalid_argument);
      f.run(kCharge);
      append(tx, charged());
      if (explicitly) tx.rollback();
    }
    CHECK(f.events() == 1);
    CHECK(f.balance() == 95);
    f.run(kCharge);  // Nothing is left on the session.
    CHECK(f.balance() == 90);
  });
}

TEST_CASE("events after a return to a savepoint are those of the rows") {
  on_each_kind([](SessionFixture& f) {
    Transaction tx{f.session()};
    append(tx, charged());
    f.run("SAVEPOINT a");
    f.run(kCharge);
    append(tx, charged());
    f.run("ROLLBACK TO a");
    tx.commit();
    CHECK(f.events() == 1);
    CHECK(f.balance() == 100);
  });
}

TEST_CASE("kept statements serve the transactions of their session") {
  on_each_kind([](SessionFixture& f) {
    const auto other = f.sessions.open();
    StatementCache statements{f.session()};
    const TransactionOptions options{.statements = &statements};
    for (int i = 0; i < 2; ++i) {
      Transaction tx{f.session(), options};
      append(tx, charged());
      tx.commit();
    }
    CHECK(execute(f.session(), charge(), f.charging(), {.statements = &statements}).outcome ==
          Outcome::executed);
    CHECK(f.events() == 3);
    CHECK(code_of([&] { Transaction{other->session(), options}; }) == ErrorCode::invalid_config);
  });
}

TEST_CASE("a joined transaction is ended by the service, and a later one is another") {
  on_each_kind([](SessionFixture& f) {
    CHECK(code_of([&] { Transaction::join(f.session()); }) == ErrorCode::invalid_argument);
    f.run("BEGIN");
    f.run(kCharge);
    Transaction joined = Transaction::join(f.session());
    append(joined, charged());
    joined.commit();
    CHECK(f.events() == 0);
    f.run("COMMIT");
    CHECK(f.events() == 1);
    f.run("BEGIN");
    f.run(kCharge);
    CHECK(code_of([&] { append(joined, charged()); }) == ErrorCode::invalid_argument);
    f.run("ROLLBACK");
    CHECK(f.events() == 1);
  });
}

TEST_CASE("an operation is executed once and replayed after that") {
  on_each_kind([](SessionFixture& f) {
    CHECK_FALSE(find(f.session(), charge()));
    const Reply retryable{.verdict = Verdict::retryable_failure};
    CHECK(execute(f.session(), charge(), f.charging(retryable)).outcome == Outcome::released);
    CHECK(f.balance() == 100);
    const Reply created{.status = 201, .body = "done"};
    CHECK(execute(f.session(), charge(), f.charging(created)).outcome == Outcome::executed);
    const auto again = execute(f.session(), charge(), f.charging());
    CHECK(again.outcome == Outcome::replayed);
    CHECK(again.reply->body == "done");
    CHECK(execute(f.session(), charge("other"), f.charging()).outcome == Outcome::mismatch);
    CHECK(find(f.session(), charge())->reply->status == 201);
    CHECK(f.balance() == 95);
    CHECK(f.events() == 1);
    Operation refused = charge();
    refused.key = "refused";
    const Reply final{.verdict = Verdict::final_failure, .status = 402};
    CHECK(execute(f.session(), refused, f.charging(final)).outcome == Outcome::executed);
    CHECK(execute(f.session(), refused, f.charging()).reply->status == 402);
    CHECK(f.balance() == 95);
    CHECK(purge_operations(f.session()).records == 0);
  });
}

TEST_CASE("an event is received once, and taken once in the order of its stream") {
  on_each_kind([](SessionFixture& f) {
    sinks::InboxSink sink{f.sessions.url(), kStream};
    REQUIRE(sink.open().status == OpenResult::Status::opened);
    REQUIRE(sink.deliver(make_batch(sink, {}, 2), 0).status == DeliveryResult::Status::delivered);
    const EventId id = new_event_id();
    for (const bool first : {true, false}) {
      Transaction tx{f.session()};
      CHECK(receive(tx, "/shop#main", id) == first);
      const Arrival arrival = receive_in_order(tx, "/shop#main", {Position{1}, id}).arrival;
      CHECK(arrival == (first ? Arrival::fresh : Arrival::duplicate));
      CHECK(take(tx, kStream).size() == (first ? 2U : 0U));
      tx.commit();
    }
    CHECK(purge_taken(f.session(), kStream, {}) == 2);
    CHECK(purge_received(f.session(), std::chrono::hours{1}) == 0);
  });
}

TEST_CASE("a session that is closed or replaced ends its transactions, and nothing is touched") {
  on_each_kind([](SessionFixture& f) {
    for (const ServiceSession::Replacement& replace : f.service->replacements()) {
      CAPTURE(replace.name);
      {
        const Session before = f.session();
        Transaction tx{before};
        Transaction joined = Transaction::join(before);
        f.run(kCharge);
        append(tx, charged());
        replace.make();
        CHECK(code_of([&] { append(tx, charged()); }) == ErrorCode::unreachable);
        CHECK(code_of([&] { append(joined, charged()); }) == ErrorCode::unreachable);
        CHECK(code_of([&] { tx.commit(); }) == ErrorCode::unreachable);
      }
      {
        Transaction untouched{f.session()};
        append(untouched, charged());
        replace.make();
      }
      CHECK(code_of([&] {
              std::ignore = execute(f.session(), charge(), [&](Transaction& tx) {
                append(tx, charged());
                replace.make();
                return Reply{};
              });
            }) == ErrorCode::unreachable);
      Transaction next{f.session()};  // Whatever was locked is free.
      f.run(kCharge);
      next.rollback();
    }
    CHECK(f.events() == 0);
    CHECK(f.balance() == 100);
  });
}

TEST_CASE("a transaction in the place of one that was rolled back is left to the service") {
  on_each_kind([](SessionFixture& f) {
    {
      Transaction tx{f.session()};
      append(tx, charged());
      f.run("ROLLBACK");
      f.run("BEGIN");
      f.run(kCharge);
      CHECK(code_of([&] { append(tx, charged()); }) == ErrorCode::invalid_argument);
      CHECK(code_of([&] { tx.commit(); }) == ErrorCode::storage);
    }
    f.run("COMMIT");
    CHECK(f.events() == 0);
    CHECK(f.balance() == 95);
  });
}

TEST_CASE("a COMMIT of the service's own is refused, or followed by the events and reported") {
  on_each_kind([](SessionFixture& f) {
    Transaction tx{f.session()};
    f.run(kCharge);
    append(tx, charged());
    if (f.is_sqlite()) {
      CHECK_THROWS_AS(f.run("COMMIT"), std::runtime_error);
      CHECK(code_of([&] { tx.commit(); }) == ErrorCode::storage);
    } else {
      f.run("COMMIT");
      CHECK(code_of([&] { tx.commit(); }) == ErrorCode::foreign_commit);
    }
    CHECK(f.events() == (f.is_sqlite() ? 0 : 1));
    CHECK(f.balance() == (f.is_sqlite() ? 100 : 95));
  });
}

TEST_CASE("a session that is not open is refused") {
  on_each_kind([](SessionFixture& f) {
    f.service->close();
    CHECK(code_of([&] { Transaction{f.session()}; }) == ErrorCode::invalid_config);
    CHECK(code_of([&] { std::ignore = find(f.session(), charge()); }) == ErrorCode::invalid_config);
  });
}

}  // namespace outseal::test
