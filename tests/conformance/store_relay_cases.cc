// What the relay may rely on: lease and fence, pages, the intent, retention.
#include <tuple>

#include "conformance/store_helpers.h"
#include "conformance/store_relay_fixture.h"
#include "store/pause.h"
#include "store/retention.h"
#include "store/status.h"

using namespace outseal;
using namespace outseal::test;

TEST_CASE("a subscription keeps the sink, topics and source that it was declared with") {
  Fixture f;
  const auto redeclare = [&](SubscriptionSpec spec) {
    try {
      f.log.declare(spec);
      return true;
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::refused);
      CHECK_FALSE(error.hint().empty());
      return false;
    }
  };
  CHECK(redeclare({.name = "main", .topics = {"*"}, .sink = "file:x", .event_source = {}}));
  CHECK_FALSE(redeclare({.name = "main", .topics = {"*"}, .sink = "file:y", .event_source = {}}));
  CHECK_FALSE(redeclare({.name = "main", .topics = {"a"}, .sink = "file:x", .event_source = {}}));
  CHECK_FALSE(redeclare({.name = "main", .topics = {"*"}, .sink = "file:x", .event_source = "/z"}));
  CHECK(sql::find_subscription(*f.connection, "main")->event_source == "/outseal/main");
  CHECK_FALSE(sql::find_subscription(*f.connection, "other").has_value());
  CHECK_THROWS_AS(f.log.declare({.name = "a b", .topics = {}, .sink = "", .event_source = {}}),
                  Error);
}

TEST_CASE("a lease is denied while it lasts and taken when it has run out") {
  Fixture f;
  SubscriptionLog other{*f.connection, "main", f.sink};
  const auto denied = other.acquire("other", 60s);
  CHECK_FALSE(denied.granted);
  CHECK(denied.holder == "me");
  CHECK(denied.remaining > 0ms);
  CHECK(f.log.renew(1ms) == WriteOutcome::done);
  while (!other.acquire("other", 60s).granted) {
  }
  CHECK(f.log.renew(60s) == WriteOutcome::fenced);
}

TEST_CASE("who leads next learns what the sink said with the last acknowledgement") {
  Fixture f;
  f.append("a");
  f.append("b");
  const Batch page = f.page();
  REQUIRE(f.log.bind(page, std::nullopt, 60s) == WriteOutcome::done);
  REQUIRE(f.log.acknowledge({page.tail_after(2), page.first, "where 2 ends"}, 60s) ==
          WriteOutcome::done);
  f.log.release();
  SubscriptionLog other{*f.connection, "main", f.sink};
  CHECK(other.acquire("other", 60s).state.mark == "where 2 ends");
}

TEST_CASE("a released lease is free at once") {
  Fixture f;
  f.log.release();
  SubscriptionLog other{*f.connection, "main", f.sink};
  CHECK(other.acquire("other", 60s).granted);
}

TEST_CASE("a relay that lost its lease can write nothing") {
  Fixture f;
  f.append("a");
  const Batch page = f.page();
  REQUIRE(f.log.bind(page, std::nullopt, 1ms) == WriteOutcome::done);
  SubscriptionLog other{*f.connection, "main", f.sink};
  while (!other.acquire("other", 60s).granted) {
  }
  const auto version = f.number("SELECT version FROM outseal_subscription");
  Cursor cursor;
  CHECK(f.log.acknowledge({page.tail_after(1), page.first, ""}, 60s) == WriteOutcome::fenced);
  CHECK(f.log.settle(page, 0, "no", cursor, 60s) == WriteOutcome::fenced);
  CHECK(f.log.bind(page, std::nullopt, 60s) == WriteOutcome::fenced);
  CHECK(f.log.renew(60s) == WriteOutcome::fenced);
  f.log.release();
  CHECK(f.number("SELECT version FROM outseal_subscription") == version);
  CHECK(f.number("SELECT count(*) FROM outseal_parked") == 0);
  CHECK(f.number("SELECT lease_until FROM outseal_subscription") > 0);
}

