// The fixture itself: what other tests believe about their NATS servers.
#include "support/nats_server.h"

#include <doctest/doctest.h>

#include <stdexcept>
#include <string>

#include "support/nats_client.h"

namespace outseal::test {

TEST_CASE("a stream is there again however the server was stopped, on the same port") {
  if (skipped_without_nats()) return;
  NatsServer server;
  const int port = server.port();
  NatsClient{server.url()}.create_stream("EVENTS");
  CHECK(NatsClient{server.url()}.publish("EVENTS.a", "one") == 1);
  server.kill_hard();
  CHECK_FALSE(server.is_running());
  CHECK_THROWS_AS(NatsClient{server.url()}, std::runtime_error);
  server.start();
  CHECK(server.port() == port);
  CHECK(NatsClient{server.url()}.publish("EVENTS.a", "two") == 2);
  server.restart();
  CHECK(NatsClient{server.url()}.state_of("EVENTS").messages == 2);
}

TEST_CASE("a frozen server says nothing and goes on when it is thawed") {
  if (skipped_without_nats()) return;
  NatsServer server;
  const NatsClient client{server.url()};
  client.create_stream("EVENTS");
  server.freeze();
  server.thaw();
  CHECK(client.publish("EVENTS.a", "one") == 1);
  server.freeze();  // The destructor ends it all the same.
}

TEST_CASE("settings reach the server, and a wrong one is reported with its log") {
  if (skipped_without_nats()) return;
  NatsServer server{{.settings = {"max_payload: 1024"}}};
  const NatsClient client{server.url()};
  client.create_stream("EVENTS");
  CHECK_THROWS_AS(client.publish("EVENTS.a", std::string(2000, 'x')), std::runtime_error);
  CHECK_THROWS_AS((NatsServer{{.settings = {"max_payload: \"nonsense\""}}}), std::runtime_error);
}

TEST_CASE("a cluster keeps a stream while one of its servers is down") {
  if (skipped_without_nats()) return;
  NatsCluster cluster;
  const auto client_of = [&](std::size_t node) { return NatsClient{cluster.node(node).url()}; };
  client_of(0).create_stream("EVENTS", R"({"num_replicas":3})");
  const std::string leader = client_of(0).state_of("EVENTS").leader;
  cluster.node(leader).kill_hard();
  const std::size_t other = leader == "node0" ? 1 : 0;
  wait_until("a new leader of the stream", [&] {
    try {
      return client_of(other).publish("EVENTS.a", "one") == 1;
    } catch (const std::runtime_error&) {
      return false;
    }
  });
  cluster.node(leader).start();
  cluster.wait_for_leader();
}

}  // namespace outseal::test
