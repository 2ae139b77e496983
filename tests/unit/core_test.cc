// The core's decisions one by one: every row of the recovery table, and what each trouble leads to.
// Interleavings are the simulation's business (tests/sim).
#include "unit/core_stage.h"

using namespace outseal;
using namespace outseal::relay;
using namespace outseal::test;
using namespace std::chrono_literals;

TEST_CASE("tail as acknowledged and nothing pending: the log is read on") {
  Relay relay;
  relay.lead(3, 3);
  relay.on(opened_at(tail_at(3)));
  const ReadPage& read = relay.get<ReadPage>();
  CHECK(read.from.after_seq == Seq{3});
  CHECK(read.prior == tail_at(3));
}

TEST_CASE("tail as acknowledged with a batch pending: all of it is sent") {
  Relay relay;
  relay.lead(3, 6);
  relay.on(opened_at(tail_at(3)));
  CHECK(relay.get<ReadJournal>().position == Position{4});
  relay.on(JournalRead{batch_of(4, 6)});
  CHECK(relay.get<Deliver>().from == 0);
}

TEST_CASE("tail inside of the pending batch: only the rest is sent") {
  Relay relay;
  relay.lead(3, 6);
  relay.on(opened_at(tail_at(5)));
  relay.on(JournalRead{batch_of(4, 6)});
  CHECK(relay.get<Deliver>().from == 2);
}

TEST_CASE("tail at the end of the pending batch: nothing of it is sent, but its mark is noted") {
  Relay relay;
  relay.lead(3, 6);
  relay.on(opened_at(tail_at(6)));
  relay.on(JournalRead{batch_of(4, 6)});
  CHECK(relay.get<Deliver>().from == 3);
  relay.on(Delivered{{.done = 3, .mark = "where 6 ends"}});
  relay.on(PageRead{nothing_after(6)});
  const Ack ack = relay.get<Acknowledge>().ack;
  CHECK(ack.tail == tail_at(6));
  CHECK(ack.mark == "where 6 ends");
}

TEST_CASE("tail behind the acknowledged position: halt, or rebuild if allowed") {
  Relay careful;
  careful.lead(6, 6);
  careful.on(opened_at(tail_at(2)));
  const Halt& halt = careful.halt();
  CHECK(halt.code == ErrorCode::refused);
  CHECK(halt.hint.find("--rebuild") != std::string::npos);

  Relay relay{{.rebuild = true}};
  relay.lead(6, 6);
  relay.on(opened_at(tail_at(2)));
  CHECK(relay.get<ReadJournal>().position == Position{2});
  relay.on(JournalRead{batch_of(1, 4)});
  CHECK(relay.get<Deliver>().from == 2);
  relay.on(Delivered{{.done = 4}});
  CHECK(relay.get<ReadJournal>().position == Position{4});
  relay.on(JournalRead{batch_of(1, 4)});
  CHECK(relay.get<ReadJournal>().position == Position{5});
  relay.on(JournalRead{batch_of(5, 6)});
  CHECK(relay.get<Deliver>().from == 0);
  relay.on(Delivered{{.done = 2}});
  relay.get<ReadPage>();
}

TEST_CASE("a forgetful sink gets back what it lost without being told to") {
  Relay relay{{.may_lose_acknowledged = true}};
  relay.lead(6, 6);
  relay.on(opened_at(tail_at(2)));
  REQUIRE(relay.reported<observe::Rebuilding>() != nullptr);
  CHECK(relay.reported<observe::Rebuilding>()->events == 4);
  CHECK(relay.get<ReadJournal>().position == Position{2});
}

