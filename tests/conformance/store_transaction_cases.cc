// What a service may rely on: transactions and append.
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "conformance/store_helpers.h"
#include "conformance/store_suite.h"

using namespace outseal;
using namespace outseal::test;

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

TEST_CASE("kept statements serve many transactions of their session and of no other") {
  const auto store = make_store();
  const auto session = store->session();
  const auto other = store->session();
  StatementCache statements{*session};
  for (int i = 0; i < 3; ++i) {
    Transaction tx{*session, {.statements = &statements}};
    append(tx, paid());
    tx.commit();
  }
  CHECK(
      execute(*session, charge("k"), charging(*session, {}), {.statements = &statements}).outcome ==
      Outcome::executed);
  CHECK(count(*session, "outseal_outbox") == 4);
  CHECK(code_of([&] {
          Transaction tx{*other, {.statements = &statements}};
        }) == ErrorCode::invalid_config);
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
      in_dialect(connection->dialect(),
                 "SELECT event_id, topic, key, type, headers, {payload_bytes}, content_type"
                 " FROM outseal_outbox"));
  REQUIRE(row->step());
  CHECK(row->text(0) == id.to_string());
  CHECK(row->text(1) == "payments");
  CHECK(row->text(2) == "7");
  CHECK(row->text(3) == "paid");
  CHECK(nlohmann::json::parse(row->text(4)) == nlohmann::json{{"trace", "a\"b\\c\n"}});
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
  Event event{.topic = std::string(255, 't'),
              .key = std::string(512, 'k'),
              .type = std::string(255, 'y'),
              .payload = std::string(1U << 20U, ' ')};
  event.payload.front() = '[';
  event.payload.back() = ']';
  for (int i = 0; i < 64; ++i) event.headers["h" + std::to_string(i)] = std::string(250, 'v');
  Transaction tx{*session};
  append(tx, event);
  tx.commit();
  CHECK(count(*session, "outseal_outbox") == 1);
}

TEST_CASE("an event id is used once, and what comes with a second use is undone") {
  const auto store = make_store();
  const auto session = store->session();
  Event event = paid();
  event.id = new_event_id();
  const auto append_it = [&] {
    Transaction tx{*session};
    *session << "UPDATE account SET balance = balance - 5 WHERE id = 1";
    append(tx, event);
    tx.commit();
  };
  append_it();
  CHECK(code_of(append_it) == ErrorCode::constraint);
  CHECK(count(*session, "outseal_outbox") == 1);
  CHECK(balance(*session, 1) == 95);
}

TEST_CASE("nothing is appended or committed after the transaction has ended") {
  const auto store = make_store();
  const auto session = store->session();
  {
    Transaction tx{*session};
    *session << "UPDATE account SET balance = 0 WHERE id = 1";
    *session << "ROLLBACK";  // As the database does by itself after some errors.
    CHECK(code_of([&] { append(tx, paid()); }) == ErrorCode::invalid_argument);
    CHECK(code_of([&] { tx.commit(); }) == ErrorCode::storage);
  }
  {
    Transaction tx{*session};
    tx.commit();
    CHECK(code_of([&] { append(tx, paid()); }) == ErrorCode::invalid_argument);
  }
  CHECK(count(*session, "outseal_outbox") == 0);
  CHECK(balance(*session, 1) == 100);
}

TEST_CASE("a failed commit costs nothing but itself, also when the service rolls it back") {
  const auto store = make_store();
  const auto session = store->session();
  Event event = paid();
  event.id = new_event_id();
  {
    Transaction tx{*session};
    append(tx, event);
    tx.commit();
  }
  {
    Transaction first{*session};
    try {
      append(first, event);
      first.commit();
      FAIL("an event id was used twice");
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::constraint);
      CHECK(error.table() == in_dialect(*session, "outseal_outbox"));
    }
    *session << "ROLLBACK";
    Transaction second{*session};
    *session << "UPDATE account SET balance = 0 WHERE id = 1";
    append(second, paid());
    first.rollback();  // Ends nothing but its own.
    second.commit();
  }
  CHECK(count(*session, "outseal_outbox") == 2);
  CHECK(balance(*session, 1) == 0);
}

TEST_CASE("an old transaction never ends a newer one of its session") {
  const auto store = make_store();
  const auto session = store->session();
  auto old = std::make_unique<Transaction>(*session);
  append(*old, paid());
  *session << "ROLLBACK";
  Transaction newer{*session};
  append(newer, paid());
  CHECK(code_of([&] { append(*old, paid()); }) == ErrorCode::invalid_argument);
  CHECK(code_of([&] { old->commit(); }) == ErrorCode::storage);
  old.reset();
  append(newer, paid());
  newer.commit();
  CHECK(count(*session, "outseal_outbox") == 2);
}

TEST_CASE("rollback undoes all, at once and only once") {
  const auto store = make_store();
  const auto session = store->session();
  {
    Transaction tx{*session};
    *session << "UPDATE account SET balance = 0 WHERE id = 1";
    append(tx, paid());
    tx.rollback();
    tx.rollback();
    CHECK(code_of([&] { append(tx, paid()); }) == ErrorCode::invalid_argument);
    CHECK(code_of([&] { tx.commit(); }) == ErrorCode::storage);
    *session << "UPDATE account SET balance = 50 WHERE id = 1";  // The session is free.
    Transaction next{*session};
    append(next, paid());
    next.commit();
    CHECK(code_of([&] { next.rollback(); }) == ErrorCode::invalid_argument);
  }
  session->begin();
  Transaction joined = Transaction::join(*session);
  append(joined, paid());
  CHECK(code_of([&] { joined.rollback(); }) == ErrorCode::invalid_argument);
  session->commit();
  CHECK(count(*session, "outseal_outbox") == 2);
  CHECK(balance(*session, 1) == 50);
}

