// What a service may rely on: transactions, append, execute, purge.
#include <doctest/doctest.h>
#include <soci/soci.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "conformance/store_suite.h"
#include "outseal/outseal.h"
#include "support/scale.h"

using namespace outseal;
using namespace std::chrono_literals;
using outseal::test::make_store;

namespace {

long count(soci::session& session, const std::string& what) {
  long rows = 0;
  session << "SELECT count(*) FROM " + what, soci::into(rows);
  return rows;
}

long balance(soci::session& session, int account) {
  long value = 0;
  session << "SELECT balance FROM account WHERE id = :id", soci::into(value), soci::use(account);
  return value;
}

Event paid() { return {.topic = "payments", .key = "7", .type = "paid", .payload = "{\"n\":1}"}; }

Operation charge(std::string key, const std::string& request = "amount=5") {
  return {.scope = "payments", .principal = "shop", .key = std::move(key),
          .fingerprint = fingerprint(request)};
}

Handler charging(soci::session& session, Reply reply) {
  return [&session, reply](Transaction& tx) {
    session << "UPDATE account SET balance = balance - 5 WHERE id = 1";
    append(tx, paid());
    return reply;
  };
}

ErrorCode code_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    CHECK_FALSE(error.message().empty());
    return error.code();
  }
  FAIL("no error was thrown");
  return ErrorCode::internal;
}

}  // namespace

TEST_CASE("business rows and events commit together") {
  const auto store = make_store();
  const auto session = store->session();
  {
    Transaction tx{*session};
    *session << "UPDATE account SET balance = balance - 5 WHERE id = 1";
    append(tx, paid());
    tx.commit();
  }
  CHECK(balance(*session, 1) == 95);
  CHECK(count(*session, "outseal_outbox") == 1);
}

TEST_CASE("a transaction that is not committed leaves nothing") {
  const auto store = make_store();
  const auto session = store->session();
  {
    Transaction tx{*session};
    *session << "UPDATE account SET balance = 0 WHERE id = 1";
    append(tx, paid());
  }
  CHECK(balance(*session, 1) == 100);
  CHECK(count(*session, "outseal_outbox") == 0);
}

TEST_CASE("a second begin on the same session is refused and the first goes on") {
  const auto store = make_store();
  const auto session = store->session();
  Transaction tx{*session};
  CHECK(code_of([&] { Transaction second{*session}; }) == ErrorCode::invalid_argument);
  append(tx, paid());
  tx.commit();
  CHECK(code_of([&] { tx.commit(); }) == ErrorCode::internal);
  CHECK(count(*session, "outseal_outbox") == 1);
}

TEST_CASE("a joined transaction is ended by whoever began it") {
  const auto store = make_store();
  const auto session = store->session();
  CHECK(code_of([&] { Transaction::join(*session); }) == ErrorCode::invalid_argument);
  session->begin();
  {
    Transaction tx = Transaction::join(*session);
    append(tx, paid());
    tx.commit();
  }
  CHECK(count(*session, "outseal_outbox") == 1);
  session->rollback();
  CHECK(count(*session, "outseal_outbox") == 0);
}

TEST_CASE("an event arrives in the outbox as it was given") {
  const auto store = make_store();
  const auto session = store->session();
  const EventId id = new_event_id();
  Event event = paid();
  event.id = id;
  event.headers = {{"trace", "a\"b\\c\n"}};
  event.content_type = "application/octet-stream";
  event.payload = std::string{"\x00\xff", 2};
  {
    Transaction tx{*session};
    CHECK(append(tx, event) == id);
    tx.commit();
  }
  const auto connection = sql::open(store->url());
  const auto row = connection->prepare(
      "SELECT event_id, topic, key, type, headers, payload, content_type FROM outseal_outbox");
  REQUIRE(row->step());
  CHECK(row->text(0) == id.to_string());
  CHECK(row->text(1) == "payments");
  CHECK(row->text(2) == "7");
  CHECK(row->text(3) == "paid");
  CHECK(row->text(4) == R"({"trace":"a\"b\\c\n"})");
  CHECK(row->blob(5) == event.payload);
  CHECK(row->text(6) == "application/octet-stream");
}

