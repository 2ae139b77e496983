// The outseal-relay program with a stream of a real server that is killed again and again.
#include <doctest/doctest.h>
#include <signal.h>

#include <chrono>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "conformance/nats_fixture.h"
#include "relay/relay.h"
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
      sinks::make_sink(Url::parse("sink", url), sinks::context_of("/outseal/main", "main"));
  std::vector<StoredEvent> stored;
  const auto reader = sink->read();
  for (SinkRecord record; reader->next(record);)
    stored.push_back({record.position, record.event_id, key_in(record.encoded)});
  CHECK_FALSE(stored.empty());
  CHECK(joined(stage.violations(Extent::drained, stored)) == "");
}

TEST_CASE("an idle relay gives a stream back what it has lost, without a new event") {
  if (skipped_without_nats()) return;
  const Stage stage;
  NatsServer server;
  const std::string url = server.url() + "/EVENTS";
  const NatsClient client{server.url()};
  client.create_stream("EVENTS");
  REQUIRE(run(stage.start_migrate()) == Exit{});
  stage.execute(
      "INSERT INTO outseal_outbox (topic, type, payload) VALUES ('t', 'x', '{}'), ('t', 'x', "
      "'{}')");

  relay::RelayOptions options;
  options.database = Url::parse("db", stage.database());
  options.subscription.sink = url;
  options.subscription.event_source = "/outseal/main";
  options.core.look_again = std::chrono::milliseconds{20};
  options.core.backoff_max = std::chrono::milliseconds{100};
  auto sink = sinks::make_sink(Url::parse("sink", url), sinks::context_of("/outseal/main", "main"));
  const std::jthread relay{[&](const std::stop_token& stop) {
    relay::run(options, std::move(sink), stop,
               [](std::string_view, const observe::Observation&) {});
  }};
  wait_until("the acknowledgement",
             [&] { return stage.number("SELECT acked_position FROM outseal_subscription") == 2; });
  client.delete_stream("EVENTS");
  client.create_stream("EVENTS");
  wait_until("what was lost", [&] { return client.state_of("EVENTS").messages == 2; });
  CHECK(stage.number("SELECT count(*) FROM outseal_journal") == 1);
}

}  // namespace outseal::test