TEST_CASE("pages follow the log in order, with dense positions") {
  Fixture f;
  for (const char* payload : {"a", "b", "c", "d", "e"}) f.append(payload);
  const Batch first = f.publish(2);
  CHECK(first.bytes == "1:a;2:b;");
  CHECK(f.publish(2).bytes == "3:c;4:d;");
  const Batch last = f.publish(2);
  CHECK(last.bytes == "5:e;");
  CHECK(last.first == Position{5});
  CHECK(f.page().entries.empty());
  if (f.store->one_writer()) CHECK(f.page().to == f.cursor);
}

TEST_CASE("a page ends at its byte limit") {
  Fixture f;
  for (int i = 0; i < 10; ++i) f.append(std::string(100, 'x'));
  CHECK(f.log.read_page(f.cursor, f.tail, {.events_max = 100, .bytes_max = 250}).size() == 3);
}

TEST_CASE("topics are filtered and the cursor passes what does not match") {
  Fixture f{{"orders.*", "mail"}};
  f.append("a", "", "orders.new");
  f.append("b", "", "stock");
  f.append("c", "", "mail");
  f.append("d", "", "mailbox");
  const Batch batch = f.publish();
  CHECK(batch.bytes == "1:a;2:c;");
  CHECK(f.page().entries.empty());
  CHECK(store::read_status(*f.connection).at(0).waiting == 0);
  if (!f.store->one_writer()) return;
  CHECK(f.page().to == f.cursor);
  CHECK(f.number("SELECT after_seq FROM outseal_subscription") == 4);
  CHECK(f.number("SELECT acked_seq FROM outseal_subscription") == 4);
}

TEST_CASE("status counts what waits, by events and not by their numbers") {
  Fixture f;
  const auto waiting = [&] { return store::read_status(*f.connection).at(0).waiting; };
  CHECK(waiting() == 0);
  for (const char* payload : {"a", "b", "c", "d", "e"}) f.append(payload);
  CHECK(waiting() == 5);
  f.publish(2);
  CHECK(waiting() == 3);
  f.publish();
  CHECK(waiting() == 0);
  CHECK_FALSE(store::read_status(*f.connection).at(0).oldest_waiting_ms.has_value());
  f.append("f");
  CHECK(waiting() == 1);
  CHECK(store::read_status(*f.connection).at(0).oldest_waiting_ms.has_value());
}

TEST_CASE("a bound batch is read again with the same bytes and the right predecessor") {
  Fixture f;
  for (const char* payload : {"a", "b", "c"}) f.append(payload);
  const Batch first = f.publish(2);
  const Batch second = f.page();
  REQUIRE(f.log.bind(second, std::nullopt, 60s) == WriteOutcome::done);
  f.append("later");
  f.take_lead();
  CHECK(f.state.bound == Position{3});
  CHECK(f.state.acked == first.tail_after(2));
  const Batch again = f.log.read_journal(Position{3});
  CHECK(again.bytes == second.bytes);
  CHECK(again.hash == second.hash);
  CHECK(again.prior == first.tail_after(2));
  CHECK(again.to.after_seq == second.to.after_seq);
  CHECK_THROWS_AS(f.log.read_journal(Position{4}), Error);
}

TEST_CASE("a bound event that was changed or removed is refused, not guessed") {
  Fixture f;
  f.append("a");
  f.append("b");
  REQUIRE(f.log.bind(f.page(), std::nullopt, 60s) == WriteOutcome::done);
  f.execute("UPDATE outseal_outbox SET payload = 'z' WHERE seq = 1");
  CHECK_THROWS_AS(f.log.read_journal(Position{1}), Error);
  f.execute("UPDATE outseal_outbox SET payload = 'a' WHERE seq = 1");
  CHECK(f.log.read_journal(Position{1}).size() == 2);
  f.execute("DELETE FROM outseal_outbox WHERE seq = 2");
  CHECK_THROWS_AS(f.log.read_journal(Position{1}), Error);
}

