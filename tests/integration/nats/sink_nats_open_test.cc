// What open() makes of servers and streams: which it takes, which it refuses, and what it says.
#include <doctest/doctest.h>

#include <filesystem>
#include <string>

#include "conformance/nats_fixture.h"
#include "support/secret_file.h"

namespace outseal::test {
namespace {

using Opened = OpenResult::Status;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

OpenResult open_at(const std::string& url) { return make_nats(url)->open(); }

OpenResult open_shared(const std::string& stream, const std::string& parameters = {}) {
  return open_at(shared_nats_server().url() + "/" + stream + parameters);
}

/// No stream can be made so.
void seal(const std::string& stream) {
  NatsClient{shared_nats_server().url()}.ask(
      "STREAM.UPDATE." + stream,
      R"({"name":")" + stream + R"(","subjects":[")" + stream + R"(.>"],"sealed":true})");
}

}  // namespace

TEST_CASE("a missing stream is named with a recipe, and made if the URL asks for it") {
  if (skipped_without_nats()) return;
  const std::string stream = fresh_name();
  const OpenResult missing = open_shared(stream);
  CHECK(missing.status == Opened::unusable);
  CHECK(contains(missing.detail, stream));
  CHECK(contains(missing.hint, "nats stream add " + stream + " --subjects '" + stream + ".>'"));
  CHECK(contains(missing.hint, "create=true"));

  const auto sink = make_nats(shared_nats_server().url() + "/" + stream + "?create=true");
  const OpenResult made = sink->open();
  REQUIRE_MESSAGE(made.status == Opened::opened, made.detail);
  CHECK(made.detail.empty());
  CHECK(made.tail == Tail{});
  CHECK(sink->deliver(make_batch(*sink, {}, 3), 0).mark == stream + ":3");
  CHECK(sink->open().tail == tail_of(3));
  const NatsClient client{shared_nats_server().url()};
  const std::string info = client.ask("STREAM.INFO." + stream);
  for (const char* const setting :
       {R"("storage":"file")", R"("discard":"new")", R"("deny_delete":true)",
        R"("deny_purge":true)", R"("duplicate_window":120000000000)", R"("retention":"limits")"})
    CHECK_MESSAGE(contains(info, setting), setting);
}

TEST_CASE("a stream that cannot keep the promise is refused with the reason") {
  if (skipped_without_nats()) return;
  std::string settings = "{}";
  std::string reason;
  SUBCASE("memory") {
    settings = R"({"storage":"memory"})";
    reason = "allow_memory=true";
  }
  SUBCASE("work queue") {
    settings = R"({"retention":"workqueue"})";
    reason = "retention must be limits";
  }
  SUBCASE("interest") {
    settings = R"({"retention":"interest"})";
    reason = "retention must be limits";
  }
  SUBCASE("no acknowledgements") {
    settings = R"({"no_ack":true})";
    reason = "no_ack";
  }
  SUBCASE("other subjects") {
    settings = R"({"subjects":["elsewhere.>"]})";
    reason = "elsewhere.>";
  }
  SUBCASE("sources") {
    settings = R"({"sources":[{"name":")" + fresh_stream() + R"("}]})";
    reason = "(sources)";
  }
  SUBCASE("mirror") {
    settings = R"({"subjects":[],"mirror":{"name":")" + fresh_stream() + R"("}})";
    reason = "mirrors another stream";
  }
  SUBCASE("sealed") { reason = "sealed"; }
  const std::string stream = fresh_stream(settings);
  if (reason == "sealed") seal(stream);
  const OpenResult refused = open_shared(stream);
  CHECK(refused.status == Opened::unusable);
  CHECK_MESSAGE(contains(refused.detail, reason), refused.detail);
  CHECK_FALSE(refused.hint.empty());
  NatsClient{shared_nats_server().url()}.delete_stream(stream);
}

TEST_CASE("a setting that weakens the promise is taken with a warning") {
  if (skipped_without_nats()) return;
  std::string settings;
  std::string parameters;
  std::string warning;
  SUBCASE("memory, accepted") {
    settings = R"({"storage":"memory"})";
    parameters = "?allow_memory=true";
    warning = "kept in memory";
  }
  SUBCASE("a limit at which old messages go") {
    settings = R"({"max_msgs":100})";
    warning = "removes old messages";
  }
  SUBCASE("an age") {
    settings = R"({"max_age":3600000000000,"discard":"new"})";
    warning = "removes old messages";
  }
  const OpenResult opened = open_shared(fresh_stream(settings), parameters);
  CHECK(opened.status == Opened::opened);
  CHECK(opened.tail == Tail{});
  CHECK_MESSAGE(contains(opened.detail, warning), opened.detail);
}

TEST_CASE("a stream that takes a part of the subjects is opened, with a warning") {
  if (skipped_without_nats()) return;
  const std::string stream = fresh_name();
  NatsClient{shared_nats_server().url()}.create_stream(
      stream, R"({"subjects":[")" + stream + R"(.orders.*"]})");
  const auto sink = make_nats(shared_nats_server().url() + "/" + stream);
  const OpenResult opened = sink->open();
  CHECK(opened.status == Opened::opened);
  CHECK(contains(opened.detail, "only a part of our subjects"));
  CHECK(sink->deliver(make_batch(*sink, {}, 3), 0).status == DeliveryResult::Status::delivered);
}

TEST_CASE("users are let in by password, file included, or told what is wrong") {
  if (skipped_without_nats()) return;
  const NatsServer server{
      {.settings = {R"(authorization { users: [ { user: me, password: "ses@me" } ] })"}}};
  const std::string file = (server.folder() / "password").string();
  write_secret(file, "ses@me\n");
  const std::string rest = server.address() + "/EVENTS?create=true";
  CHECK(open_at("nats://me:ses%40me@" + rest).status == Opened::opened);
  CHECK(open_at("nats://me@" + rest + "&password_file=" + file).status == Opened::opened);
  for (const std::string& url : {"nats://me:sesame@" + rest, "nats://" + rest}) {
    const OpenResult refused = open_at(url);
    CHECK(refused.status == Opened::unusable);
    CHECK_FALSE(refused.detail.empty());
    CHECK_FALSE(refused.hint.empty());
    CHECK_FALSE(contains(refused.detail + refused.hint, "sesame"));
  }
}

TEST_CASE("a file of secrets that goes away later is named when the sink is opened again") {
  if (skipped_without_nats()) return;
  const NatsServer server{{.settings = {R"(authorization { user: me, password: pw })"}}};
  const std::string password = (server.folder() / "password").string();
  write_secret(password, "pw\n");
  const auto sink =
      make_nats("nats://me@" + server.address() + "/EVENTS?create=true&password_file=" + password);
  CHECK(sink->open().status == Opened::opened);
  std::filesystem::remove(password);
  const OpenResult refused = sink->open();
  CHECK(refused.status == Opened::unusable);
  CHECK(contains(refused.detail, "password_file"));
  CHECK_FALSE(refused.hint.empty());
}

TEST_CASE("the permissions of the sink's page, and no others, are enough") {
  if (skipped_without_nats()) return;
  const NatsServer server{{.settings = {R"(authorization { users: [
    { user: writer, password: pw, permissions: {
        publish: [ "EVENTS.>", "$JS.API.STREAM.INFO.EVENTS", "$JS.API.STREAM.MSG.GET.EVENTS",
                   "$JS.API.STREAM.CREATE.EVENTS" ],
        subscribe: "_INBOX.>" } },
    { user: reader, password: pw, permissions: {
        publish: [ "EVENTS.>", "$JS.API.STREAM.INFO.EVENTS", "$JS.API.STREAM.MSG.GET.EVENTS",
                   "$JS.API.CONSUMER.CREATE.EVENTS", "$JS.FC.>" ],
        subscribe: "_INBOX.>" } } ] })"}}};
  const auto sink_of = [&](const std::string& user, const std::string& parameters = {}) {
    return make_nats("nats://" + user + ":pw@" + server.address() + "/EVENTS" + parameters);
  };
  const auto writer = sink_of("writer", "?create=true");
  REQUIRE(writer->open().status == Opened::opened);
  CHECK(writer->deliver(make_batch(*writer, {}, 3), 0).status == DeliveryResult::Status::delivered);
  CHECK(writer->open().tail == tail_of(3));
  const auto reader = sink_of("reader");
  CHECK(positions_in(*reader) == positions_to(3));
  CHECK(reader->open().tail == tail_of(3));
}

TEST_CASE("a user without permission is told which one is missing, and nothing is stored") {
  if (skipped_without_nats()) return;
  const NatsServer server{{.settings = {R"(authorization { users: [
    { user: admin, password: pw },
    { user: blind, password: pw, permissions: { publish: { deny: "$JS.API.STREAM.INFO.>" } } },
    { user: mute, password: pw, permissions: { publish: { deny: "EVENTS.>" } } } ] })"}}};
  const NatsClient client{"nats://admin:pw@" + server.address()};
  client.create_stream("EVENTS");
  const auto url = [&](const std::string& user) {
    return "nats://" + user + ":pw@" + server.address() + "/EVENTS?timeout_ms=1000";
  };
  const OpenResult blind = open_at(url("blind"));
  CHECK(blind.status == Opened::unusable);
  CHECK(contains(blind.detail, "does not permit"));
  CHECK(contains(blind.hint, "$JS.API.STREAM.INFO.EVENTS"));

  const auto mute = make_nats(url("mute"));
  REQUIRE(mute->open().status == Opened::opened);
  const DeliveryResult result = mute->deliver(make_batch(*mute, {}, 3), 0);
  CHECK(result.status == DeliveryResult::Status::retry_later);
  CHECK(contains(result.detail, "does not permit"));
  CHECK(result.done == 0);
  CHECK(client.state_of("EVENTS").messages == 0);
}

TEST_CASE("a server that is not there, or has no streams, is waited for") {
  if (skipped_without_nats()) return;
  CHECK(open_at("nats://no-such-host.invalid:4222/EVENTS?timeout_ms=2000").status ==
        Opened::retry_later);
  NatsServer server;
  const std::string url = server.url() + "/EVENTS?timeout_ms=300&create=true";
  CHECK(open_at(url).status == Opened::opened);
  server.freeze();
  CHECK(open_at(url).status == Opened::retry_later);
  server.thaw();
  server.kill_hard();
  const OpenResult gone = open_at(url);
  CHECK(gone.status == Opened::retry_later);
  CHECK(contains(gone.detail, server.address()));
  server.start();
  CHECK(open_at(url).status == Opened::opened);
}

TEST_CASE("one server of several is enough") {
  if (skipped_without_nats()) return;
  CHECK(open_at("nats://127.0.0.1:1,no-such-host.invalid:4222," + shared_nats_server().address() +
                "/" + fresh_stream())
            .status == Opened::opened);
}

}  // namespace outseal::test
