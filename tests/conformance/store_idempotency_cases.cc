// What a service may rely on: execute and purge, also among many threads and processes.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <tuple>
#include <vector>

#include "conformance/store_helpers.h"
#include "conformance/store_suite.h"
#include "support/scale.h"

using namespace outseal;
using namespace outseal::test;
using namespace std::chrono_literals;

TEST_CASE("an operation is executed once and replayed byte for byte") {
  const auto store = make_store();
  const auto session = store->session();
  const Reply reply{.status = 201, .body = std::string{"a\0\xff", 3}, .content_type = "x/y"};
  const ExecuteResult first = execute(*session, charge("k1"), charging(*session, reply));
  CHECK(first.outcome == Outcome::executed);
  const ExecuteResult second =
      execute(*session, charge("k1"), [](Transaction&) -> Reply { throw 1; });
  CHECK(second.outcome == Outcome::replayed);
  CHECK(second.reply->status == 201);
  CHECK(second.reply->body == reply.body);
  CHECK(second.reply->content_type == "x/y");
  CHECK(second.reply->verdict == Verdict::success);
  CHECK(balance(*session, 1) == 95);
  CHECK(count(*session, "outseal_outbox") == 1);
}

TEST_CASE("a key with another fingerprint is a mismatch and does nothing") {
  const auto store = make_store();
  const auto session = store->session();
  std::ignore = execute(*session, charge("k1"), charging(*session, {}));
  const auto result = execute(*session, charge("k1", "amount=6"), charging(*session, {}));
  CHECK(result.outcome == Outcome::mismatch);
  CHECK_FALSE(result.reply.has_value());
  CHECK(balance(*session, 1) == 95);
}

TEST_CASE("scope, principal and key tell operations apart and the raw key is not stored") {
  const auto store = make_store();
  const auto session = store->session();
  const auto run = [&](std::string scope, std::string principal, std::string key) {
    return execute(*session, {scope, principal, key, fingerprint("same")}, charging(*session, {}))
        .outcome;
  };
  CHECK(run("ab", "c", "secret-key") == Outcome::executed);
  CHECK(run("a", "bc", "secret-key") == Outcome::executed);
  CHECK(run("ab", "", "csecret-key") == Outcome::executed);
  CHECK(run("ab", "d", "secret-key") == Outcome::executed);
  CHECK(run("a", "c", "secret-key") == Outcome::executed);
  CHECK(run("ab", "c", "secret-key") == Outcome::replayed);
  const auto connection = sql::open(store->url());
  const auto rows = connection->prepare(
      in_dialect(connection->dialect(), "SELECT key_hash FROM outseal_idempotency"));
  int records = 0;
  for (; rows->step(); ++records) CHECK(rows->blob(0).find("secret") == std::string_view::npos);
  CHECK(records == 5);
}

TEST_CASE("a final failure undoes the handler's rows and events and is replayed") {
  const auto store = make_store();
  const auto session = store->session();
  const Reply declined{.verdict = Verdict::final_failure, .status = 402, .body = "declined"};
  CHECK(execute(*session, charge("k1"), charging(*session, declined)).outcome == Outcome::executed);
  const auto again = execute(*session, charge("k1"), charging(*session, {}));
  CHECK(again.outcome == Outcome::replayed);
  CHECK(again.reply->status == 402);
  CHECK(again.reply->verdict == Verdict::final_failure);
  CHECK(balance(*session, 1) == 100);
  CHECK(count(*session, "outseal_outbox") == 0);
}

TEST_CASE("a retryable failure undoes everything and leaves the key free") {
  const auto store = make_store();
  const auto session = store->session();
  const Reply later{.verdict = Verdict::retryable_failure, .status = 503, .body = "later"};
  const auto first = execute(*session, charge("k1"), charging(*session, later));
  CHECK(first.outcome == Outcome::released);
  CHECK(first.reply->status == 503);
  CHECK(balance(*session, 1) == 100);
  CHECK(execute(*session, charge("k1"), charging(*session, {})).outcome == Outcome::executed);
  CHECK(balance(*session, 1) == 95);
}

