// What deliver() and open() make of other writers, lost messages, and messages too large.
#include <doctest/doctest.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <thread>

#include "conformance/nats_fixture.h"
#include "support/scale.h"

namespace outseal::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using Opened = OpenResult::Status;
using Status = DeliveryResult::Status;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::unique_ptr<Sink> open_stream(const std::string& stream, const std::string& parameters = {}) {
  auto sink = make_nats(shared_nats_server().url() + "/" + stream + parameters);
  const OpenResult opened = sink->open();
  REQUIRE_MESSAGE(opened.status == Opened::opened, opened.detail);
  return sink;
}

/// Delivers the events after `stored` up to `upto`.
DeliveryResult send(Sink& sink, std::uint64_t stored, std::uint64_t upto) {
  return sink.deliver(make_batch(sink, tail_of(stored), upto - stored), 0);
}

NatsClient stranger() { return NatsClient{shared_nats_server().url()}; }

}  // namespace

TEST_CASE("a message of somebody else is never written behind") {
  if (skipped_without_nats()) return;
  const std::string stream = fresh_stream();
  const auto sink = open_stream(stream);
  CHECK(send(*sink, 0, 5).status == Status::delivered);
  stranger().publish(stream + ".orders.x", "intruder");
  const DeliveryResult result = send(*sink, 5, 50);
  CHECK(result.status == Status::conflict);
  CHECK(result.done == 0);
  CHECK(positions_in(*sink) == std::vector<std::uint64_t>{1, 2, 3, 4, 5, 0});
  const OpenResult opened = sink->open();
  CHECK(opened.status == Opened::refused);
  CHECK(contains(opened.detail, stream));
  CHECK(contains(opened.hint, "shared=true"));
  // Not without looking again:
  CHECK(send(*sink, 5, 6).status == Status::retry_later);
}

TEST_CASE("nothing is written behind what somebody else has put into the empty stream") {
  if (skipped_without_nats()) return;
  const std::string stream = fresh_stream();
  const auto sink = open_stream(stream);
  stranger().publish(stream + ".orders.x", "intruder");
  const DeliveryResult result = send(*sink, 0, 5);
  CHECK(result.status == Status::conflict);
  CHECK(result.done == 0);
  CHECK(stranger().state_of(stream).last_sequence == 1);
  CHECK(positions_in(*sink) == std::vector<std::uint64_t>{0});
  CHECK(sink->open().status == Opened::refused);
}

TEST_CASE("each message names its stream and what stands before it") {
  if (skipped_without_nats()) return;
  const std::string stream = fresh_stream();
  const auto sink = open_stream(stream);
  CHECK(send(*sink, 0, 3).status == Status::delivered);
  CHECK(send(*sink, 3, 5).status == Status::delivered);
  for (std::uint64_t sequence = 1; sequence <= 5; ++sequence) {
    CAPTURE(sequence);
    auto headers = stranger().headers_of(stream, sequence);
    CHECK(headers["Nats-Msg-Id"] == event_id_at(Position{sequence}).to_string());
    CHECK(headers["Nats-Expected-Stream"] == stream);
    CHECK(headers["Nats-Expected-Last-Sequence"] == std::to_string(sequence - 1));
    // Not at the begin of a delivery: a server that was started again may have forgotten it.
    const bool follows = sequence != 1 && sequence != 4;
    CHECK(headers["Nats-Expected-Last-Msg-Id"] ==
          (follows ? event_id_at(Position{sequence - 1}).to_string() : ""));
  }
}

TEST_CASE("a zombie that comes back after the duplicate window stores nothing") {
  if (skipped_without_nats()) return;
  const std::string stream = fresh_stream(R"({"duplicate_window":100000000})");
  const auto zombie = open_stream(stream);
  CHECK(send(*zombie, 0, 5).status == Status::delivered);
  const auto leader = open_stream(stream);
  CHECK(send(*leader, 5, 20).status == Status::delivered);
  std::this_thread::sleep_for(400ms);
  CHECK(send(*zombie, 5, 20).status == Status::conflict);
  CHECK(positions_in(*leader) == positions_to(20));
  CHECK(zombie->open().tail == tail_of(20));
}