TEST_CASE("a sink is opened with the last acknowledged event and what it said then") {
  Relay relay;
  relay.lead(3, 3);
  CHECK(relay.get<OpenSink>().acked == tail_at(3));
  CHECK(relay.get<OpenSink>().mark == "where 3 ends");
  relay.on(opened_at(tail_at(3)));
  relay.on(PageRead{batch_of(4, 6)});
  relay.on(Bound{});
  relay.on(PageRead{nothing_after(6)});
  relay.on(Delivered{{.done = 3, .mark = "where 6 ends"}});
  relay.on(Acknowledged{});
  relay.on(DatabaseFailed{"gone", "bring it back"});
  relay.on(TimerFired{});
  relay.now += Milliseconds{60'000};
  relay.on(TimerFired{});
  SubscriptionState state = state_of(6, 6);
  state.mark = "where 6 ends";
  relay.on(LeaseGranted{state});
  CHECK(relay.get<OpenSink>().mark == "where 6 ends");
}

TEST_CASE("a sink that takes more each time keeps a drain waiting, one that does not ends it") {
  for (const bool progresses : {true, false}) {
    Relay relay{{.drain = true, .standby_max = Milliseconds{1'000}}};
    relay.lead(0, 0);
    relay.on(opened_at(std::nullopt));
    relay.on(PageRead{batch_of(1, 6)});
    relay.on(Bound{});
    relay.on(PageRead{nothing_after(6)});
    for (std::size_t done = 1; done < 5; ++done) {
      relay.on(Delivered{{.status = DeliveryResult::Status::retry_later,
                          .done = progresses ? done : 0,
                          .detail = "slow"}});
      if (relay.find<Halt>() != nullptr) break;
      relay.now += Milliseconds{600};
      relay.on(TimerFired{});
      if (relay.find<RenewLease>() != nullptr) relay.on(LeaseRenewed{});
      relay.on(opened_at(std::nullopt));
    }
    CHECK((relay.find<Halt>() == nullptr) == progresses);
  }
}

TEST_CASE("another event at the tail, or a tail beyond what was bound: fork") {
  for (const Tail& tail : {Tail{Position{3}, id_of(9)}, tail_at(4), Tail{Position{0}, id_of(1)}}) {
    Relay relay{{.rebuild = true}};
    relay.lead(3, 3);
    relay.on(opened_at(tail));
    if (tail.position == Position{0}) relay.on(JournalRead{batch_of(1, 3)});
    const Halt& halt = relay.halt();
    CHECK(halt.code == ErrorCode::refused);
    CHECK(halt.what.find("fork") != std::string::npos);
  }
  Relay relay;
  relay.lead(3, 6);
  relay.on(opened_at(Tail{Position{5}, id_of(99)}));
  relay.on(JournalRead{batch_of(4, 6)});
  CHECK(relay.halt().code == ErrorCode::refused);
}

TEST_CASE("a pending batch that cannot be read again halts the relay") {
  Relay relay;
  relay.lead(3, 6);
  relay.on(opened_at(tail_at(3)));
  relay.on(JournalUnreadable{"gone"});
  CHECK(relay.halt().code == ErrorCode::refused);
}

TEST_CASE("a relay that slept through a takeover stands by instead of crying fork") {
  Relay relay;
  relay.lead(3, 3);
  relay.on(opened_at(tail_at(5)));
  relay.get<RenewLease>();
  relay.on(Fenced{});
  CHECK(relay.find<Halt>() == nullptr);
  relay.get<CloseSink>();
}

TEST_CASE("a sink without a tail gets the whole pending batch again") {
  Relay relay;
  relay.lead(3, 6);
  relay.on(opened_at(std::nullopt));
  relay.on(JournalRead{batch_of(4, 6)});
  CHECK(relay.get<Deliver>().from == 0);
}

TEST_CASE("the acknowledgement rides on the next intent, and alone when there is none") {
  Relay relay;
  relay.lead(0, 0);
  relay.on(opened_at(Tail{}));
  relay.on(PageRead{batch_of(1, 2)});
  CHECK_FALSE(relay.get<Bind>().ack.has_value());
  relay.on(Bound{});
  CHECK(relay.get<Deliver>().batch->size() == 2);
  CHECK(relay.get<ReadPage>().prior == tail_at(2));  // Read ahead while it is in flight.
  relay.on(PageRead{batch_of(3, 4)});
  CHECK(relay.find<Bind>() == nullptr);  // One batch in flight at a time.
  relay.on(Delivered{{.done = 2}});
  CHECK(relay.get<Bind>().ack->tail == tail_at(2));
  relay.on(Bound{});
  relay.on(PageRead{nothing_after(4)});
  relay.on(Delivered{{.done = 2}});
  relay.on(PageRead{nothing_after(4)});
  CHECK(relay.get<Acknowledge>().ack.tail == tail_at(4));
}

TEST_CASE("a sink that wants a retry is opened again and resumes after its tail") {
  Relay relay;
  relay.begin_delivery(3);
  relay.on(Delivered{{.status = DeliveryResult::Status::retry_later, .done = 1}});
  relay.get<CloseSink>();
  relay.now += relay.get<Wait>().duration;
  relay.on(TimerFired{});
  if (relay.find<OpenSink>() == nullptr) {  // The timer was the page's or the lease's.
    relay.now += 60s;
    relay.on(TimerFired{});
  }
  relay.on(opened_at(tail_at(1)));
  CHECK(relay.get<Deliver>().from == 1);
}

TEST_CASE("a refusal after binding is settled and the log is read from there") {
  Relay relay;
  relay.begin_delivery(3);
  relay.on(PageRead{nothing_after(3)});
  relay.on(Delivered{{.status = DeliveryResult::Status::rejected, .done = 1, .detail = "too odd"}});
  CHECK(relay.get<Settle>().done == 1);
  relay.on(Settled{{.after_seq = Seq{2}}});
  const ReadPage& read = relay.get<ReadPage>();
  CHECK(read.from.after_seq == Seq{2});
  CHECK(read.prior == tail_at(1));
}

TEST_CASE("a fenced relay drops its work, closes the sink and stands by") {
  Relay relay;
  relay.lead(0, 0);
  relay.on(opened_at(Tail{}));
  relay.on(PageRead{batch_of(1, 3)});
  relay.on(Fenced{});
  relay.get<CloseSink>();
  CHECK(relay.find<Deliver>() == nullptr);
  relay.now += 1s;
  relay.on(TimerFired{});
  relay.get<AcquireLease>();
}

TEST_CASE("an intent in doubt is found out by acquiring again") {
  Relay relay;
  relay.lead(0, 0);
  relay.on(opened_at(Tail{}));
  relay.on(PageRead{batch_of(1, 3)});
  relay.on(DatabaseFailed{"connection lost", ""});
  CHECK(relay.find<Deliver>() == nullptr);
  relay.now += 60s;
  relay.on(TimerFired{});
  relay.get<AcquireLease>();
  relay.on(LeaseGranted{state_of(0, 3)});
  relay.on(opened_at(Tail{}));
  CHECK(relay.get<ReadJournal>().position == Position{1});
}

TEST_CASE("a sink that failed for good or cannot be used ends the relay") {
  Relay relay;
  relay.lead(0, 0);
  relay.on({SinkOpened{{.status = OpenResult::Status::unusable, .detail = "no such folder"}}});
  CHECK(relay.get<Halt>().code == ErrorCode::sink_unreachable);

  Relay second;
  second.lead(0, 0);
  second.on({SinkOpened{{.status = OpenResult::Status::refused, .detail = "foreign"}}});
  CHECK(second.get<Halt>().code == ErrorCode::refused);

  Relay third;
  third.begin_delivery(1);
  third.on(Delivered{{.status = DeliveryResult::Status::failed, .detail = "fsync"}});
  CHECK(third.get<Halt>().code == ErrorCode::sink_unreachable);
}

TEST_CASE("draining ends with the last acknowledgement and the lease given back") {
  Relay relay{{.drain = true}};
  relay.begin_delivery(1);
  relay.on(PageRead{nothing_after(1)});
  relay.on(Delivered{{.done = 1}});
  relay.on(PageRead{nothing_after(1)});
  relay.get<Acknowledge>();
  relay.on(Acknowledged{});
  relay.get<ReleaseLease>();
  relay.on(LeaseReleased{});
  relay.get<CloseSink>();
  CHECK(relay.get<Finish>().drained);
}

TEST_CASE("a stop lets the batch in flight finish and acknowledges it") {
  Relay relay;
  relay.begin_delivery(1);
  relay.on(PageRead{batch_of(2, 2)});
  relay.on(StopRequested{});
  CHECK(relay.find<Bind>() == nullptr);
  relay.on(Delivered{{.done = 1}});
  relay.get<Acknowledge>();
  relay.on(Acknowledged{});
  relay.on(LeaseReleased{});
  CHECK_FALSE(relay.get<Finish>().drained);
}

TEST_CASE("the lease is renewed while the sink is slow") {
  Relay relay;
  relay.begin_delivery(1);
  relay.on(PageRead{nothing_after(1)});
  relay.now += 4s;
  relay.on(TimerFired{});
  relay.get<RenewLease>();
}
