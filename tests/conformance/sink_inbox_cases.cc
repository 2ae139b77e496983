// What a SQL inbox can get wrong on any database.
#include <doctest/doctest.h>
#include <soci/soci.h>

#include <array>
#include <thread>

#include "conformance/inbox_fixture.h"
#include "conformance/store_suite.h"
#include "outseal/outseal.h"
#include "sinks/inbox/message.h"
#include "store/migrations.h"

namespace outseal::test {

void InboxUnderTest::execute(const std::string& sql) const {
  const auto connection = connect();
  connection->execute(in_dialect(connection->dialect(), sql));
}

std::unique_ptr<SinkUnderTest> make_sink_under_test() { return make_inbox(); }

namespace {

using Opened = OpenResult::Status;
using Status = DeliveryResult::Status;

EventRow plain_row() {
  EventRow row;
  row.id = event_id_at(Position{1});
  row.topic = "orders";
  row.key = "7";
  row.type = "order.paid";
  row.headers = "{}";
  row.payload = "{}";
  row.content_type = "application/json";
  row.created_at_ms = 1'700'000'000'123;
  return row;
}

void fill(Sink& sink, std::size_t count) {
  REQUIRE(sink.open().status == Opened::opened);
  const auto result = sink.deliver(make_batch(sink, {}, count), 0);
  REQUIRE_MESSAGE(result.status == Status::delivered, result.detail);
}

}  // namespace

TEST_CASE("what a service takes is what was sent, whatever its bytes") {
  const auto inbox = make_inbox();
  const auto sink = inbox->make_large();
  std::string all_bytes;
  for (int byte = 0; byte < 256; ++byte) all_bytes += static_cast<char>(byte);
  const std::string large(3'000'000, '\xff');
  const std::string medium(2'049, '\0');
  std::vector<EventRow> rows(7, plain_row());
  rows[0].payload = all_bytes;
  rows[1].payload = "";
  rows[1].key = "";
  rows[2].payload = large;
  rows[3].payload = medium;
  rows[4].headers = R"({ "a" : "\u0000 \ud83d\ude00", "nested": [1, {"b": 1e400}], "a": "" })";
  rows[5].key = "Schl\u00fcssel \U0001f511 '\"\\%s{},\n\t";
  rows[5].type = "NULL";
  rows[6].created_at_ms = 253'402'300'799'999;
  Batch batch;
  batch.first = Position{1};
  for (std::size_t i = 0; i < rows.size(); ++i) {
    rows[i].id = event_id_at(Position{i + 1});
    REQUIRE_FALSE(sink->encode(rows[i], Position{i + 1}, batch.bytes));
    batch.entries.push_back({Seq{1}, rows[i].id, batch.bytes.size()});
  }
  REQUIRE(sink->open().status == Opened::opened);
  const auto result = sink->deliver(batch, 0);
  REQUIRE_MESSAGE(result.status == Status::delivered, result.detail);
  CHECK(inbox->stored() == batch.bytes);

  const auto session = inbox->session();
  Transaction tx{*session};
  const auto events = take(tx, InboxUnderTest::kStream);
  REQUIRE(events.size() == rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    CAPTURE(i);
    CHECK(events[i].position == Position{i + 1});
    CHECK(events[i].id == rows[i].id);
    CHECK(events[i].topic == rows[i].topic);
    CHECK(events[i].key == rows[i].key);
    CHECK(events[i].type == rows[i].type);
    CHECK(events[i].headers == rows[i].headers);
    CHECK((events[i].payload == rows[i].payload));
    CHECK(events[i].content_type == rows[i].content_type);
    CHECK(events[i].created_at.time_since_epoch().count() == rows[i].created_at_ms);
  }
}

TEST_CASE("what one of the databases could not take is refused before it is sent") {
  const auto sink = make_inbox()->make();
  const std::string nul{"a\0b", 3};
  std::vector<EventRow> rows(11, plain_row());
  rows[0].topic = nul;
  rows[1].key = nul;
  rows[2].type = nul;
  rows[3].content_type = nul;
  rows[4].topic = "\xed\xa0\x80";  // A surrogate.
  rows[5].type = "\xc0\x80";       // NUL, too long.
  rows[6].headers = "[]";
  rows[7].headers = "{\"a\":\"\xff\"}";
  rows[8].headers = "{";
  rows[9].created_at_ms = -1;
  rows[10].created_at_ms = 253'402'300'800'000;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    CAPTURE(i);
    std::string out = "before";
    const auto reason = sink->encode(rows[i], Position{1}, out);
    REQUIRE(reason);
    CHECK_FALSE(reason->empty());
    CHECK(out == "before");
  }
}

TEST_CASE("a frame gives its fields back, and bytes that are none are seen") {
  std::string frame;
  sinks::append_inbox_frame(plain_row(), Position{7}, frame);
  const auto parsed = sinks::parse_inbox_frame(frame);
  REQUIRE(parsed);
  CHECK(parsed->position == Position{7});
  CHECK(parsed->row.payload == "{}");
  for (std::size_t bytes = 0; bytes < frame.size(); ++bytes)
    CHECK_FALSE(sinks::parse_inbox_frame(std::string_view{frame}.substr(0, bytes)));
  CHECK_FALSE(sinks::parse_inbox_frame(frame + "x"));
  frame[0] = 2;
  CHECK_FALSE(sinks::parse_inbox_frame(frame));
}

TEST_CASE("a database without outseal's tables is unusable, and the hint says how to make them") {
  const auto inbox = make_inbox(false);
  const auto sink = inbox->make();
  const auto missing = sink->open();
  CHECK(missing.status == Opened::unusable);
  CHECK(missing.hint.find("outseal-migrate up --db URL") != std::string::npos);
  CHECK_THROWS_AS(sink->read(), Error);
  const auto connection = inbox->connect();
  store::migrate_up(*connection, 3, {});
  const auto old = sink->open();
  CHECK(old.status == Opened::unusable);
  CHECK(old.hint.find("outseal-migrate up --db URL") != std::string::npos);
  store::migrate_up(*connection, store::newest_version(connection->dialect()), {});
  CHECK(sink->open().status == Opened::opened);
  inbox->execute("UPDATE outseal_schema_migration SET version = 99 WHERE version = 5");
  const auto newer = sink->open();
  CHECK(newer.status == Opened::unusable);
  CHECK_FALSE(newer.hint.empty());
}

TEST_CASE("who finds that somebody else has moved the tail looks again and goes on") {
  const auto inbox = make_inbox();
  const auto one = inbox->make();
  const auto other = inbox->make();
  fill(*one, 3);
  REQUIRE(other->open().tail == tail_of(3));
  CHECK(other->deliver(make_batch(*other, tail_of(3), 2), 0).status == Status::delivered);
  const auto result = one->deliver(make_batch(*one, tail_of(3), 4), 0);
  CHECK(result.status == Status::conflict);
  CHECK_FALSE(result.detail.empty());
  const auto opened = one->open();
  CHECK(opened.tail == tail_of(5));
  CHECK(one->deliver(make_batch(*one, tail_of(3), 4), 2).status == Status::delivered);
  CHECK(inbox->stored() == make_batch(*one, {}, 7).bytes);
}

TEST_CASE("of many relays that send the same batch at once, one stores it") {
  const auto inbox = make_inbox();
  constexpr std::size_t kRelays = 6;
  for (std::uint64_t count = 0; count < 40; count += 10) {
    std::array<Status, kRelays> results{};
    std::vector<std::thread> relays;
    for (std::size_t i = 0; i < kRelays; ++i)
      relays.emplace_back([&, i] {
        const auto sink = inbox->make();
        sink->open();
        results[i] = sink->deliver(make_batch(*sink, tail_of(count), 10), 0).status;
      });
    for (std::thread& relay : relays) relay.join();
    CHECK(std::count(results.begin(), results.end(), Status::delivered) == 1);
    CHECK(std::count(results.begin(), results.end(), Status::failed) == 0);
  }
  CHECK(inbox->stored() == make_batch(*inbox->make(), {}, 40).bytes);
}

TEST_CASE("an event whose id came back is rejected, behind those before it") {
  const auto inbox = make_inbox();
  const auto sink = inbox->make();
  fill(*sink, 3);
  const std::string known = event_id_at(Position{5}).to_string();
  inbox->execute("UPDATE outseal_inbox_event SET event_id = '" + known + "' WHERE position = 2");
  const Batch batch = make_batch(*sink, tail_of(3), 4);
  const auto result = sink->deliver(batch, 0);
  CHECK(result.status == Status::rejected);
  CHECK(result.done == 1);
  CHECK(result.detail.find("id came back") != std::string::npos);
  CHECK(result.detail.find("position 2") != std::string::npos);
  CHECK(sink->open().tail == tail_of(4));
  const auto first = sink->deliver(batch, 1);
  CHECK(first.status == Status::rejected);
  CHECK(first.done == 1);
  CHECK(sink->open().tail == tail_of(4));
}

TEST_CASE("an event that somebody else put into the inbox stops the relay, and is not dropped") {
  const auto inbox = make_inbox();
  const auto sink = inbox->make();
  fill(*sink, 3);
  inbox->execute("UPDATE outseal_inbox_event SET position = 5 WHERE position = 2");
  const std::string before = inbox->stored();
  const auto result = sink->deliver(make_batch(*sink, tail_of(3), 4), 0);
  CHECK(result.status == Status::refused);
  CHECK(result.done == 0);
  CHECK(result.detail.find("holds events of this batch already") != std::string::npos);
  CHECK_FALSE(result.hint.empty());
  CHECK(inbox->stored() == before);
  CHECK(sink->open().tail == tail_of(3));
}

TEST_CASE("two streams in one database know nothing of each other") {
  const auto inbox = make_inbox();
  const auto one = inbox->make_large("shop#main");
  const auto other = inbox->make_large("shop#audit");
  fill(*one, 3);
  fill(*other, 5);
  CHECK(one->open().tail == tail_of(3));
  CHECK(other->open().tail == tail_of(5));
  SinkRecord record;
  const auto reader = one->read();
  for (int i = 0; i < 3; ++i) CHECK(reader->next(record));
  CHECK_FALSE(reader->next(record));
}

TEST_CASE("many pages are read back in order, with new events and taken ones in between") {
  const auto inbox = make_inbox();
  const auto sink = inbox->make();
  fill(*sink, 1'200);
  const auto reader = sink->read();
  SinkRecord record;
  std::uint64_t position = 0;
  while (reader->next(record)) {
    CHECK(record.position == Position{++position});
    if (position == 600)
      CHECK(sink->deliver(make_batch(*sink, tail_of(1'200), 30), 0).status == Status::delivered);
  }
  CHECK(position == 1'230);
}

TEST_CASE("a stream whose name is too long is refused when the sink is made") {
  CHECK_THROWS_AS(make_inbox(false)->make_large(std::string(kStreamBytesMax + 1, 's')), Error);
}

}  // namespace outseal::test
