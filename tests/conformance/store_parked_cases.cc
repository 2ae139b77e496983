// Events set aside: parked before or after they were bound, blocked keys, redrive in order.
#include "conformance/store_relay_fixture.h"

using namespace outseal;
using namespace outseal::test;

TEST_CASE("an event that the sink will not take is parked with its key behind it") {
  Fixture f;
  f.append("a", "k");
  f.append("poison", "k");
  f.append("b", "k");
  f.append("c", "other");
  f.append("poison");
  f.append("d");
  CHECK(f.publish().bytes == "1:a;2:c;3:d;");
  CHECK(f.parked() == "2=parked 3=parked 5=parked ");
  f.append("e", "k");  // In a later page, too.
  f.append("f", "other");
  CHECK(f.publish().bytes == "4:f;");
  CHECK(f.parked() == "2=parked 3=parked 5=parked 7=parked ");
  CHECK(f.log.read_journal(Position{1}).bytes == "1:a;2:c;3:d;");
}

TEST_CASE("an event with the nil id is parked: as a sink's last one it would seem to be none") {
  Fixture f;
  f.append("a");
  f.append("b");
  f.execute(
      "UPDATE outseal_outbox SET event_id = '00000000-0000-0000-0000-000000000000'"
      " WHERE seq = 1");
  CHECK(f.publish().bytes == "1:b;");
  CHECK(f.parked() == "1=parked ");
}

TEST_CASE("queued events are redriven in order, before the log, and unblock their key") {
  Fixture f;
  f.append("poison", "k");
  f.append("a", "k");
  f.publish();
  f.execute("UPDATE outseal_outbox SET payload = 'healed' WHERE seq = 1");
  f.execute("UPDATE outseal_parked SET state = 'queued'");
  f.append("b", "k");
  const Batch redrive = f.publish();
  CHECK(redrive.kind == BatchKind::redrive);
  CHECK(redrive.bytes == "1:healed;2:a;");
  CHECK(f.publish().bytes == "3:b;");
  CHECK(f.parked() == "1=redriven 2=redriven ");
  CHECK(f.log.read_journal(Position{2}).bytes == redrive.bytes);
}

TEST_CASE("an event that arrives behind queued ones is queued with them") {
  Fixture f;
  f.append("poison", "k");
  f.publish();
  f.append("a", "k");
  const Batch page = f.page();
  f.execute("UPDATE outseal_outbox SET payload = 'healed' WHERE seq = 1");
  f.execute("UPDATE outseal_parked SET state = 'queued'");
  REQUIRE(f.log.bind(page, std::nullopt, 60s) == WriteOutcome::done);
  f.cursor = page.to;
  CHECK(f.parked() == "1=queued 2=queued ");
  CHECK(f.publish().bytes == "1:healed;2:a;");
}

TEST_CASE("a redrive page that an operator overtook is stale and writes nothing") {
  Fixture f;
  f.append("poison");
  f.publish();
  f.execute("UPDATE outseal_outbox SET payload = 'healed'");
  f.execute("UPDATE outseal_parked SET state = 'queued'");
  const Batch page = f.page();
  f.execute("UPDATE outseal_parked SET state = 'discarded'");
  CHECK(f.log.bind(page, std::nullopt, 60s) == WriteOutcome::stale);
  CHECK(f.number("SELECT count(*) FROM outseal_journal") == 0);
  CHECK(f.number("SELECT bound_position FROM outseal_subscription") == 0);
}

TEST_CASE("a refusal after binding parks the event and unbinds the rest") {
  Fixture f;
  for (const char* payload : {"a", "b", "c"}) f.append(payload, "k");
  f.append("d", "other");
  const Batch batch = f.page();
  REQUIRE(f.log.bind(batch, std::nullopt, 60s) == WriteOutcome::done);
  REQUIRE(f.log.settle(batch, 1, "too odd", f.cursor, 60s) == WriteOutcome::done);
  f.tail = batch.tail_after(1);
  CHECK(f.parked() == "2=parked ");
  CHECK(f.log.read_journal(Position{1}).bytes == "1:a;");
  CHECK(f.publish().bytes == "2:d;");
  CHECK(f.parked() == "2=parked 3=parked ");
  CHECK(f.log.read_journal(Position{2}).bytes == "2:d;");
}

