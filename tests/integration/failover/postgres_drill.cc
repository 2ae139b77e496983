#include "integration/failover/postgres_drill.h"

#include <doctest/doctest.h>

#include <chrono>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "sinks/registry.h"
#include "support/paths.h"
#include "support/program.h"

namespace outseal::test {
namespace {

using namespace std::chrono_literals;

std::string read_file(const std::string& path) {
  std::ifstream in{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}

/// A relay of ours, as far as one step of a drill needs it.
struct HandRelay {
  std::unique_ptr<sql::Connection> connection;
  std::unique_ptr<Sink> sink;
  store::SubscriptionLog log;
  SubscriptionState state;

  HandRelay(const std::string& url, const Url& sink_url, const std::string& name)
      : connection{sql::open(Url::parse("--db", url))},
        sink{sinks::make_sink(sink_url, {.event_source = "/outseal/" + name})},
        log{*connection, name, *sink} {
    log.declare({.name = name, .sink = sinks::sink_identity(sink_url), .event_source = {}});
    auto acquired = log.acquire("a drill", 60s);
    REQUIRE(acquired.granted);
    state = std::move(acquired.state);
    finish_pending(sink->open().tail.value());
  }
  ~HandRelay() {
    sink->close();
    log.release();
  }
  HandRelay(const HandRelay&) = delete;
  HandRelay& operator=(const HandRelay&) = delete;

  void finish_pending(const Tail& tail) {
    if (state.bound == state.acked.position) return;
    const Batch batch = log.read_journal(state.bound);
    deliver(batch, tail.position.value() - state.acked.position.value());
    acknowledge(batch);
  }
  Batch bind(std::size_t events) {
    Batch batch = log.read_page(state.cursor, state.acked, {.events_max = events});
    REQUIRE(log.bind(batch, std::nullopt, 60s) == WriteOutcome::done);
    state.cursor = batch.to;
    return batch;
  }
  void deliver(const Batch& batch, std::size_t from) const {
    if (from == batch.size()) return;
    REQUIRE(sink->deliver(batch, from).status == DeliveryResult::Status::delivered);
  }
  void acknowledge(const Batch& batch) {
    if (batch.size() == 0) return;
    state.acked = batch.tail_after(batch.size());
    REQUIRE(log.acknowledge({state.acked, batch.first, "by hand"}, 60s) == WriteOutcome::done);
  }
};

/// The first `count` events of a batch.
Batch head_of(Batch batch, std::size_t count) {
  batch.entries.resize(count);
  batch.bytes.resize(count == 0 ? 0 : batch.entries.back().end);
  return batch;
}

}  // namespace

Ended run_program(const std::vector<std::string>& words, const std::string& log) {
  std::vector<std::string> arguments = words;
  arguments[0] = program_path(arguments[0]);
  const auto before = read_file(log).size();
  Program program{{.arguments = std::move(arguments), .folder = "/", .log = log}};
  const int code = program.wait();
  return {code, read_file(log).substr(before)};
}

std::string Drill::sink_path(const std::string& subscription) const {
  return folder_.file(subscription + ".ndjson");
}

std::string Drill::sink(const std::string& subscription) const {
  return "file:" + sink_path(subscription) + "?event_bytes_max=2000";
}

Ended Drill::relay(const std::vector<std::string>& words) const {
  std::vector<std::string> all{"outseal-relay"};
  all.insert(all.end(), words.begin(), words.end());
  return run_program(all, log());
}

Ended Drill::drain(const std::string& url, const std::string& subscription) const {
  return relay({"run", "--drain", "--db", url, "--sink", sink(subscription), "--subscription",
                subscription, "--standby-max-ms", "100"});
}

Ended Drill::rebase(const std::string& url, const std::string& subscription) const {
  return relay({"rebase", "--db", url, "--sink", sink(subscription), "--subscription", subscription,
                "--json"});
}

std::vector<std::string> Drill::findings(const std::string& url) const {
  const Ended run = run_program({"outseal-reconcile", "run", "--db", url, "--grace-unpublished-s",
                                 "0", "--grace-parked-s", "0"},
                                log());
  INFO(run.output);
  CHECK(run.code <= 1);
  const Ended list =
      run_program({"outseal-reconcile", "findings", "list", "--db", url, "--json"}, log());
  CHECK(list.code <= 1);
  std::vector<std::string> subjects;
  std::istringstream lines{list.output};
  for (std::string line; std::getline(lines, line);) {
    const auto finding = nlohmann::json::parse(line);
    subjects.push_back(finding.at("check").get<std::string>() + " " +
                       finding.at("subject").get<std::string>());
  }
  return subjects;
}

void Drill::publish(const std::string& url, const std::string& subscription,
                    std::size_t events) const {
  HandRelay relay{url, Url::parse("--sink", sink(subscription)), subscription};
  const Batch batch = relay.bind(events);
  relay.deliver(batch, 0);
  relay.acknowledge(batch);
}

void Drill::bind(const std::string& url, const std::string& subscription, std::size_t events,
                 std::size_t arrived) const {
  HandRelay relay{url, Url::parse("--sink", sink(subscription)), subscription};
  const Batch batch = relay.bind(events);
  REQUIRE(batch.size() >= arrived);
  relay.deliver(head_of(batch, arrived), 0);
}

std::vector<StoredEvent> Drill::stored(const std::string& subscription) const {
  std::vector<StoredEvent> events;
  std::ifstream in{sink_path(subscription)};
  for (std::string line; std::getline(in, line) && !in.eof();) {  // A half one is being written.
    const auto event = nlohmann::json::parse(line);
    events.push_back({Position{std::stoull(event.at("sequence").get<std::string>())},
                      EventId::parse(event.at("id").get<std::string>()).value(),
                      event.value("subject", "")});
  }
  return events;
}

Verdict Drill::verify(const std::string& url, const std::string& subscription) const {
  Verdict verdict;
  std::vector<CommittedEvent> committed;
  std::set<std::string> known;
  const auto connection = sql::open(Url::parse("--db", url));
  const auto rows =
      connection->prepare("SELECT event_id::text, key, type FROM outseal.outbox ORDER BY seq");
  while (rows->step()) {
    known.emplace(rows->text(0));
    committed.push_back({EventId::parse(rows->text(0)).value(), std::string{rows->text(1)},
                         rows->text(2) == "poison" ? Fate::set_aside : Fate::due});
  }
  std::vector<StoredEvent> shared;
  std::uint64_t position = 0;
  for (StoredEvent& event : stored(subscription)) {
    if (event.position != Position{++position})
      verdict.violations.push_back("position " + std::to_string(position) + " is missing");
    const std::string id = event.id.to_string();
    if (!known.contains(id)) {
      if (!verdict.ghosts.insert(id).second) verdict.violations.push_back("ghost twice: " + id);
      continue;
    }
    event.position = Position{shared.size() + 1};
    shared.push_back(std::move(event));
  }
  for (std::string& text : check_history(committed, shared, Extent::drained))
    verdict.violations.push_back(std::move(text));
  return verdict;
}

std::string appending(int count, const std::string& topic) {
  return "DO $$ BEGIN FOR i IN 1.." + std::to_string(count) + " LOOP PERFORM outseal.append('" +
         topic + "', 'k' || i % 5, 'x', '{}'::text); COMMIT; END LOOP; END $$";
}

std::string idling(int count) {
  return "DO $$ BEGIN FOR i IN 1.." + std::to_string(count) +
         " LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$";
}

std::int64_t number(const std::string& text) { return std::stoll(text); }

}  // namespace outseal::test