TEST_CASE("append refuses what breaks a limit and writes nothing") {
  const auto store = make_store();
  const auto session = store->session();
  Transaction tx{*session};
  const auto refused = [&](auto change) {
    Event event = paid();
    change(event);
    return code_of([&] { append(tx, event); }) == ErrorCode::invalid_argument;
  };
  CHECK(refused([](Event& e) { e.topic = ""; }));
  CHECK(refused([](Event& e) { e.topic = "pay ments"; }));
  CHECK(refused([](Event& e) { e.topic = std::string(256, 'a'); }));
  CHECK(refused([](Event& e) { e.key = std::string(513, 'a'); }));
  CHECK(refused([](Event& e) { e.key = std::string{"a\0b", 3}; }));
  CHECK(refused([](Event& e) { e.key = "\xc3\x28"; }));
  CHECK(refused([](Event& e) { e.type = ""; }));
  CHECK(refused([](Event& e) { e.content_type = ""; }));
  CHECK(refused([](Event& e) { e.payload = "\"\xff\""; }));
  CHECK(refused([](Event& e) { e.payload = std::string((1U << 20U) + 1, ' '); }));
  CHECK(refused([](Event& e) { e.headers[""] = "x"; }));
  CHECK(refused([](Event& e) { e.headers["x"] = std::string(16'385, 'x'); }));
  CHECK(refused([](Event& e) { e.id = EventId{}; }));
  CHECK(refused([](Event& e) {
    for (int i = 0; i < 65; ++i) e.headers["h" + std::to_string(i)] = "";
  }));
  tx.commit();
  CHECK(count(*session, "outseal_outbox") == 0);
}

TEST_CASE("an event at every limit is accepted") {
  const auto store = make_store();
  const auto session = store->session();
  Event event{.topic = std::string(255, 't'), .key = std::string(512, 'k'),
              .type = std::string(255, 'y'), .payload = std::string(1U << 20U, ' ')};
  event.payload.front() = '[';
  event.payload.back() = ']';
  for (int i = 0; i < 64; ++i) event.headers["h" + std::to_string(i)] = std::string(250, 'v');
  Transaction tx{*session};
  append(tx, event);
  tx.commit();
  CHECK(count(*session, "outseal_outbox") == 1);
}

TEST_CASE("an event id is used once") {
  const auto store = make_store();
  const auto session = store->session();
  Event event = paid();
  event.id = new_event_id();
  Transaction tx{*session};
  append(tx, event);
  CHECK(code_of([&] { append(tx, event); }) == ErrorCode::constraint);
  tx.commit();
  CHECK(count(*session, "outseal_outbox") == 1);
}

TEST_CASE("an operation is executed once and replayed byte for byte") {
  const auto store = make_store();
  const auto session = store->session();
  const Reply reply{.status = 201, .body = std::string{"a\0\xff", 3}, .content_type = "x/y"};
  const ExecuteResult first = execute(*session, charge("k1"), charging(*session, reply));
  CHECK(first.outcome == Outcome::executed);
  const ExecuteResult second =
      execute(*session, charge("k1"), [](Transaction&) -> Reply { throw 1; });
  CHECK(second.outcome == Outcome::replayed);
  CHECK(second.reply.status == 201);
  CHECK(second.reply.body == reply.body);
  CHECK(second.reply.content_type == "x/y");
  CHECK(second.reply.verdict == Verdict::success);
  CHECK(balance(*session, 1) == 95);
  CHECK(count(*session, "outseal_outbox") == 1);
}

TEST_CASE("a key with another fingerprint is a mismatch and does nothing") {
  const auto store = make_store();
  const auto session = store->session();
  execute(*session, charge("k1"), charging(*session, {}));
  const auto result =
      execute(*session, charge("k1", "amount=6"), charging(*session, {}));
  CHECK(result.outcome == Outcome::mismatch);
  CHECK(result.reply.body.empty());
  CHECK(balance(*session, 1) == 95);
}

TEST_CASE("scope, principal and key tell operations apart and the raw key is not stored") {
  const auto store = make_store();
  const auto session = store->session();
  const auto run = [&](std::string scope, std::string principal, std::string key) {
    return execute(*session, {scope, principal, key, fingerprint("same")},
                   charging(*session, {})).outcome;
  };
  CHECK(run("ab", "c", "secret-key") == Outcome::executed);
  CHECK(run("a", "bc", "secret-key") == Outcome::executed);
  CHECK(run("ab", "", "csecret-key") == Outcome::executed);
  CHECK(run("ab", "c", "secret-key") == Outcome::replayed);
  const auto connection = sql::open(store->url());
  const auto rows = connection->prepare("SELECT count(*) FROM outseal_idempotency WHERE"
                                        " instr(hex(key_hash), hex('secret')) > 0");
  REQUIRE(rows->step());
  CHECK(rows->integer(0) == 0);
}

TEST_CASE("a final failure undoes the handler's rows and events and is replayed") {
  const auto store = make_store();
  const auto session = store->session();
  const Reply declined{.verdict = Verdict::final_failure, .status = 402, .body = "declined"};
  CHECK(execute(*session, charge("k1"), charging(*session, declined)).outcome ==
        Outcome::executed);
  const auto again = execute(*session, charge("k1"), charging(*session, {}));
  CHECK(again.outcome == Outcome::replayed);
  CHECK(again.reply.status == 402);
  CHECK(again.reply.verdict == Verdict::final_failure);
  CHECK(balance(*session, 1) == 100);
  CHECK(count(*session, "outseal_outbox") == 0);
}

TEST_CASE("a retryable failure undoes everything and leaves the key free") {
  const auto store = make_store();
  const auto session = store->session();
  const Reply later{.verdict = Verdict::retryable_failure, .status = 503, .body = "later"};
  const auto first = execute(*session, charge("k1"), charging(*session, later));
  CHECK(first.outcome == Outcome::released);
  CHECK(first.reply.status == 503);
  CHECK(balance(*session, 1) == 100);
  CHECK(execute(*session, charge("k1"), charging(*session, {})).outcome == Outcome::executed);
  CHECK(balance(*session, 1) == 95);
}

TEST_CASE("an exception of the handler passes through and leaves the key free") {
  const auto store = make_store();
  const auto session = store->session();
  CHECK_THROWS_AS(execute(*session, charge("k1"),
                          [&](Transaction& tx) -> Reply {
                            append(tx, paid());
                            throw std::runtime_error{"no"};
                          }),
                  std::runtime_error);
  CHECK(count(*session, "outseal_outbox") == 0);
  CHECK(execute(*session, charge("k1"), charging(*session, {})).outcome == Outcome::executed);
}

TEST_CASE("execute refuses bad input before it writes") {
  const auto store = make_store();
  const auto session = store->session();
  const auto refused = [&](auto change) {
    Operation operation = charge("k1");
    change(operation);
    return code_of([&] { execute(*session, operation, charging(*session, {})); }) ==
           ErrorCode::invalid_argument;
  };
  CHECK(refused([](Operation& o) { o.fingerprint = "short"; }));
  CHECK(refused([](Operation& o) { o.fingerprint = std::string(33, 'x'); }));
  CHECK(refused([](Operation& o) { o.key = ""; }));
  CHECK(refused([](Operation& o) { o.key = std::string(256, 'k'); }));
  CHECK(refused([](Operation& o) { o.scope = ""; }));
  CHECK(refused([](Operation& o) { o.principal = std::string(256, 'p'); }));
  CHECK(code_of([&] {
          execute(*session, charge("k1"), charging(*session, {.status = 1'000}));
        }) == ErrorCode::invalid_argument);
  CHECK(code_of([&] {
          execute(*session, charge("k1"), charging(*session, {.body = std::string(11, 'b')}),
                  {.body_bytes_max = 10});
        }) == ErrorCode::invalid_argument);
  CHECK(code_of([&] {
          execute(*session, charge("k1"), charging(*session, {}), {.retention = 1s});
        }) == ErrorCode::invalid_config);
  CHECK(count(*session, "outseal_idempotency") == 0);
  CHECK(balance(*session, 1) == 100);
  Transaction tx{*session};
  CHECK(code_of([&] { execute(*session, charge("k1"), charging(*session, {})); }) ==
        ErrorCode::invalid_argument);
}

TEST_CASE("concurrent duplicates on threads execute once and all get the same answer") {
  const auto store = make_store();
  const int keys = static_cast<int>(test::scaled(40));
  std::atomic<int> executed{0};
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&] {
      const auto session = store->session();
      for (int k = 0; k < keys; ++k) {
        const std::string key = std::to_string(k);
        const auto result = execute(*session, charge(key), charging(*session, {.body = key}),
                                    {.wait = 60s});
        if (result.outcome == Outcome::executed) ++executed;
        const bool known =
            result.outcome == Outcome::executed || result.outcome == Outcome::replayed;
        if (!known || result.reply.body != key) ++wrong;
      }
    });
  for (auto& thread : threads) thread.join();
  CHECK(executed == keys);
  CHECK(wrong == 0);
  const auto session = store->session();
  CHECK(count(*session, "outseal_outbox") == keys);
  CHECK(balance(*session, 1) == 100 - 5L * keys);
}

TEST_CASE("concurrent duplicates in processes execute once") {
  const auto store = make_store();
  constexpr int kKeys = 25;
  std::vector<pid_t> children;
  for (int p = 0; p < 4; ++p) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child != 0) {
      children.push_back(child);
      continue;
    }
    int executed = 0;  // The exit code carries it home; doctest must not run in the child.
    try {
      const auto session = store->session();
      for (int k = 0; k < kKeys; ++k)
        executed += execute(*session, charge(std::to_string(k)), charging(*session, {}),
                            {.wait = 60s})
                        .outcome == Outcome::executed;
    } catch (...) {
      executed = 255;
    }
    ::_exit(executed);
  }
  int executed = 0;
  for (const pid_t child : children) {
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status));
    executed += WEXITSTATUS(status);
  }
  CHECK(executed == kKeys);
  const auto session = store->session();
  CHECK(count(*session, "outseal_outbox") == kKeys);
  CHECK(balance(*session, 1) == 100 - 5L * kKeys);
}

TEST_CASE("sixteen busy writers see no spurious failure") {
  const auto store = make_store();
  const int rounds = static_cast<int>(test::scaled(50));
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 16; ++t)
    threads.emplace_back([&] {
      const auto session = store->session();
      for (int i = 0; i < rounds; ++i) {
        try {
          Transaction tx{*session, {.busy_wait = 60s}};
          *session << "UPDATE account SET balance = balance + 1 WHERE id = 2";
          append(tx, paid());
          tx.commit();
        } catch (const std::exception&) {
          ++failures;
        }
      }
    });
  for (auto& thread : threads) thread.join();
  CHECK(failures == 0);
  const auto session = store->session();
  CHECK(count(*session, "outseal_outbox") == 16L * rounds);
  CHECK(balance(*session, 2) == 100 + 16L * rounds);
}

