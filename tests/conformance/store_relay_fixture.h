// A store, a subscription and a relay's view of it, for the relay's cases of the store suite.
#pragma once

#include <doctest/doctest.h>
#include <soci/soci.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "conformance/store_suite.h"
#include "outseal/outseal.h"
#include "store/subscription.h"

namespace outseal::test {

using namespace std::chrono_literals;
using store::SubscriptionLog;

/// Encodes as "position:payload;" and refuses what starts with "poison".
class EncodingSink : public Sink {
 public:
  SinkFeatures features() const override { return {}; }
  std::optional<std::string> encode(const EventRow& row, Position position,
                                    std::string& out) override {
    if (row.payload.starts_with("poison")) return "poison";
    out += std::to_string(position.value()) + ":" + std::string{row.payload} + ";";
    return std::nullopt;
  }
  OpenResult open() override { return {}; }
  DeliveryResult deliver(const Batch&, std::size_t) override { return {}; }
  void close() noexcept override {}
  std::unique_ptr<SinkReader> read() override { return nullptr; }
};

/// A store, a subscription and a relay's view of it.
struct Fixture {
  std::unique_ptr<test::StoreUnderTest> store = make_store();
  std::unique_ptr<soci::session> session = store->session();
  std::unique_ptr<sql::Connection> connection = sql::open(store->url());
  EncodingSink sink;
  SubscriptionLog log{*connection, "main", sink};
  SubscriptionState state;
  Cursor cursor;
  Tail tail;
  bool appends_old = false;  ///< What is appended was created long ago.

  explicit Fixture(std::vector<std::string> topics = {"*"}) {
    log.declare(
        {.name = "main", .topics = std::move(topics), .sink = "file:x", .event_source = {}});
    take_lead();
  }
  void take_lead() {
    const auto acquisition = log.acquire("me", 60s);
    REQUIRE(acquisition.granted);
    state = acquisition.state;
    cursor = state.cursor;
    tail = state.acked;
  }
  void append(const std::string& payload, const std::string& key = "",
              const std::string& topic = "t") {
    if (appends_old) {
      const bool sqlite = connection->dialect() == "sqlite";
      return execute(
          "INSERT INTO outseal_outbox (topic, key, type, payload, content_type,"
          " created_at) VALUES ('" +
          topic + "', '" + key + "', 'x', " +
          (sqlite ? "CAST('" + payload + "' AS BLOB)" : "'" + payload + "'") +
          ", 'application/octet-stream', {long_ago})");
    }
    Transaction tx{*session};
    outseal::append(tx, {.topic = topic,
                         .key = key,
                         .type = "x",
                         .payload = payload,
                         .content_type = "text/plain"});
    tx.commit();
  }
  Batch page(std::size_t events_max = 100) {
    return log.read_page(cursor, tail, {.events_max = events_max, .bytes_max = 1U << 20U});
  }
  /// Binds and acknowledges one page.
  Batch publish(std::size_t events_max = 100) {
    Batch batch = page(events_max);
    REQUIRE(log.bind(batch, std::nullopt, 60s) == WriteOutcome::done);
    cursor = batch.to;
    if (!batch.entries.empty()) {
      tail = batch.tail_after(batch.size());
      REQUIRE(log.acknowledge({tail, batch.first, "mark"}, 60s) == WriteOutcome::done);
    }
    return batch;
  }
  /// Runs SQL of a case; see in_dialect().
  void execute(const std::string& sql) {
    connection->execute(in_dialect(connection->dialect(), sql));
  }
  std::int64_t number(const std::string& sql) {
    const auto statement = connection->prepare(in_dialect(connection->dialect(), sql));
    REQUIRE(statement->step());
    return statement->integer(0);
  }
  std::string parked() {
    const auto rows = connection->prepare(
        in_dialect(connection->dialect(), "SELECT seq, state FROM outseal_parked ORDER BY seq"));
    std::string text;
    while (rows->step())
      text += std::to_string(rows->integer(0)) + "=" + std::string{rows->text(1)} + " ";
    return text;
  }
};

}  // namespace outseal::test