TEST_CASE("retention removes what is acknowledged and old, never anything else") {
  Fixture f;
  f.appends_old = true;
  for (int i = 0; i < 5; ++i) f.append("old" + std::to_string(i));
  f.append("poison", "k");
  f.publish(3);
  f.publish(3);
  f.append("unpublished");
  const store::RetentionOptions options{.events = 1h, .journal = 0ms, .step_rows = 2};
  CHECK(store::retain_step(*f.connection, "main", {.events = 0ms, .journal = 0ms}) == 0);
  CHECK(store::retain_step(*f.connection, "main", options) == 2);
  CHECK(store::retain_step(*f.connection, "main", options) == 2);
  CHECK(store::retain_step(*f.connection, "main", options) == 1);
  CHECK(store::retain_step(*f.connection, "main", options) == 0);
  CHECK(f.number("SELECT count(*) FROM outseal_outbox") == 2);
  CHECK(f.publish().bytes == "6:unpublished;");
  CHECK(store::retain_step(*f.connection, "main", options) == 1);
  f.appends_old = false;
  f.append("young");
  f.publish();
  CHECK(store::retain_step(*f.connection, "main", options) == 0);
}

TEST_CASE("retention waits for the slowest subscription and for events in flight") {
  Fixture f;
  f.appends_old = true;
  f.append("a");
  SubscriptionLog slow{*f.connection, "slow", f.sink};
  slow.declare({.name = "slow", .topics = {"*"}, .sink = "file:y", .event_source = {}});
  f.publish();
  const store::RetentionOptions options{.events = 1h, .journal = 0ms, .step_rows = 10};
  CHECK(store::retain_step(*f.connection, "main", options) == 0);
  const auto lease = slow.acquire("me", 60s);
  REQUIRE(lease.granted);
  const Batch batch = slow.read_page(lease.state.cursor, {}, {});
  REQUIRE(slow.bind(batch, std::nullopt, 60s) == WriteOutcome::done);
  CHECK(store::retain_step(*f.connection, "main", options) == 0);
  REQUIRE(slow.acknowledge({batch.tail_after(1), batch.first, ""}, 60s) == WriteOutcome::done);
  CHECK(store::retain_step(*f.connection, "main", options) == 1);
}

TEST_CASE("journal retention keeps the last acknowledged batch") {
  Fixture f;
  for (int i = 0; i < 4; ++i) {
    f.append("x");
    f.publish();
  }
  f.execute("UPDATE outseal_journal SET acked_at = {long_ago}");
  const store::RetentionOptions options{.events = 0ms, .journal = 1h, .step_rows = 10};
  CHECK(store::retain_step(*f.connection, "main", options) == 3);
  f.take_lead();
  f.append("y");
  const Batch batch = f.publish();
  CHECK(batch.prior.position == Position{4});
  CHECK(f.log.read_journal(Position{5}).prior == batch.prior);
}

TEST_CASE("a subscription that has read nothing may be declared anew, later it may not") {
  Fixture f;
  const SubscriptionSpec other{
      .name = "main", .topics = {"a"}, .sink = "file:y", .event_source = "/z"};
  CHECK_THROWS_AS(f.log.declare(other), Error);  // Somebody leads it.
  f.log.release();
  CHECK_FALSE(f.log.declare(other));
  CHECK(sql::find_subscription(*f.connection, "main")->sink == "file:y");
  f.take_lead();
  f.append("x", "", "a");
  f.publish();
  f.log.release();
  CHECK_THROWS_AS(
      f.log.declare({.name = "main", .topics = {"a"}, .sink = "file:w", .event_source = "/z"}),
      Error);
}

TEST_CASE("a lease that a clock set back has stretched locks nobody out") {
  Fixture f;
  SubscriptionLog other{*f.connection, "main", f.sink};
  CHECK_FALSE(other.acquire("other", 60s).granted);
  f.execute("UPDATE outseal_subscription SET lease_until = lease_until + {day}");
  CHECK(other.acquire("other", 60s).granted);
}

TEST_CASE("numbers go on after retention emptied the outbox") {
  Fixture f;
  f.appends_old = true;
  f.append("a");
  f.append("b");
  f.publish();
  CHECK(store::retain_step(*f.connection, "main", {.events = 1h, .journal = 0ms}) == 2);
  f.append("c");
  CHECK(f.number("SELECT seq FROM outseal_outbox") == 3);
  CHECK(f.publish().bytes == "3:c;");
}