TEST_CASE("a writer that holds the database makes begin a conflict and execute in_progress") {
  const auto store = make_store();
  const auto holder = store->session();
  const auto waiter = store->session();
  execute(*holder, charge("done"), charging(*holder, {.body = "stored"}));
  Transaction tx{*holder};
  try {
    Transaction second{*waiter, {.busy_wait = 30ms}};
    FAIL("two writers at once");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::conflict);
    CHECK(error.recovery() == Recovery::retry_transaction);
    CHECK_FALSE(error.hint().empty());
  }
  CHECK(execute(*waiter, charge("new"), charging(*waiter, {}), {.wait = 30ms}).outcome ==
        Outcome::in_progress);
  // What is known already is answered although somebody writes.
  CHECK(execute(*waiter, charge("done"), charging(*waiter, {}), {.wait = 30ms}).reply.body ==
        "stored");
}

TEST_CASE("a record in progress is reported, not executed again") {
  const auto store = make_store();
  const auto session = store->session();
  execute(*session, charge("k1"), charging(*session, {}));
  *session << "UPDATE outseal_idempotency SET state = 'in_progress', expires_at = NULL";
  CHECK(execute(*session, charge("k1"), charging(*session, {}), {.wait = 20ms}).outcome ==
        Outcome::in_progress);
  CHECK(balance(*session, 1) == 95);
}

TEST_CASE("an expired key is new again and purge removes only expired records") {
  const auto store = make_store();
  const auto session = store->session();
  for (int i = 0; i < 12; ++i)
    execute(*session, charge("k" + std::to_string(i)), charging(*session, {}));
  *session << "UPDATE outseal_idempotency SET expires_at = 1 WHERE key_hash IN"
              " (SELECT key_hash FROM outseal_idempotency LIMIT 7)";
  CHECK(purge(*session, {.step_rows = 2, .steps_max = 2}) == 4);
  CHECK(purge(*session, {.step_rows = 2}) == 3);
  CHECK(purge(*session) == 0);
  CHECK(count(*session, "outseal_idempotency") == 5);
  *session << "UPDATE outseal_idempotency SET expires_at = 1";
  *session << "DELETE FROM outseal_outbox";
  int executed = 0;
  for (int i = 0; i < 12; ++i)
    executed += execute(*session, charge("k" + std::to_string(i)), charging(*session, {}))
                    .outcome == Outcome::executed;
  CHECK(executed == 12);
  CHECK(code_of([&] { purge(*session, {.step_rows = 0}); }) == ErrorCode::invalid_config);
}
