// The cases of the sink suite. A claim that a sink does not make is not tested.
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conformance/sink_suite.h"
#include "outseal/error.h"

namespace outseal::test {
namespace {

using Opened = OpenResult::Status;
using Status = DeliveryResult::Status;

/// Opens `sink` and stores events 1 to `count` in it.
std::string fill(Sink& sink, std::size_t count) {
  REQUIRE(sink.open().status == Opened::opened);
  const Batch batch = make_batch(sink, {}, count);
  const auto result = sink.deliver(batch, 0);
  REQUIRE_MESSAGE(result.status == Status::delivered, result.detail);
  return batch.bytes;
}

/// A process that opens the sink and holds it until it is killed.
class Holder {
 public:
  explicit Holder(const SinkUnderTest& storage) {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    pid_ = ::fork();
    REQUIRE(pid_ >= 0);
    if (pid_ == 0) {
      const auto sink = storage.make();
      const char opened = sink->open().status == Opened::opened ? 'y' : 'n';
      if (::write(ends[1], &opened, 1) != 1) ::_exit(1);
      for (;;) ::pause();
    }
    char opened = 'n';
    REQUIRE(::read(ends[0], &opened, 1) == 1);
    CHECK(opened == 'y');
    ::close(ends[0]);
    ::close(ends[1]);
  }
  ~Holder() { die(); }
  Holder(const Holder&) = delete;
  Holder& operator=(const Holder&) = delete;

  pid_t pid() const { return pid_; }
  void die() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    pid_ = -1;
  }

 private:
  pid_t pid_ = -1;
};

}  // namespace

TEST_CASE("encode gives the same bytes every time and in every object") {
  const auto storage = make_sink_under_test();
  const auto one = storage->make();
  const auto other = storage->make();
  const Batch batch = make_batch(*one, tail_of(41), 10);
  CHECK(batch.size() == 10);
  CHECK(make_batch(*one, tail_of(41), 10).bytes == batch.bytes);
  CHECK(make_batch(*other, tail_of(41), 10).bytes == batch.bytes);
  CHECK(storage->stored().empty());
}

TEST_CASE("encode says why it refuses an event and leaves its output as it was") {
  const auto storage = make_sink_under_test();
  const auto sink = storage->make();
  const std::string payload(storage->oversize_bytes(), 'x');
  EventRow row;
  row.topic = "orders";
  row.type = "order.paid";
  row.headers = "{}";
  row.content_type = "text/plain";
  row.created_at_ms = 1;
  std::string out = "before";
  SUBCASE("too large") { row.payload = payload; }
  SUBCASE("a key that is not UTF-8") { row.key = "\xff"; }
  const auto reason = sink->encode(row, Position{1}, out);
  REQUIRE(reason);
  CHECK_FALSE(reason->empty());
  CHECK(out == "before");
}

TEST_CASE("batches are stored in their order, byte for byte") {
  const auto storage = make_sink_under_test();
  const auto sink = storage->make();
  std::string expected = fill(*sink, 5);
  for (std::uint64_t count = 5; count < 60; count += 11) {
    const Batch batch = make_batch(*sink, tail_of(count), 11, 3 * count);
    const auto result = sink->deliver(batch, 0);
    CHECK(result.status == Status::delivered);
    CHECK(result.done == 11);
    CHECK_FALSE(result.mark.empty());
    expected += batch.bytes;
  }
  CHECK(storage->stored() == expected);
}

TEST_CASE("a sink that is opened again reports the last event, an empty one none") {
  const auto storage = make_sink_under_test();
  const auto sink = storage->make();
  if (!sink->features().has_tail()) {
    CHECK_FALSE(sink->open().tail);
    return;
  }
  CHECK(sink->open().tail == Tail{});
  CHECK(sink->open().tail == Tail{});
  for (std::uint64_t count = 0; count < 30; count += 10) {
    const auto writer = storage->make();
    sink->close();
    CHECK(writer->open().tail == tail_of(count));
    const auto result = writer->deliver(make_batch(*writer, tail_of(count), 10), 0);
    CHECK(result.status == Status::delivered);
    writer->close();
    CHECK(sink->open().tail == tail_of(count + 10));
  }
}