TEST_CASE("positions and numbers pass 2^31 and 2^53") {
  Fixture f;
  f.append("a");
  f.publish();
  constexpr std::int64_t kFar = 9'007'199'254'740'993;  // 2^53 + 1
  f.store->use_numbers_up_to(kFar);
  f.append("b");
  f.cursor.after_seq = Seq{kFar - 1};
  f.tail.position = Position{static_cast<std::uint64_t>(kFar)};
  const Batch batch = f.page();
  REQUIRE(batch.size() == 1);
  CHECK(batch.entries[0].seq == Seq{kFar + 1});
  REQUIRE(f.log.bind(batch, std::nullopt, 60s) == WriteOutcome::done);
  CHECK(f.number("SELECT bound_position FROM outseal_subscription") == kFar + 1);
  CHECK(f.log.read_journal(Position{static_cast<std::uint64_t>(kFar) + 1}).bytes ==
        std::to_string(kFar + 1) + ":b;");
}

TEST_CASE("every payload is read as it was appended, byte for byte") {
  Fixture f;
  const std::vector<std::string> payloads{R"({"path":"C:\\new","price":"5 \u20ac"})",
                                          "",
                                          "\\",
                                          R"(\x7b7d)",
                                          R"(\x)",
                                          R"(\xyz)",
                                          "\xc3\xa4\n\ttext",
                                          std::string{"a\0b", 3},
                                          std::string(5'000, 'l')};
  std::string expected;
  int position = 0;
  for (const char* type : {"application/json", "text/plain", "application/octet-stream"}) {
    Transaction tx{*f.session};
    for (const std::string& payload : payloads) {
      outseal::append(tx, {.topic = "t", .type = "x", .payload = payload, .content_type = type});
      expected += std::to_string(++position) + ":" + payload + ";";
    }
    tx.commit();
  }
  {
    const std::string binary{"\xff\x00", 2};
    Transaction tx{*f.session};
    const Event event{
        .topic = "t", .type = "x", .payload = binary, .content_type = "application/octet-stream"};
    outseal::append(tx, event);
    tx.commit();
    expected += std::to_string(++position) + ":" + binary + ";";
  }
  CHECK(f.publish().bytes == expected);
}

TEST_CASE("the tables refuse what cannot be true, whoever writes it") {
  Fixture f;
  for (const char* payload : {"a", "poison", "poison"}) f.append(payload);
  f.publish();
  std::ignore = execute(*f.session, charge("k1"), [](Transaction&) { return Reply{}; });
  CHECK(store::pause(*f.connection, "main", {.actor = "me", .reason = "a test"}));
  for (const char* statement :
       {"UPDATE outseal_subscription SET acked_position = bound_position + 1",
        "UPDATE outseal_subscription SET state = 'odd'",
        "UPDATE outseal_parked SET state = 'redriven'", "UPDATE outseal_parked SET position = seq",
        "UPDATE outseal_parked SET state = 'redriven', position = 7",  // Two at one position.
        "UPDATE outseal_idempotency SET state = 'odd', expires_at = NULL, purge_at = NULL",
        "INSERT INTO outseal_idempotency SELECT * FROM outseal_idempotency",
        "UPDATE outseal_idempotency SET body = NULL",
        "UPDATE outseal_idempotency SET purge_at = NULL",
        "UPDATE outseal_idempotency SET expires_at = NULL",
        "UPDATE outseal_idempotency SET state = 'in_progress'",
        "UPDATE outseal_idempotency SET scope = ''", "UPDATE outseal_idempotency SET attempts = 0",
        "UPDATE outseal_idempotency SET fingerprint = substr(fingerprint, 2)",
        "UPDATE outseal_idempotency SET key_hash = substr(key_hash, 2)",
        "UPDATE outseal_audit SET actor = 'another'", "DELETE FROM outseal_audit",
        "INSERT INTO outseal_audit (at, actor, act, subject, detail, prev_hash, hash)"
        " SELECT at, actor, act, subject, detail, prev_hash, hash FROM outseal_audit"}) {
    INFO(statement);
    CHECK(code_of([&] { f.execute(statement); }) == ErrorCode::constraint);
  }
  if (f.connection->dialect() == "postgresql")
    CHECK(code_of([&] { f.execute("TRUNCATE outseal_audit"); }) == ErrorCode::constraint);
}
