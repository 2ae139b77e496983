// Who leads, who stands by and for how long, and what an operator is told on the way.
#include "unit/core_stage.h"

using namespace outseal;
using namespace outseal::relay;
using namespace outseal::test;
using namespace std::chrono_literals;

TEST_CASE("a relay stands by while the subscription is paused, says so once, and looks again") {
  Relay relay;
  relay.on(LeasePaused{});
  CHECK(relay.reported<observe::Paused>() != nullptr);
  CHECK(relay.find<Finish>() == nullptr);
  CHECK(relay.get<Wait>().duration == 1s);
  for (int i = 0; i < 3; ++i) {
    relay.now += 1s;
    relay.on(TimerFired{});
    relay.get<AcquireLease>();
    relay.on(LeasePaused{});
    CHECK(relay.find<Report>() == nullptr);
  }
  relay.now += 1s;
  relay.on(TimerFired{});
  relay.on(LeaseGranted{state_of(0, 0)});
  REQUIRE(relay.reported<observe::Led>() != nullptr);
  CHECK(relay.reported<observe::Led>()->epoch == Epoch{7});
  relay.on(Fenced{});
  relay.now += 1s;
  relay.on(TimerFired{});
}

/// Its answer would be held against a state of the database that is newer than it.
TEST_CASE(
    "a relay that lost the lease awaits the sink's answer before it asks for the lease again") {
  const auto loses_lease = [](Relay& relay) {
    relay.now += 5s;
    relay.on(TimerFired{});
    relay.get<RenewLease>();
    relay.on(Fenced{});
    relay.now += 1s;
    relay.on(TimerFired{});
    CHECK(relay.find<AcquireLease>() == nullptr);
  };
  Relay opening;
  opening.lead(0, 0);
  loses_lease(opening);
  opening.on(opened_at(Tail{}));
  opening.get<AcquireLease>();

  Relay delivering;
  delivering.begin_delivery(1);
  delivering.on(PageRead{nothing_after(1)});
  loses_lease(delivering);
  delivering.on(Delivered{});
  delivering.get<AcquireLease>();
}

TEST_CASE("a draining relay of a paused subscription ends, and has not drained") {
  Relay relay{{.drain = true}};
  relay.on(LeasePaused{});
  CHECK(relay.reported<observe::Paused>() != nullptr);
  CHECK_FALSE(relay.get<Finish>().drained);
}

TEST_CASE("what a sink says about itself when it is opened is reported once") {
  Relay relay;
  relay.lead(0, 0);
  const SinkOpened weak{{.tail = Tail{}, .detail = "kept in memory", .hint = "use files"}};
  relay.on(weak);
  REQUIRE(relay.reported<observe::SinkWarned>() != nullptr);
  CHECK(relay.reported<observe::SinkWarned>()->detail == "kept in memory");
  CHECK(relay.reported<observe::SinkWarned>()->hint == "use files");
  relay.on(PageRead{batch_of(1, 1)});
  relay.on(Bound{});
  relay.on(Delivered{{.status = DeliveryResult::Status::retry_later, .detail = "gone"}});
  relay.now += 60s;
  relay.on(TimerFired{});
  relay.on(weak);
  CHECK(relay.find<Report>() == nullptr);
}

TEST_CASE("a draining relay gives up on a standing leader or sink after its patience") {
  Relay relay{{.drain = true, .standby_max = 5s}};
  for (int i = 0; i < 20 && relay.find<Halt>() == nullptr; ++i) {
    if (relay.find<AcquireLease>() != nullptr) relay.on(LeaseDenied{"other", 9s});
    if (relay.find<Halt>() != nullptr) break;
    relay.now += 1s;
    relay.on(TimerFired{});
  }
  CHECK(relay.get<Halt>().code == ErrorCode::lease_lost);
}