TEST_CASE("a batch that does not follow the tail is a conflict and stores nothing") {
  const auto storage = make_sink_under_test();
  const auto sink = storage->make();
  const SecondCopy second_copy = sink->features().second_copy;
  if (second_copy != SecondCopy::refuses && second_copy != SecondCopy::transactional) return;
  fill(*sink, 5);
  const std::string before = storage->stored();
  Batch other_event = make_batch(*sink, tail_of(5), 3);
  other_event.prior.event_id = event_id_at(Position{4});
  CHECK(sink->deliver(other_event, 0).status == Status::conflict);
  CHECK(sink->deliver(make_batch(*sink, {}, 5), 0).status == Status::conflict);
  CHECK(sink->deliver(make_batch(*sink, tail_of(6), 3), 0).status == Status::conflict);
  CHECK(sink->deliver(make_batch(*sink, tail_of(5), 3), 1).status == Status::conflict);
  CHECK(storage->stored() == before);
  CHECK(sink->deliver(make_batch(*sink, tail_of(5), 3), 0).status == Status::delivered);
}

TEST_CASE("a second copy of what is stored is kept out as the sink claims") {
  const auto storage = make_sink_under_test();
  std::string stored;
  {
    const auto first = storage->make();
    stored = fill(*first, 3);
    first->close();
  }
  const auto sink = storage->make();
  REQUIRE(sink->open().status == Opened::opened);
  const auto again = sink->deliver(make_batch(*sink, {}, 3), 0).status;
  switch (sink->features().second_copy) {
    case SecondCopy::none:
      CHECK(again == Status::delivered);
      CHECK(storage->stored() == stored + stored);
      break;
    case SecondCopy::refuses:
    case SecondCopy::transactional:
      CHECK(again == Status::conflict);
      CHECK(storage->stored() == stored);
      break;
    case SecondCopy::id_within_window:
    case SecondCopy::ignores:
      CHECK(again == Status::delivered);
      CHECK(storage->stored() == stored);
      break;
  }
}

TEST_CASE("a batch is resumed from the middle, and has nothing to do at its end") {
  const auto storage = make_sink_under_test();
  const auto sink = storage->make();
  fill(*sink, 4);
  const Batch batch = make_batch(*sink, {}, 9);
  if (sink->features().has_tail()) CHECK(sink->open().tail == tail_of(4));
  const auto result = sink->deliver(batch, 4);
  CHECK(result.status == Status::delivered);
  CHECK(result.done == 9);
  CHECK(storage->stored() == batch.bytes);
  CHECK(sink->deliver(batch, 9).status == Status::delivered);
  CHECK(storage->stored() == batch.bytes);
}

TEST_CASE("one process at a time: closing or dying makes room for the next") {
  const auto storage = make_sink_under_test();
  const auto first = storage->make();
  if (!first->features().exclusive) return;
  const auto second = storage->make();
  fill(*first, 3);
  CHECK(second->open().status == Opened::retry_later);
  CHECK(second->deliver(make_batch(*second, tail_of(3), 1), 0).status != Status::delivered);
  first->close();
  CHECK(second->open().tail == tail_of(3));
  second->close();

  Holder holder{*storage};
  const auto locked = first->open();
  CHECK(locked.status == Opened::retry_later);
  CHECK(locked.detail.find(std::to_string(holder.pid())) != std::string::npos);
  holder.die();
  CHECK(first->open().tail == tail_of(3));
}

TEST_CASE("what a crash tore is not reported, not touched by open, and replaced by deliver") {
  const auto storage = make_sink_under_test();
  const auto sink = storage->make();
  fill(*sink, 6);
  sink->close();
  if (!storage->tear()) return;
  const std::string torn = storage->stored();
  CHECK(sink->open().tail == tail_of(5));
  CHECK(storage->stored() == torn);
  const Batch batch = make_batch(*sink, {}, 8);
  CHECK(sink->deliver(batch, 5).status == Status::delivered);
  CHECK(storage->stored() == batch.bytes);
}

TEST_CASE("a sink that can be read gives every event back, any other one says so") {
  const auto storage = make_sink_under_test();
  const auto sink = storage->make();
  if (!sink->features().readable) {
    CHECK_THROWS_AS(sink->read(), Error);
    return;
  }
  SinkRecord record;
  CHECK_FALSE(sink->read()->next(record));
  fill(*sink, 7);
  const Batch batch = make_batch(*sink, {}, 7);
  const auto reader = sink->read();
  for (std::size_t i = 0; i < batch.size(); ++i) {
    REQUIRE(reader->next(record));
    CHECK(record.position == Position{i + 1});
    CHECK(record.event_id == event_id_at(record.position));
    CHECK(record.encoded == batch.encoded(i));
    CHECK_FALSE(record.where.empty());
  }
  CHECK_FALSE(reader->next(record));
  CHECK_FALSE(reader->next(record));
}

}  // namespace outseal::test