TEST_CASE("a refusal of a batch's first event leaves no journal row of it") {
  Fixture f;
  f.append("a");
  f.append("b");
  const Batch batch = f.page();
  REQUIRE(f.log.bind(batch, std::nullopt, 60s) == WriteOutcome::done);
  REQUIRE(f.log.settle(batch, 0, "no", f.cursor, 60s) == WriteOutcome::done);
  CHECK(f.number("SELECT count(*) FROM outseal_journal") == 0);
  CHECK(f.publish().bytes == "1:b;");
}

TEST_CASE("a refused redrive parks the event again and its key behind it") {
  Fixture f;
  f.append("poison", "k");
  f.append("b", "k");
  f.append("poison");
  f.publish();
  f.execute("UPDATE outseal_outbox SET payload = 'x' WHERE seq <> 2");
  f.execute("UPDATE outseal_parked SET state = 'queued'");
  const Batch batch = f.page();
  REQUIRE(f.log.bind(batch, std::nullopt, 60s) == WriteOutcome::done);
  REQUIRE(f.log.settle(batch, 0, "still no", f.cursor, 60s) == WriteOutcome::done);
  CHECK(f.parked() == "1=parked 2=parked 3=queued ");
  CHECK(f.number("SELECT attempts FROM outseal_parked WHERE seq = 1") == 2);
  CHECK(f.publish().bytes == "1:x;");
}

TEST_CASE("a queued event beyond the cursor waits until its key is read up to it") {
  Fixture f;
  f.append("a", "k");
  f.append("b", "k");
  f.append("poison", "k");
  const Batch batch = f.page();  // a and b get positions, the third is parked.
  REQUIRE(f.log.bind(batch, std::nullopt, 60s) == WriteOutcome::done);
  REQUIRE(f.log.settle(batch, 0, "no", f.cursor, 60s) == WriteOutcome::done);  // Back to behind a.
  f.execute("UPDATE outseal_outbox SET payload = 'healed' WHERE seq = 3");
  f.execute("UPDATE outseal_parked SET state = 'queued'");
  CHECK(f.publish().bytes == "1:a;");  // Not the healed one: b was not read again yet.
  CHECK(f.publish().bytes == "2:b;");
  CHECK(f.publish().bytes == "3:healed;");
}

TEST_CASE("a queued event does not pass an earlier one of its key that is parked") {
  Fixture f;
  f.append("poison", "k");
  f.append("b", "k");
  f.append("c", "other");
  f.publish();
  f.execute("UPDATE outseal_parked SET state = 'queued' WHERE seq = 2");
  CHECK(f.page().entries.empty());
  f.execute("UPDATE outseal_outbox SET payload = 'healed' WHERE seq = 1");
  f.execute("UPDATE outseal_parked SET state = 'queued' WHERE seq = 1");
  CHECK(f.publish().bytes == "2:healed;3:b;");
}

TEST_CASE("a log of nothing but poison is passed, page by page") {
  Fixture f;
  for (int i = 0; i < 25; ++i) f.append("poison", "k" + std::to_string(i));
  f.append("good");
  for (int i = 0; i < 3; ++i) f.publish(1);
  CHECK(f.number("SELECT count(*) FROM outseal_parked") == 25);
  CHECK(f.number("SELECT acked_position FROM outseal_subscription") == 1);
}

TEST_CASE("an event behind a queued one is queued although a later one of its key is parked") {
  Fixture f;
  f.append("a", "k");
  f.append("b", "k");
  f.append("poison", "k");
  const Batch batch = f.page();
  REQUIRE(f.log.bind(batch, std::nullopt, 60s) == WriteOutcome::done);
  REQUIRE(f.log.settle(batch, 0, "no", f.cursor, 60s) == WriteOutcome::done);
  const Batch behind = f.page();  // b stands behind a.
  f.execute("UPDATE outseal_parked SET state = 'queued' WHERE seq = 1");
  REQUIRE(f.log.bind(behind, std::nullopt, 60s) == WriteOutcome::done);
  CHECK(f.parked() == "1=queued 2=queued 3=parked ");
}