TEST_CASE("a transaction that the service began after a ROLLBACK is neither committed nor undone") {
  const auto store = make_store();
  const auto session = store->session();
  {
    Transaction tx{*session};
    append(tx, paid());
    *session << "ROLLBACK";
    *session << "BEGIN";
    *session << "UPDATE account SET balance = 95 WHERE id = 1";
    CHECK(code_of([&] { tx.commit(); }) == ErrorCode::storage);
    *session << "UPDATE account SET balance = 90 WHERE id = 2";
  }
  *session << "COMMIT";
  CHECK(balance(*session, 1) == 95);
  CHECK(balance(*session, 2) == 90);
  CHECK(count(*session, "outseal_outbox") == 0);
}

TEST_CASE("a session that is closed or reconnected ends its transactions and stays usable") {
  const auto store = make_store();
  for (const bool kept : {false, true}) {
    CAPTURE(kept);
    const auto session = store->session();
    {
      std::optional<StatementCache> statements;
      if (kept) statements.emplace(*session);
      Transaction tx{*session, {.statements = kept ? &*statements : nullptr}};
      *session << "UPDATE account SET balance = 0 WHERE id = 1";
      append(tx, paid());
      session->reconnect();
      CHECK(code_of([&] { append(tx, paid()); }) == ErrorCode::unreachable);
      CHECK(code_of([&] { tx.commit(); }) == ErrorCode::unreachable);
    }
    {
      Transaction tx{*session};
      append(tx, paid());
      session->reconnect();
    }
    {
      Transaction ended{*session};
      append(ended, paid());
      *session << "ROLLBACK";
      CHECK(code_of([&] { ended.commit(); }) == ErrorCode::storage);
      session->begin();
      *session << "UPDATE account SET balance = 0 WHERE id = 1";
      session->reconnect();
    }
    {
      session->begin();
      Transaction joined = Transaction::join(*session);
      append(joined, paid());
      session->reconnect();
      CHECK(code_of([&] { append(joined, paid()); }) == ErrorCode::unreachable);
    }
    Transaction tx{*session};  // Nothing holds the database any more.
    append(tx, paid());
    tx.commit();
  }
  const auto session = store->session();
  CHECK(count(*session, "outseal_outbox") == 2);
  CHECK(balance(*session, 1) == 100);
  CHECK(code_of([&] {
          return execute(*session, charge("k"), [&](Transaction& tx) {
            append(tx, paid());
            session->reconnect();
            return Reply{};
          });
        }) == ErrorCode::unreachable);
  CHECK(count(*session, "outseal_outbox") == 2);
}

TEST_CASE("statements of a session that was reconnected are refused") {
  const auto store = make_store();
  const auto session = store->session();
  const auto other = store->session();
  StatementCache statements{*other};  // As if `session` had been leased another connection.
  CHECK(code_of([&] {
          Transaction tx{*session, {.statements = &statements}};
        }) == ErrorCode::invalid_config);
}

TEST_CASE("a joined transaction writes into no other one of its session") {
  const auto store = make_store();
  const auto session = store->session();
  const auto refused = [](Transaction& tx) {
    return code_of([&] { append(tx, paid()); }) == ErrorCode::invalid_argument &&
           code_of([&] { return receive(tx, "s", new_event_id()); }) == ErrorCode::invalid_argument;
  };
  for (int i = 0; i < 2; ++i) {  // The first time nobody has watched the session's BEGIN.
    for (const char* end : {"ROLLBACK", "COMMIT"}) {
      *session << "BEGIN";
      *session << "UPDATE account SET balance = 100 WHERE id = 1";
      Transaction joined = Transaction::join(*session);
      *session << "SAVEPOINT a";
      append(joined, paid());
      *session << "ROLLBACK TO a";
      append(joined, paid());
      *session << end;
      CHECK(refused(joined));
      *session << "BEGIN";
      CHECK(refused(joined));
      Transaction next = Transaction::join(*session);
      append(next, paid());
      CHECK(refused(joined));
      *session << "COMMIT";
    }
  }
  CHECK(count(*session, "outseal_outbox") == 6);
  std::optional<Transaction> first{std::in_place, *session};
  Transaction joined = Transaction::join(*session);
  append(joined, paid());
  first->commit();
  Transaction second{*session};
  CHECK(refused(joined));
  second.commit();
  CHECK(count(*session, "outseal_outbox") == 7);
}

TEST_CASE("no savepoint of a handler's own stands in for that of execute()") {
  const auto store = make_store();
  const auto session = store->session();
  const auto result = execute(*session, charge("k"), [&](Transaction& tx) {
    *session << "UPDATE account SET balance = 0 WHERE id = 1";
    append(tx, paid());
    *session << "SAVEPOINT outseal_handler";
    return Reply{.verdict = Verdict::final_failure, .status = 402};
  });
  CHECK(result.outcome == Outcome::executed);
  CHECK(balance(*session, 1) == 100);
  CHECK(count(*session, "outseal_outbox") == 0);
}
