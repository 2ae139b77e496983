// Operations on PostgreSQL: duplicates at once, conflicts, and connections that are lost.
#include <atomic>
#include <chrono>
#include <thread>
#include <tuple>
#include <vector>

#include "integration/postgres/postgres_fixture.h"
#include "support/program.h"
#include "support/wire_proxy.h"

using namespace outseal;
using namespace outseal::test;
using namespace std::chrono_literals;

namespace {

constexpr const char* kRepeatableRead =
    "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ";
constexpr const char* kSerializable =
    "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE";

long number(soci::session& session, const std::string& sql) {
  long value = 0;
  session << sql, soci::into(value);
  return value;
}

/// Waits until a session of the database waits for a lock.
void wait_for_waiter(const PostgresDatabase& database, const char* count = "1") {
  wait_until("a session that waits for a lock", [&] {
    return database.value(
               "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
               " AND datname = current_database()") == count;
  });
}

/// What execute() on a session of its own did, in a thread of its own.
class Duplicate {
 public:
  using Work = std::function<Reply(soci::session&, Transaction&)>;
  Duplicate(const PostgresDatabase& database, Operation key, Work work = nullptr)
      : database_{database}, key_{std::move(key)}, work_{std::move(work)} {}
  ExecuteResult wait() {
    thread_.join();
    return result_;
  }
  /// After wait(): the Error that it met.
  std::optional<ErrorCode> code() const { return code_; }

 private:
  void run() {
    const auto session = database_.session();
    Handler handler = charging(*session);
    if (work_) handler = [&](Transaction& tx) { return work_(*session, tx); };
    try {
      result_ = execute(*session, key_, handler);
    } catch (const Error& error) {
      code_ = error.code();
    }
  }

  const PostgresDatabase& database_;
  Operation key_;
  Work work_;
  std::optional<ErrorCode> code_;
  ExecuteResult result_{};
  std::thread thread_{[this] { run(); }};  // Last: it uses all of the above.
};

}  // namespace

TEST_CASE("of operations with one key at once one is executed, the others replay it") {
  PostgresDatabase database;
  constexpr int kThreads = 8;
  for (const char* isolation : {"SELECT 1", kRepeatableRead, kSerializable}) {
    for (int round = 0; round < 5; ++round) {
      std::atomic<int> executed{0};
      std::atomic<int> replayed{0};
      std::vector<std::thread> threads;
      for (int i = 0; i < kThreads; ++i)
        threads.emplace_back([&] {
          const auto session = database.session();
          *session << isolation;
          const std::string key = std::string{isolation} + std::to_string(round);
          for (;;) {
            try {
              const auto result = execute(*session, operation(key), [&](Transaction& tx) {
                *session << kCharge;
                append(tx, event("charged"));
                return Reply{.body = "done"};
              });
              if (result.reply->body == "done")
                ++(result.outcome == Outcome::executed ? executed : replayed);
              return;
            } catch (const Error& error) {
              if (error.recovery() != Recovery::retry_transaction) throw;
            }
          }
        });
      for (std::thread& thread : threads) thread.join();
      CHECK(executed == 1);
      CHECK(replayed == kThreads - 1);
    }
  }
  CHECK(database.events() == "15");
  CHECK(database.balance() == "25");
}

