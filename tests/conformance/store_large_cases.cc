// What is too large to be published is not read: its length is looked at first.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "conformance/store_relay_fixture.h"

using namespace outseal;
using namespace outseal::test;

namespace {

constexpr std::uint64_t kHuge = 200'000'000;

/// Takes payloads up to a megabyte.
class SmallSink final : public Sink {
 public:
  SinkFeatures features() const override { return {}; }
  std::size_t payload_bytes_max() const override { return 1'000'000; }
  std::optional<std::string> encode(const EventRow& row, Position position,
                                    std::string& out) override {
    return any_.encode(row, position, out);
  }
  OpenResult open() override { return {}; }
  DeliveryResult deliver(const Batch&, std::size_t) override { return {}; }
  void close() noexcept override {}
  std::unique_ptr<SinkReader> read() override { return nullptr; }

 private:
  EncodingSink any_;
};

/// Leaves this process half of a huge payload beyond what it has now.
void limit_memory() {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  std::uint64_t pages = 0;
  std::ifstream{"/proc/self/statm"} >> pages;
  rlimit limit{};
  ::getrlimit(RLIMIT_AS, &limit);
  limit.rlim_cur = pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)) + kHuge / 2;
  ::setrlimit(RLIMIT_AS, &limit);
#endif
}

/// What a relay with little memory publishes and sets aside; in a process of its own.
/// @returns "published|reason reason ", with what went wrong instead if something did.
std::string publish_with_little_memory(const Url& url, const store::PageLimits& limits = {}) {
  int pipe[2] = {};
  REQUIRE(::pipe(pipe) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    limit_memory();
    std::string said;
    try {
      const auto connection = sql::open(url);
      SmallSink sink;
      SubscriptionLog log{*connection, "small", sink};
      log.declare({.name = "small", .topics = {"*"}, .sink = "file:s", .event_source = {}});
      const auto lease = log.acquire("me", 60s);
      const Batch batch = log.read_page(lease.state.cursor, {}, limits);
      if (log.bind(batch, std::nullopt, 60s) != WriteOutcome::done) said = "not bound ";
      // As after a crash.
      if (log.read_journal(batch.first).bytes != batch.bytes) said = "other bytes ";
      said += batch.bytes + "|";
      for (const ParkedEntry& parked : batch.parked) said += parked.reason + ". ";
    } catch (const std::exception& error) {
      said = error.what();
    }
    static_cast<void>(!::write(pipe[1], said.data(), said.size()));
    ::_exit(0);
  }
  ::close(pipe[1]);
  std::string said;
  char buffer[512];
  for (ssize_t got = 0; (got = ::read(pipe[0], buffer, sizeof buffer)) > 0;)
    said.append(buffer, static_cast<std::size_t>(got));
  ::close(pipe[0]);
  ::waitpid(child, nullptr, 0);
  return said;
}

}  // namespace

TEST_CASE("a payload that is larger than the sink takes is parked unread, and the others flow") {
  Fixture f;
  const bool sqlite = f.connection->dialect() == "sqlite";
  const std::string size = std::to_string(kHuge);
  f.append("a", "k1");
  SUBCASE("text") {
    f.execute(sqlite ? "INSERT INTO outseal_outbox (topic, key, type, payload)"
                       " VALUES ('t', 'k2', 'x', CAST(zeroblob(" +
                           size + ") AS TEXT))"
                     : "INSERT INTO outseal_outbox (topic, key, type, payload)"
                       " VALUES ('t', 'k2', 'x', repeat('x', " +
                           size + "))");
  }
  SUBCASE("bytes") {
    f.execute(sqlite ? "INSERT INTO outseal_outbox (topic, key, type, payload)"
                       " VALUES ('t', 'k2', 'x', zeroblob(" +
                           size + "))"
                     : "INSERT INTO outseal_outbox (topic, key, type, payload_bytes)"
                       " VALUES ('t', 'k2', 'x', convert_to(repeat('x', " +
                           size + "), 'UTF8'))");
  }
  f.append("b", "k1");
  f.append("behind", "k2");
  f.append(std::string(300'000, 'c'), "k1");
  f.append(std::string(1'000'001, 'd'), "k3");
  CHECK(publish_with_little_memory(f.store->url()) ==
        "1:a;2:b;3:" + std::string(300'000, 'c') + ";|its payload of " + size +
            " bytes is longer than the sink's limit of 1000000. an earlier event of its key is"
            " parked. its payload of 1000001 bytes is longer than the sink's limit of 1000000. ");
}

TEST_CASE("headers that no constraint has bounded are parked unread, and the others flow") {
  Fixture f;
  f.append("a");
  if (f.connection->dialect() == "sqlite")
    f.execute(
        "PRAGMA ignore_check_constraints = ON;"
        "INSERT INTO outseal_outbox (topic, key, type, payload, headers)"
        " VALUES ('t', '', 'x', 'p', '{\"a\":\"' || hex(zeroblob(200000)) || '\"}')");
  else
    f.execute(
        "ALTER TABLE outseal_outbox DISABLE TRIGGER USER;"
        "INSERT INTO outseal_outbox (topic, key, type, payload, headers)"
        " VALUES ('t', '', 'x', 'p', ('{\"a\":\"' || repeat('x', 100000000) || '\"}')::json);"
        "ALTER TABLE outseal_outbox ENABLE TRIGGER USER");
  f.append("b");
  CHECK(publish_with_little_memory(f.store->url()) ==
        "1:a;2:b;|its headers are longer than any constraint allows. ");
}

TEST_CASE("a page of events whose headers are as long as they may be takes no more memory") {
  Fixture f;
  const bool sqlite = f.connection->dialect() == "sqlite";
  // Compressed they are small, and as text 200 MB.
  f.append("a");
  f.execute(std::string{"INSERT INTO outseal_outbox (topic, key, type, payload, headers)"
                        " WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
                        " WHERE i < 3000) SELECT 't', '', 'x', 'b', "} +
            (sqlite ? "'{\"a\":\"' || hex(zeroblob(32500)) || '\"}' FROM n"
                    : "('{\"a\":\"' || repeat('x', 65000) || '\"}')::json FROM n"));
  const std::string said = publish_with_little_memory(f.store->url(), store::kServerPage);
  CHECK(said.starts_with("1:a;2:b;3:b;"));
  CHECK(said.ends_with("3001:b;|"));
}

TEST_CASE("an event whose payload was erased is parked, and the others flow") {
  Fixture f;
  if (f.connection->dialect() == "sqlite") return;  // It has no row without a payload.
  f.append("erased");
  f.append("kept");
  f.execute("SET session_replication_role = replica");  // As a load without triggers does.
  f.execute("UPDATE outseal.outbox SET payload = NULL WHERE seq = 1");
  const Batch batch = f.publish();
  CHECK(batch.size() == 1);
  REQUIRE(batch.parked.size() == 1);
  CHECK(batch.parked[0].reason == "it has no payload: somebody has erased it");
}