TEST_CASE("an exception of the handler passes through and leaves the key free") {
  const auto store = make_store();
  const auto session = store->session();
  CHECK_THROWS_AS(std::ignore = execute(*session, charge("k1"),
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
    return code_of([&] { return execute(*session, operation, charging(*session, {})); }) ==
           ErrorCode::invalid_argument;
  };
  CHECK(refused([](Operation& o) { o.fingerprint = "short"; }));
  CHECK(refused([](Operation& o) { o.fingerprint = std::string(33, 'x'); }));
  CHECK(refused([](Operation& o) { o.key = ""; }));
  CHECK(refused([](Operation& o) { o.key = std::string(256, 'k'); }));
  CHECK(refused([](Operation& o) { o.scope = ""; }));
  CHECK(refused([](Operation& o) { o.principal = std::string(256, 'p'); }));
  CHECK(code_of([&] {
          return execute(*session, charge("k1"), charging(*session, {.status = 1'000}));
        }) == ErrorCode::invalid_argument);
  CHECK(code_of([&] {
          return execute(*session, charge("k1"), charging(*session, {.body = std::string(11, 'b')}),
                         {.body_bytes_max = 10});
        }) == ErrorCode::invalid_argument);
  CHECK(code_of([&] {
          return execute(*session, charge("k1"), charging(*session, {}), {.key_retention = 1s});
        }) == ErrorCode::invalid_config);
  CHECK(count(*session, "outseal_idempotency") == 0);
  CHECK(balance(*session, 1) == 100);
  Transaction tx{*session};
  CHECK(code_of([&] { return execute(*session, charge("k1"), charging(*session, {})); }) ==
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
        const auto result =
            execute(*session, charge(key), charging(*session, {.body = key}), {.wait = 60s});
        if (result.outcome == Outcome::executed) ++executed;
        const bool known =
            result.outcome == Outcome::executed || result.outcome == Outcome::replayed;
        if (!known || result.reply->body != key) ++wrong;
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
        executed +=
            execute(*session, charge(std::to_string(k)), charging(*session, {}), {.wait = 60s})
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

TEST_CASE("while a key is executed its duplicate waits in vain, and what is known is answered") {
  const auto store = make_store();
  const auto holder = store->session();
  const auto other = store->session();
  const Handler answer = [](Transaction&) { return Reply{.body = "stored"}; };
  const auto attempt = [&](const std::string& key) {
    return execute(*other, charge(key), answer, {.wait = 30ms});
  };
  std::ignore = execute(*holder, charge("done"), answer);
  std::ignore = execute(*holder, charge("key"), [&](Transaction&) -> Reply {
    CHECK(attempt("done").outcome == Outcome::replayed);
    CHECK(attempt("done").reply->body == "stored");
    if (store->one_writer()) {  // Who writes cannot be told: no key is said to be in progress.
      CHECK(code_of([&] { return attempt("key"); }) == ErrorCode::conflict);
      CHECK(code_of([&] { return attempt("never sent"); }) == ErrorCode::conflict);
    } else {
      CHECK(attempt("key").outcome == Outcome::in_progress);
      CHECK_FALSE(attempt("key").reply.has_value());
      CHECK(attempt("never sent").outcome == Outcome::executed);
    }
    return {.body = "first"};
  });
  CHECK(attempt("key").reply->body == "first");
}

TEST_CASE("a handler that commits is refused before anything is sent, and its record is stored") {
  const auto store = make_store();
  const auto session = store->session();
  const auto committing = [&](bool swallow) {
    return [&, swallow](Transaction& tx) -> Reply {
      Reply reply = charging(*session, {.body = "paid"})(tx);
      if (!swallow) tx.commit();
      CHECK(code_of([&] { tx.commit(); }) == ErrorCode::invalid_argument);
      return reply;
    };
  };
  for (int again = 0; again < 3; ++again)
    CHECK(code_of([&] { return execute(*session, charge("k1"), committing(false)); }) ==
          ErrorCode::invalid_argument);
  CHECK(balance(*session, 1) == 100);
  CHECK(execute(*session, charge("k1"), committing(true)).outcome == Outcome::executed);
  CHECK(execute(*session, charge("k1"), committing(true)).outcome == Outcome::replayed);
  CHECK(balance(*session, 1) == 95);
  CHECK(count(*session, "outseal_outbox") == 1);
}

TEST_CASE("find looks a key up without running, locking or writing anything") {
  const auto store = make_store();
  const auto session = store->session();
  const auto other = store->session();
  CHECK_FALSE(find(*session, charge("k1")).has_value());
  std::ignore = execute(*session, charge("k1"), [&](Transaction&) -> Reply {
    CHECK_FALSE(find(*other, charge("k1")).has_value());  // Nor does it wait for the handler.
    return {.status = 201, .body = "done"};
  });
  const auto found = find(*other, charge("k1"));
  REQUIRE(found.has_value());
  CHECK(found->outcome == Outcome::replayed);
  CHECK(found->reply->status == 201);
  CHECK(found->reply->body == "done");
  const auto mismatch = find(*other, charge("k1", "amount=6"));
  REQUIRE(mismatch.has_value());
  CHECK(mismatch->outcome == Outcome::mismatch);
  CHECK_FALSE(mismatch->reply.has_value());
  {
    Transaction tx{*session};
    CHECK(find(*session, charge("k1"))->outcome == Outcome::replayed);
  }
  change(*session,
         "UPDATE outseal_idempotency SET state = 'in_progress', expires_at = NULL,"
         " purge_at = NULL, fence = 1");
  CHECK(find(*other, charge("k1"))->outcome == Outcome::in_progress);
  change(*session,
         "UPDATE outseal_idempotency SET state = 'succeeded',"
         " expires_at = {long_ago}, purge_at = {long_ago}");
  CHECK_FALSE(find(*other, charge("k1")).has_value());
  CHECK(count(*session, "outseal_idempotency") == 1);
  CHECK(code_of([&] { return find(*session, charge("")); }) == ErrorCode::invalid_argument);
}

TEST_CASE("keys and principals are any bytes, and a handler may hold what can only be moved") {
  const auto store = make_store();
  const auto session = store->session();
  Operation bytes = charge(std::string{"\xff\0k", 3});
  bytes.principal = "\xc3";
  auto work = [amount = std::make_unique<int>(5), &session](Transaction&) -> Reply {
    *session << "UPDATE account SET balance = balance - :n WHERE id = 1", soci::use(*amount);
    return {};
  };
  CHECK(execute(*session, bytes, work).outcome == Outcome::executed);
  CHECK(execute(*session, bytes, std::move(work)).outcome == Outcome::replayed);
  bytes.key = std::string{"\xff\0j", 3};
  CHECK_FALSE(find(*session, bytes).has_value());
  CHECK(balance(*session, 1) == 95);
}

TEST_CASE("sixteen duplicates of a final failure run the handler once") {
  const auto store = make_store();
  std::atomic<int> runs{0};
  std::atomic<int> executed{0};
  std::atomic<int> replayed{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 16; ++t)
    threads.emplace_back([&, t] {
      const auto session = store->session();
      const auto declining = [&](Transaction& tx) -> Reply {
        ++runs;
        append(tx, paid());
        std::this_thread::sleep_for(200ms);  // The work: the others arrive meanwhile.
        if (t % 2 == 0) CHECK_THROWS(*session << "INSERT INTO account (id, balance) VALUES (1, 1)");
        return {.verdict = Verdict::final_failure, .status = 402, .body = "declined"};
      };
      const auto result = execute(*session, charge("k1"), declining, {.wait = 60s});
      if (result.reply && result.reply->body == "declined")
        ++(result.outcome == Outcome::executed ? executed : replayed);
    });
  for (auto& thread : threads) thread.join();
  CHECK(runs == 1);
  CHECK(executed == 1);
  CHECK(replayed == 15);
  CHECK(count(*store->session(), "outseal_outbox") == 0);
}

TEST_CASE("an expired key is new again and purge removes only expired records") {
  const auto store = make_store();
  const auto session = store->session();
  for (int i = 0; i < 12; ++i)
    std::ignore = execute(*session, charge("k" + std::to_string(i)), charging(*session, {}));
  change(*session,
         "UPDATE outseal_idempotency SET expires_at = {long_ago}, purge_at = {long_ago} WHERE "
         "key_hash IN"
         " (SELECT key_hash FROM outseal_idempotency LIMIT 7)");
  CHECK(purge_operations(*session, {.step_rows = 2, .steps_max = 2}).records == 4);
  CHECK(purge_operations(*session, {.step_rows = 2}).records == 3);
  CHECK(purge_operations(*session).records == 0);
  CHECK(count(*session, "outseal_idempotency") == 5);
  change(*session, "UPDATE outseal_idempotency SET expires_at = {long_ago}, purge_at = {long_ago}");
  change(*session, "DELETE FROM outseal_outbox");
  int executed = 0;
  for (int i = 0; i < 12; ++i)
    executed +=
        execute(*session, charge("k" + std::to_string(i)), charging(*session, {})).outcome ==
        Outcome::executed;
  CHECK(executed == 12);
  CHECK(code_of([&] { purge_operations(*session, {.step_rows = 0}); }) ==
        ErrorCode::invalid_config);
}

TEST_CASE("purge beside execute never lets a key run twice while it counts") {
  const auto store = make_store();
  std::atomic<bool> done{false};
  std::thread purger{[&] {
    const auto session = store->session();
    while (!done) purge_operations(*session, {.step_rows = 1});
  }};
  const auto session = store->session();
  const int keys = static_cast<int>(test::scaled(60));
  int executed = 0;
  for (int k = 0; k < keys; ++k)
    for (int again = 0; again < 3; ++again)
      executed +=
          execute(*session, charge(std::to_string(k)), charging(*session, {}), {.wait = 60s})
              .outcome == Outcome::executed;
  done = true;
  purger.join();
  CHECK(executed == keys);
  CHECK(count(*session, "outseal_outbox") == keys);
}
