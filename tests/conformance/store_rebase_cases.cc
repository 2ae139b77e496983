// What a rebase makes of a sink that holds a part of a batch that was bound and not acknowledged.
#include <algorithm>

#include "conformance/store_helpers.h"
#include "conformance/store_relay_fixture.h"
#include "store/rebase.h"

using namespace outseal;
using namespace outseal::test;

namespace {

/// Holds events, from position 1 on.
class HeldSink final : public EncodingSink {
 public:
  explicit HeldSink(std::vector<EventId> events) : events_{std::move(events)} {}
  SinkFeatures features() const override {
    return {.second_copy = SecondCopy::refuses, .readable = true};
  }
  OpenResult open() override {
    OpenResult opened;
    opened.tail = Tail{Position{events_.size()}, events_.back()};
    return opened;
  }
  std::unique_ptr<SinkReader> read() override { return std::make_unique<Reader>(events_); }

 private:
  class Reader final : public SinkReader {
   public:
    explicit Reader(const std::vector<EventId>& events) : events_{events} {}
    bool next(SinkRecord& record) override {
      if (place_ == events_.size()) return false;
      record.position = Position{place_ + 1};
      record.event_id = events_[place_];
      return ++place_ > 0;
    }

   private:
    const std::vector<EventId>& events_;
    std::size_t place_ = 0;
  };

  std::vector<EventId> events_;
};

/// One event is acknowledged, two are bound behind it; nobody leads.
struct Bound : Fixture {
  std::vector<EventId> ids;
  Bound() {
    append("acknowledged");
    ids.push_back(publish().entries.at(0).id);
    append("bound");
    append("bound too");
    const Batch batch = page();
    REQUIRE(log.bind(batch, std::nullopt, 60s) == WriteOutcome::done);
    for (const BatchEntry& entry : batch.entries) ids.push_back(entry.id);
    log.release();
  }
  store::RebaseResult rebase(std::vector<EventId> events) {
    HeldSink held{std::move(events)};
    return store::rebase(*connection, "main", held, "me");
  }
};

}  // namespace

TEST_CASE("a part of the bound batch in the sink needs no rebase") {
  for (const std::size_t held : {1U, 2U, 3U}) {
    Bound f;
    CAPTURE(held);
    CHECK_FALSE(
        f.rebase({f.ids.begin(), f.ids.begin() + static_cast<std::ptrdiff_t>(held)}).needed);
    f.take_lead();
    CHECK(f.tail == Tail{Position{1}, f.ids[0]});
    CHECK(f.log.read_journal(Position{2}).size() == 2);  // The next relay compares and goes on.
  }
}

TEST_CASE("another event in the place of a bound one is published, and the bound ones behind it") {
  for (const bool all : {false, true}) {
    Bound f;
    CAPTURE(all);
    const EventId lost = new_event_id();
    std::vector<EventId> events{f.ids[0], all ? f.ids[1] : lost};
    if (all) events.push_back(lost);
    const store::RebaseResult result = f.rebase(events);
    CHECK(result.needed);
    CHECK(result.ghosts == 1);
    CHECK(result.known == (all ? 1 : 0));
    f.take_lead();
    CHECK(f.tail == Tail{Position{events.size()}, lost});
    std::vector<EventId> later;
    for (const BatchEntry& entry : f.publish().entries) later.push_back(entry.id);
    CHECK(later == std::vector<EventId>(f.ids.begin() + (all ? 2 : 1), f.ids.end()));
    CHECK(f.page().size() == 0);
  }
}