TEST_CASE("of two senders of the same events within the duplicate window one stores them") {
  if (skipped_without_nats()) return;
  const std::string stream = fresh_stream();
  const auto zombie = open_stream(stream);
  const auto leader = open_stream(stream);
  CHECK(send(*leader, 0, 20).status == Status::delivered);
  CHECK(send(*zombie, 0, 20).status == Status::conflict);
  CHECK(positions_in(*leader) == positions_to(20));
}

TEST_CASE("a duplicate of an event that is gone does not count as stored") {
  if (skipped_without_nats()) return;
  const std::string stream = fresh_stream();
  const auto sink = open_stream(stream);
  CHECK(send(*sink, 0, 3).status == Status::delivered);
  stranger().purge_stream(stream);  // The server still remembers the ids.
  sink->resume_from(tail_of(2), stream + ":3");
  REQUIRE(sink->open().tail == tail_of(2));
  CHECK(send(*sink, 2, 3).status == Status::conflict);
}

TEST_CASE("an event too large for server or stream is refused, what precedes it is stored") {
  if (skipped_without_nats()) return;
  std::string url;
  const NatsServer server{{.settings = {"max_payload: 4096"}}};
  SUBCASE("max_payload of the server") { url = server.url() + "/EVENTS?create=true"; }
  SUBCASE("max_msg_size of the stream") {
    url = shared_nats_server().url() + "/" + fresh_stream(R"({"max_msg_size":4096})");
  }
  const auto sink = make_nats(url);
  REQUIRE(sink->open().status == Opened::opened);
  Batch batch = make_batch(*sink, {}, 3);
  const Batch large = make_batch(*sink, tail_of(3), 1, 4'096);
  const Batch rest = make_batch(*sink, tail_of(4), 2);
  for (const Batch* part : {&large, &rest}) {
    for (std::size_t i = 0; i < part->size(); ++i) {
      batch.bytes += part->encoded(i);
      batch.entries.push_back(part->entries[i]);
      batch.entries.back().end = batch.bytes.size();
    }
  }
  const DeliveryResult result = sink->deliver(batch, 0);
  CHECK(result.status == Status::rejected);
  CHECK(result.done == 3);
  CHECK(contains(result.hint, "max_payload"));
  CHECK(positions_in(*sink) == positions_to(3));
  CHECK(send(*sink, 3, 5).status == Status::delivered);
  CHECK(positions_in(*sink) == positions_to(5));
}

TEST_CASE("an event about as large as the stream takes is stored or refused, never stuck") {
  if (skipped_without_nats()) return;
  const auto sink = open_stream(fresh_stream(R"({"max_msg_size":4096})"));
  std::size_t stored = 0;
  for (std::size_t bytes = 3'000; bytes < 4'096; ++bytes) {
    const DeliveryResult result = sink->deliver(make_batch(*sink, tail_of(stored), 1, bytes), 0);
    // The server must agree with the sink about every size: it would not acknowledge otherwise.
    if (result.status == Status::rejected) break;
    REQUIRE_MESSAGE(result.status == Status::delivered, result.detail);
    ++stored;
    if (bytes < 3'400) bytes += 10;
  }
  CHECK(stored > 0);
  CHECK(positions_in(*sink).size() == stored);
}

TEST_CASE("a stream that lost its last messages shows the tail that is left") {
  if (skipped_without_nats()) return;
  NatsServer server;
  const auto sink = make_nats(server.url() + "/EVENTS?create=true");
  REQUIRE(sink->open().status == Opened::opened);
  CHECK(send(*sink, 0, 5).status == Status::delivered);
  server.kill_hard();
  const fs::path backup = server.folder() / "backup";
  fs::copy(server.store(), backup, fs::copy_options::recursive);
  server.start();
  REQUIRE(sink->open().tail == tail_of(5));
  const DeliveryResult result = send(*sink, 5, 30);
  CHECK(result.mark == "EVENTS:30");
  server.kill_hard();
  // As if the machine had lost its power before the files were synced.
  fs::remove_all(server.store());
  fs::rename(backup, server.store());
  server.start();
  sink->resume_from(tail_of(30), result.mark);
  CHECK(sink->open().tail == tail_of(5));
  CHECK(send(*sink, 5, 30).status == Status::delivered);
  CHECK(positions_in(*sink) == positions_to(30));
}

TEST_CASE("a stream that was made anew is empty, whatever the database remembers") {
  if (skipped_without_nats()) return;
  const std::string stream = fresh_stream();
  const auto sink = open_stream(stream);
  CHECK(send(*sink, 0, 5).status == Status::delivered);
  stranger().delete_stream(stream);
  CHECK(send(*sink, 5, 6).status == Status::retry_later);
  CHECK(sink->open().status == Opened::unusable);
  stranger().create_stream(stream);
  sink->resume_from(tail_of(5), stream + ":5");
  CHECK(sink->open().tail == Tail{});
  CHECK(send(*sink, 0, 6).status == Status::delivered);
}

TEST_CASE("when the last message has expired, the mark tells which one it was") {
  if (skipped_without_nats()) return;
  const std::string stream = fresh_stream(R"({"max_age":200000000,"duplicate_window":100000000})");
  const auto sink = open_stream(stream);
  const DeliveryResult result = send(*sink, 0, 3);
  CHECK(result.mark == stream + ":3");
  wait_until("the messages to expire", [&] { return stranger().state_of(stream).messages == 0; });
  SUBCASE("noted") {
    sink->resume_from(tail_of(3), result.mark);
    CHECK(sink->open().tail == tail_of(3));
    CHECK(send(*sink, 3, 4).mark == stream + ":4");
  }
  SUBCASE("not noted") {
    for (const char* const mark : {"", ":2", ":x", "OTHER:3"}) {
      sink->resume_from(tail_of(3), *mark == ':' ? stream + mark : mark);
      const OpenResult opened = sink->open();
      CHECK(opened.status == Opened::refused);
      CHECK(contains(opened.hint, "max_age"));
    }
  }
}

TEST_CASE("a delivery whose acknowledgements were lost is marked by one of nothing") {
  if (skipped_without_nats()) return;
  const std::string stream = fresh_stream();
  CHECK(send(*open_stream(stream), 0, 3).status == Status::delivered);
  const auto sink = open_stream(stream);
  const DeliveryResult result = sink->deliver(make_batch(*sink, {}, 3), 3);
  CHECK(result.status == Status::delivered);
  CHECK(result.done == 3);
  CHECK(result.mark == stream + ":3");
}

TEST_CASE("a message that the server took back for its account's limit is sent again") {
  if (skipped_without_nats()) return;
  NatsServer server{{.settings = {R"(accounts { small: {
      jetstream: { max_mem: 0, max_store: 20000 }, users: [ { user: me, password: pw } ] } })"}}};
  const auto sink = make_nats("nats://me:pw@" + server.address() + "/EVENTS?create=true");
  REQUIRE(sink->open().status == Opened::opened);
  const DeliveryResult full = send(*sink, 0, 60);
  CHECK(full.status != Status::delivered);
  const OpenResult opened = sink->open();
  REQUIRE_MESSAGE(opened.status == Opened::opened, opened.detail);
  CHECK(opened.tail == tail_of(full.done));
  // The first message names no event before it, so it may be just short enough.
  const DeliveryResult again = sink->deliver(make_batch(*sink, {}, 60), full.done);
  CHECK(again.status != Status::delivered);
  CHECK(again.done <= full.done + 1);
  CHECK(positions_in(*sink) == positions_to(again.done));
}

TEST_CASE("a server that freezes in the middle leaves a prefix, and no late answer is mistaken") {
  if (skipped_without_nats()) return;
  NatsServer server;
  const auto sink = make_nats(server.url() + "/EVENTS?create=true&timeout_ms=300");
  REQUIRE(sink->open().status == Opened::opened);
  CHECK(send(*sink, 0, 5).status == Status::delivered);
  server.freeze();
  const DeliveryResult lost = send(*sink, 5, 500);
  CHECK(lost.status == Status::retry_later);
  CHECK(lost.done == 0);
  server.thaw();
  // What was under way may still arrive, now or between any two steps of ours.
  const Batch batch = make_batch(*sink, {}, 700);
  for (bool delivered = false; !delivered;) {
    const OpenResult opened = sink->open();
    if (opened.status != Opened::opened) continue;
    const std::uint64_t stored = opened.tail->position.value();
    REQUIRE(opened.tail == tail_of(stored));
    delivered = sink->deliver(batch, stored).status == Status::delivered;
  }
  CHECK(positions_in(*sink) == positions_to(700));
}

TEST_CASE("a server killed at any moment of a delivery has stored a prefix") {
  if (skipped_without_nats()) return;
  NatsServer server;
  const auto sink = make_nats(server.url() + "/EVENTS?create=true&in_flight=300");
  REQUIRE(sink->open().status == Opened::opened);
  std::uint64_t stored = 0;
  for (std::uint64_t round = 0; round < scaled(8, 100); ++round) {
    const Batch batch = make_batch(*sink, tail_of(stored), 3'000);
    std::thread killer{[&] {
      std::this_thread::sleep_for(std::chrono::milliseconds{1 + round * 7 % 40});
      server.kill_hard();
    }};
    const DeliveryResult result = sink->deliver(batch, 0);
    killer.join();
    server.start();
    const OpenResult opened = sink->open();
    REQUIRE(opened.status == Opened::opened);
    CHECK(opened.tail->position.value() >= stored + result.done);
    stored = opened.tail->position.value();
    CHECK(opened.tail == tail_of(stored));
  }
  CHECK(positions_in(*sink) == positions_to(stored));
}

TEST_CASE("a shared stream takes others' messages, and drops a second copy within its window") {
  if (skipped_without_nats()) return;
  const std::string stream = fresh_stream(R"({"duplicate_window":400000000})");
  const auto sink = make_nats(shared_nats_server().url() + "/" + stream + "?shared=true");
  CHECK(sink->features().second_copy == SecondCopy::id_within_window);
  CHECK(sink->features().batch_events_max < 1'000);
  const OpenResult opened = sink->open();
  REQUIRE(opened.status == Opened::opened);
  CHECK_FALSE(opened.tail);
  CHECK(contains(opened.detail, "duplicate window"));
  const Batch batch = make_batch(*sink, {}, 3);
  stranger().publish(stream + ".a", "somebody else's");
  CHECK(sink->deliver(batch, 0).status == Status::delivered);
  stranger().publish(stream + ".b", "somebody else's");
  CHECK(sink->deliver(batch, 0).status == Status::delivered);
  CHECK(positions_in(*sink) == std::vector<std::uint64_t>{0, 1, 2, 3, 0});
  std::this_thread::sleep_for(1s);
  CHECK(sink->deliver(batch, 0).status == Status::delivered);
  CHECK(positions_in(*sink).size() == 8);  // What its warning says.
}

TEST_CASE("two subscriptions store the same event in one shared stream") {
  if (skipped_without_nats()) return;
  const std::string url = shared_nats_server().url() + "/" + fresh_stream() + "?shared=true";
  const auto one = make_nats(url);
  const auto other =
      sinks::make_sink(Url::parse("sink", url), sinks::context_of("/outseal/test", "other"));
  for (Sink* const sink : {one.get(), other.get()}) {
    REQUIRE(sink->open().status == Opened::opened);
    CHECK(send(*sink, 0, 3).status == Status::delivered);
  }
  CHECK(positions_in(*one) == std::vector<std::uint64_t>{1, 2, 3, 0, 0, 0});
  CHECK(positions_in(*other) == std::vector<std::uint64_t>{0, 0, 0, 1, 2, 3});
}

#ifdef OUTSEAL_FAULTS
TEST_CASE("each guard that is switched off is missed by a case above") {
  if (skipped_without_nats()) return;
  struct Mutant {
    const char* name;
    const char* missed_by;
  };
  const Mutant mutants[]{
      {"nats_no_expected_sequence", "a zombie that comes back after the duplicate window*"},
      {"nats_no_expected_sequence", "nothing is written behind what somebody else*"},
      {"nats_no_expected_id", "a message of somebody else is never written behind"},
      {"nats_any_acknowledgement", "a duplicate of an event that is gone*"},
  };
  const TempFolder folder;
  for (const Mutant& guard : mutants) {
    CAPTURE(guard.name);
    const auto end_with = [&](const std::string& mutant) {
      return Program{
          {.arguments = {"/proc/self/exe", std::string{"--test-case="} + guard.missed_by},
           .environment = {{"OUTSEAL_MUTANT", mutant}},
           .folder = folder.path().string(),
           .log = folder.file("log")}}
          .wait();
    };
    CHECK(end_with("") == 0);
    CHECK(end_with(guard.name) == 1);
  }
}
#endif

}  // namespace outseal::test