TEST_CASE("a duplicate waits for its turn, other keys do not, and without patience it is told so") {
  PostgresDatabase database;
  const auto session = database.session();
  const auto other = database.session();
  std::optional<Duplicate> duplicate;
  *other << "SET lock_timeout = '7s'";
  std::ignore = execute(*session, operation("k"), [&](Transaction&) {
    CHECK(execute(*other, operation("other"), charging(*other)).outcome == Outcome::executed);
    CHECK(execute(*other, operation("k"), charging(*other), {.wait = 0ms}).outcome ==
          Outcome::in_progress);
    CHECK(execute(*other, operation("k"), charging(*other), {.wait = 30ms}).outcome ==
          Outcome::in_progress);
    duplicate.emplace(database, operation("k"));
    wait_for_waiter(database);
    return Reply{};
  });
  CHECK(duplicate->wait().outcome == Outcome::replayed);
  CHECK(number(*other, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0);
  CHECK(number(*other, "SELECT (current_setting('lock_timeout') = '7s')::int") == 1);
  CHECK(database.balance() == "95");
}

TEST_CASE("a duplicate that meets an error when its turn has come holds no lock behind it") {
  PostgresDatabase database;
  const auto session = database.session();
  const auto waiting = database.session();
  *waiting << "SET ROLE outseal_producer";
  std::optional<ErrorCode> code;
  std::thread waiter;
  const Reply later{.verdict = Verdict::retryable_failure};
  std::ignore = execute(*session, operation("k"), [&](Transaction&) {
    waiter = std::thread{[&] {
      code = code_of([&] { return execute(*waiting, operation("k"), charging(*waiting)); });
    }};
    wait_for_waiter(database);
    database.value("REVOKE SELECT ON outseal.idempotency FROM outseal_producer");
    return later;
  });
  waiter.join();
  CHECK(code == ErrorCode::denied);
  CHECK(number(*waiting, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0);
  CHECK(execute(*session, operation("k"), charging(*session), {.wait = 0ms}).outcome ==
        Outcome::executed);
}

TEST_CASE("whoever waits for a handler that fails gets its turn, or its final answer") {
  PostgresDatabase database;
  const auto session = database.session();
  const auto replying = [&](const std::string& key, const Reply& reply,
                            std::optional<Duplicate>& waiter) {
    return execute(*session, operation(key), [&, reply](Transaction& tx) {
      *session << kCharge;
      append(tx, event("undone"));
      if (!waiter) {
        waiter.emplace(database, operation(key));
        wait_for_waiter(database);
      }
      return reply;
    });
  };
  std::optional<Duplicate> after_retryable;
  CHECK(replying("r", {.verdict = Verdict::retryable_failure}, after_retryable).outcome ==
        Outcome::released);
  CHECK(after_retryable->wait().outcome == Outcome::executed);
  CHECK(database.payloads() == "charged");

  std::optional<Duplicate> after_final;
  const Reply declined{.verdict = Verdict::final_failure, .status = 402, .body = "declined"};
  const ExecuteResult first = replying("f", declined, after_final);
  const ExecuteResult second = after_final->wait();
  CHECK(first.outcome == Outcome::executed);
  CHECK(second.outcome == Outcome::replayed);
  CHECK(second.reply->status == 402);
  CHECK(database.events() == "1");

  std::optional<Duplicate> after_throw;
  CHECK_THROWS_AS(std::ignore = execute(*session, operation("t"),
                                        [&](Transaction& tx) -> Reply {
                                          append(tx, event("undone"));
                                          after_throw.emplace(database, operation("t"));
                                          wait_for_waiter(database);
                                          throw std::runtime_error{"no"};
                                        }),
                  std::runtime_error);
  CHECK(after_throw->wait().outcome == Outcome::executed);
}

TEST_CASE("an expired record executes again, once, and purge takes it beside executions") {
  PostgresDatabase database;
  const auto session = database.session();
  std::ignore = execute(*session, operation("k"), charging(*session));
  const std::string expire =
      "UPDATE outseal.idempotency SET expires_at = now() - interval '1 s',"
      " purge_at = now() - interval '1 s'";
  database.value(expire);
  CHECK(execute(*session, operation("k"), charging(*session)).outcome == Outcome::executed);
  CHECK(execute(*session, operation("k"), charging(*session)).outcome == Outcome::replayed);
  CHECK(database.balance() == "90");

  for (int i = 0; i < 30; ++i)
    std::ignore = execute(*session, operation("p" + std::to_string(i)), charging(*session));
  database.value(expire);
  // While one execution of an expired key is under way, a purge passes its record by.
  const auto purging = database.session();
  std::uint64_t purged = 0;
  std::ignore = execute(*session, operation("k"), [&](Transaction&) {
    *session << "SELECT 1 FROM outseal.idempotency WHERE key_hash ="
                " (SELECT key_hash FROM outseal.idempotency ORDER BY created_at DESC LIMIT 1)"
                " FOR UPDATE";
    purged = purge_operations(*purging, {.step_rows = 7}).records;
    return Reply{};
  });
  CHECK(purged == 30);
  CHECK(purge_operations(*purging).records == 1);  // The one that was locked.
  CHECK(database.value("SELECT count(*) FROM outseal.idempotency") == "1");
}

TEST_CASE("what a handler's own statements meet says that the operation may run again") {
  PostgresDatabase database;
  const auto session = database.session();
  const auto other = database.session();
  for (const char* isolation : {kRepeatableRead, kSerializable}) {
    *session << isolation;
    CHECK(code_of([&] {
            return execute(*session, operation("k"), [&](Transaction&) {
              number(*session, "SELECT balance FROM account WHERE id = 1");
              *other << "UPDATE account SET balance = balance + 1 WHERE id = 1";
              *session << kCharge;
              return Reply{};
            });
          }) == ErrorCode::conflict);
  }
  // A handler that swallows the error cannot make a success of it.
  CHECK(code_of([&] {
          return execute(*session, operation("k"), [&](Transaction&) {
            number(*session, "SELECT balance FROM account WHERE id = 1");
            *other << "UPDATE account SET balance = balance + 1 WHERE id = 1";
            CHECK_THROWS(*session << kCharge);
            return Reply{};
          });
        }) == ErrorCode::conflict);
  CHECK(database.value("SELECT count(*) FROM outseal.idempotency") == "0");
  CHECK(execute(*session, operation("k"), charging(*session)).outcome == Outcome::executed);
}

TEST_CASE("a deadlock of two handlers ends one of them, which may run again") {
  PostgresDatabase database;
  const auto session = database.session();
  const auto take = [](soci::session& own, const char* account) {
    own << std::string{"UPDATE account SET balance = balance - 1 WHERE id = "} + account;
  };
  std::optional<Duplicate> second;
  std::optional<ErrorCode> code;
  try {
    std::ignore = execute(*session, operation("a"), [&](Transaction& tx) {
      append(tx, event("a"));
      take(*session, "1");
      second.emplace(database, operation("b"), [&](soci::session& own, Transaction& other) {
        append(other, event("b"));
        take(own, "2");
        take(own, "1");
        return Reply{};
      });
      wait_for_waiter(database);
      take(*session, "2");
      return Reply{};
    });
  } catch (const Error& error) {
    code = error.code();
  }
  const bool second_executed = second->wait().outcome == Outcome::executed && !second->code();
  CHECK(code.has_value() == second_executed);
  CHECK((code ? code : second->code()) == ErrorCode::conflict);
  CHECK(database.payloads() == (code ? "b" : "a"));
}

TEST_CASE("a serialization failure at the commit says that the transaction may run again") {
  PostgresDatabase database;
  const auto one = database.session();
  const auto two = database.session();
  *one << kSerializable;
  *two << kSerializable;
  for (const bool appends : {false, true}) {
    const auto skew = [&](soci::session& session, int reads, int writes) {
      number(session, "SELECT balance FROM account WHERE id = " + std::to_string(reads));
      session << "UPDATE account SET balance = balance - 1 WHERE id = " + std::to_string(writes);
    };
    Transaction first{*one};
    Transaction second{*two};
    skew(*one, 1, 2);
    skew(*two, 2, 1);
    if (appends) {
      append(first, event("first"));
      append(second, event("second"));
    }
    first.commit();
    CHECK(code_of([&] { second.commit(); }) == ErrorCode::conflict);
  }
  CHECK(database.payloads() == "first");
}

TEST_CASE("above READ COMMITTED duplicates of a failure or a success run the handler once, too") {
  PostgresDatabase database;
  for (const Isolation isolation : {Isolation::repeatable_read, Isolation::serializable}) {
    for (const Verdict verdict : {Verdict::final_failure, Verdict::success}) {
      const std::string key =
          std::to_string(static_cast<int>(isolation)) + std::to_string(static_cast<int>(verdict));
      std::atomic<int> runs{0};
      std::atomic<int> answered{0};
      std::optional<std::thread> first;
      std::vector<std::thread> others;
      const auto ask = [&](const auto& before_reply) {
        const auto session = database.session();
        for (;;) {
          try {
            const auto result = execute(*session, operation(key),
                                        [&](Transaction& tx) -> Reply {
                                          ++runs;
                                          append(tx, event("x"));
                                          before_reply();
                                          return {.verdict = verdict, .body = "said"};
                                        },
                                        {.wait = 60s, .isolation = isolation});
            if (result.reply && result.reply->body == "said") ++answered;
            return;
          } catch (const Error& error) {
            if (error.recovery() != Recovery::retry_transaction) throw;
          }
        }
      };
      ask([&] {
        for (int i = 0; i < 7; ++i) others.emplace_back([&] { ask([] {}); });
        wait_for_waiter(database, "7");
      });
      for (std::thread& thread : others) thread.join();
      CHECK(runs == 1);
      CHECK(answered == 8);
    }
  }
  CHECK(database.events() == "2");
}

TEST_CASE("a prepared statement that is gone costs at most one transaction") {
  struct Paying : ServiceFixture {
    int keys = 0;
    Outcome pay() {
      return execute(*session, operation(std::to_string(++keys)), charging(*session)).outcome;
    }
    Paying() { CHECK(pay() == Outcome::executed); }
  };
  {
    Paying f;
    CHECK_THROWS(f.run("DEALLOCATE nope"));  // The service's own trouble.
    CHECK(f.pay() == Outcome::executed);
  }
  for (const char* gone : {"DEALLOCATE outseal_begin", "DEALLOCATE outseal_complete_with_event",
                           "DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$"}) {
    Paying f;
    CAPTURE(gone);
    f.run(gone);
    CHECK(code_of([&] { return f.pay(); }) == ErrorCode::conflict);
    CHECK(f.pay() == Outcome::executed);
  }
  Paying f;
  f.run("DEALLOCATE ALL");
  f.run("PREPARE outseal_begin AS SELECT 1");  // A name of ours.
  CHECK(code_of([&] { return f.pay(); }) == ErrorCode::invalid_config);
  CHECK(f.pay() == Outcome::executed);
  CHECK(f.database.events() == "2");
}

TEST_CASE("a statement of the service's own that is not there is no conflict") {
  ServiceFixture f;
  CHECK(code_of([&] {
          return execute(*f.session, operation("k"), [&](Transaction&) {
            CHECK_THROWS(f.run("EXECUTE nope"));
            return Reply{};
          });
        }) == ErrorCode::storage);
}
