// The nats: sink on a stream with three replicas whose leader is killed again and again.
#include <doctest/doctest.h>

#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>

#include "conformance/nats_fixture.h"
#include "outseal/error.h"
#include "support/scale.h"

namespace outseal::test {
namespace {

using namespace std::chrono_literals;
using Opened = OpenResult::Status;
using Status = DeliveryResult::Status;

constexpr const char* kStream = "EVENTS";

/// The name of the server that leads the stream; empty while none does.
std::string leader_of(NatsCluster& cluster) {
  for (std::size_t i = 0; i < NatsCluster::kNodes; ++i) {
    if (!cluster.node(i).is_running()) continue;
    try {
      return NatsClient{cluster.node(i).url()}.state_of(kStream).leader;
    } catch (const std::runtime_error&) {
    }
  }
  return {};
}

/// Opens the sink as often as it takes.
Tail open_at_last(Sink& sink) {
  OpenResult opened;
  try {
    wait_until("the stream to have a leader", [&] {
      opened = sink.open();
      return opened.status != Opened::retry_later;
    });
  } catch (const std::runtime_error&) {
  }
  REQUIRE_MESSAGE(opened.status == Opened::opened, opened.detail);
  return *opened.tail;
}

}  // namespace

TEST_CASE("a stream of three replicas whose leader is killed in the middle holds each event once") {
  if (skipped_without_nats()) return;
  NatsCluster cluster;
  const auto sink = make_nats(cluster.url() + "/" + kStream + "?create=true&replicas=3");
  std::uint64_t stored = open_at_last(*sink).position.value();
  for (std::uint64_t round = 0; round < scaled(4, 50); ++round) {
    const std::string leader = leader_of(cluster);
    const Batch batch = make_batch(*sink, tail_of(stored), 4'000);
    std::thread killer{[&] {
      std::this_thread::sleep_for(std::chrono::milliseconds{10 + round * 31 % 150});
      if (!leader.empty()) cluster.node(leader).kill_hard();
    }};
    const DeliveryResult result = sink->deliver(batch, 0);
    killer.join();
    if (!leader.empty()) cluster.node(leader).start();
    const std::uint64_t acknowledged = stored + result.done;
    if (result.done > 0) sink->recall(tail_of(acknowledged), result.mark);
    const Tail tail = open_at_last(*sink);
    stored = tail.position.value();
    CHECK(tail == tail_of(stored));
    // Servers of version 2.9 lose some: the sink is forgetful, the relay sends them again.
    if (stored < acknowledged)
      MESSAGE("the cluster lost " << acknowledged - stored << " acknowledged messages");
    cluster.wait_for_leader();
  }
  for (bool delivered = false; !delivered; stored = open_at_last(*sink).position.value())
    delivered =
        sink->deliver(make_batch(*sink, tail_of(stored), 100), 0).status == Status::delivered;
  // A stream whose leader has just been killed again may not answer for a while.
  std::vector<std::uint64_t> found;
  wait_until("the stream to be readable", [&] {
    try {
      found = positions_in(*sink);
      return found.size() >= stored;
    } catch (const Error&) {
      return false;
    }
  });
  CHECK(found.size() == stored);
  for (std::size_t i = 0; i < found.size(); ++i)
    REQUIRE_MESSAGE(found[i] == i + 1, "message " << i << " is at position " << found[i]);
}

}  // namespace outseal::test
