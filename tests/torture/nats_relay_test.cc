// The outseal-relay program with a stream of a real server that is killed again and again.
#include <doctest/doctest.h>
#include <signal.h>

#include <chrono>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "conformance/nats_fixture.h"
#include "support/scale.h"
#include "torture/stage.h"

namespace outseal::test {
namespace {

std::string key_in(std::string_view encoded) {
  sinks::NatsMessageView message{encoded};
  std::string key;
  while (!message.headers.empty())
    if (const auto [name, value] = message.take_header(); name == "ce-subject")
      percent_decode(value, key);
  return key;
}

}  // namespace

TEST_CASE("the relay fills a stream with each event once while its server is killed") {
  if (skipped_without_nats()) return;
  const Stage stage;
  NatsServer server;
  const std::string url = server.url() + "/EVENTS?create=true&timeout_ms=1000&in_flight=50";
  REQUIRE(run(stage.start_migrate()) == Exit{});
  const std::vector<std::string> flags{"--backoff-min-ms", "5", "--backoff-max-ms", "50"};
  const auto relay = stage.start_relay_to(url, flags);
  const auto producer = stage.start_producer(1, 2, 0);
  for (std::uint64_t kill = 0; kill < scaled(6, 100); ++kill) {
    std::this_thread::sleep_for(std::chrono::milliseconds{60 + kill * 37 % 200});
    server.kill_hard();
    server.start();
  }
  for (const auto& process : {producer.get(), relay.get()}) {
    process->send(SIGKILL);
    process->wait();
  }
  std::vector<std::string> draining = flags;
  draining.emplace_back("--drain");
  const Exit drained = run(stage.start_relay_to(url, draining));
  CHECK_MESSAGE(drained == Exit{}, stage.log_tail());

  // As the relay calls itself.
  const auto sink =
      sinks::make_nats_sink(Url::parse("sink", url), sinks::context_of("/outseal/main", "main"));
  std::vector<StoredEvent> stored;
  const auto reader = sink->read();
  for (SinkRecord record; reader->next(record);)
    stored.push_back({record.position, record.event_id, key_in(record.encoded)});
  CHECK_FALSE(stored.empty());
  CHECK(joined(stage.violations(Extent::drained, stored)) == "");
}

}  // namespace outseal::test
