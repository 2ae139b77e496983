// The relay and the reference receiver of examples/, both killed at random: each committed event
// takes effect there exactly once, and those of a key in their order. OUTSEAL_SEED gives the
// sequence of acts; the moments are the machine's.
#include <doctest/doctest.h>
#include <httplib.h>
#include <signal.h>
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>

#include <chrono>
#include <cstdlib>
#include <ctime>
#include <iostream>
#include <random>
#include <thread>

#include "base/webhook_signature.h"
#include "support/paths.h"
#include "support/program.h"
#include "support/scale.h"
#include "support/secret_file.h"
#include "torture/stage.h"

namespace outseal::test {
namespace {

using std::chrono::milliseconds;

constexpr std::uint64_t kKills = 50;
constexpr std::uint64_t kKillsSoak = 1'000;
/// Each time this many were killed there is more to send.
constexpr std::uint64_t kKillsPerProducer = 5;
constexpr std::uint64_t kTransactions = 40;
constexpr const char* kSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

const std::vector<std::string> kRelayFlags{"--lease-ms",       "150", "--poll-min-ms",    "1",
                                           "--poll-max-ms",    "5",   "--backoff-min-ms", "5",
                                           "--backoff-max-ms", "40",  "--batch-events",   "40"};

std::uint64_t seed_of_run() {
  const char* text = std::getenv("OUTSEAL_SEED");
  return text == nullptr ? std::random_device{}() : std::strtoull(text, nullptr, 10);
}

enum class Memory { by_id, by_position };

/// A service with an outbox here, a webhook receiver with an inbox there.
class Pair {
 public:
  explicit Pair(Memory memory) : memory_{memory}, port_{free_port()} {
    write_secret(stage_.file("secrets.txt"), kSecret);
    REQUIRE(run(stage_.start_migrate()) == Exit{});
    REQUIRE(run(program({program_path("outseal-migrate"), "up", "--db",
                         "sqlite:" + stage_.file("receiver.db")})) == Exit{});
  }

  const Stage& stage() const { return stage_; }
  int port() const { return port_; }

  void produce(std::uint64_t seed) const {
    REQUIRE(run(stage_.start_producer(seed, 2, kTransactions)) == Exit{});
  }

  std::unique_ptr<Process> start_relay(const std::vector<std::string>& more = {},
                                       const Environment& environment = {}) const {
    std::vector<std::string> flags = kRelayFlags;
    flags.insert(flags.end(), more.begin(), more.end());
    return stage_.start_relay_to(
        "http://127.0.0.1:" + std::to_string(port_) +
            "/events?outseal.secrets_file=" + stage_.file("secrets.txt") +
            "&outseal.event_bytes_max=" + std::to_string(kSinkEventBytesMax) +
            "&outseal.in_flight=" + (memory_ == Memory::by_position ? "1" : "8"),
        flags, environment);
  }

  std::unique_ptr<Process> start_receiver() const {
    std::vector<std::string> words{program_path("webhook_receiver"), stage_.file("receiver.db"),
                                   std::to_string(port_), stage_.file("secrets.txt")};
    if (memory_ == Memory::by_position) words.emplace_back("--by-position");
    return program(words);
  }

  /// Starts it and waits until it answers.
  std::unique_ptr<Process> receiver_that_answers() const {
    auto receiver = start_receiver();
    wait_until("the receiver", [&] {
      httplib::Client client{"127.0.0.1", port_};
      return static_cast<bool>(client.Get("/"));
    });
    return receiver;
  }

  std::vector<StoredEvent> effects() const {
    soci::session session{soci::sqlite3, stage_.file("receiver.db")};
    std::vector<StoredEvent> events;
    const soci::rowset<soci::row> rows =
        (session.prepare << "SELECT event_id, subject FROM effect ORDER BY n");
    for (const auto& row : rows)
      events.push_back({Position{events.size() + 1},
                        EventId::parse(row.get<std::string>(0)).value_or(EventId{}),
                        row.get<std::string>(1)});
    return events;
  }

  void check_drained() const {
    const Exit end = run(start_relay({"--drain"}));
    REQUIRE_MESSAGE(end == Exit{}, "drain: code " << end.code << '\n' << stage_.log_tail());
    const auto violations = stage_.violations(Extent::drained, effects());
    CHECK_MESSAGE(violations.empty(), joined(violations) << '\n' << stage_.log_tail());
  }

 private:
  std::unique_ptr<Process> program(const std::vector<std::string>& words) const {
    return std::make_unique<Process>(words, Environment{}, stage_.log());
  }

  const Memory memory_;
  const int port_;
  const Stage stage_{Stage::Storage::memory};
};

void kill(std::unique_ptr<Process>& process) {
  process->send(SIGKILL);
  REQUIRE(process->wait().signal == SIGKILL);
  process.reset();
}

void kill_at_random(Memory memory) {
  const std::uint64_t seed = seed_of_run();
  const std::uint64_t kills = scaled(kKills, kKillsSoak);
  std::cout << kills << " kills, OUTSEAL_SEED=" << seed << std::endl;
  std::mt19937_64 random{seed};
  const Pair pair{memory};
  auto receiver = pair.receiver_that_answers();
  std::unique_ptr<Process> relay;
  for (std::uint64_t killed = 0; killed < kills; ++killed) {
    if (killed % kKillsPerProducer == 0) pair.produce(random());
    if (!relay) relay = pair.start_relay();
    if (!receiver) receiver = pair.start_receiver();
    std::this_thread::sleep_for(milliseconds{random() % 120});
    REQUIRE_MESSAGE(!relay->poll(), pair.stage().log_tail());
    REQUIRE_MESSAGE(!receiver->poll(), pair.stage().log_tail());
    const auto victim = random() % 5;
    if (victim < 4)
      kill(victim < 2 ? relay : receiver);
    else {
      kill(relay);
      kill(receiver);
    }
  }
  if (relay) kill(relay);
  if (!receiver) receiver = pair.receiver_that_answers();
  pair.check_drained();
  const auto effects = pair.effects().size();
  std::cout << effects << " effects, each once; epoch "
            << pair.stage().number("SELECT epoch FROM outseal_subscription") << std::endl;
  CHECK(effects > 0);
}

TEST_CASE("a receiver that remembers ids takes each event once, many at a time") {
  kill_at_random(Memory::by_id);
}

TEST_CASE("a receiver that remembers a position takes each event once, one at a time") {
  kill_at_random(Memory::by_position);
}

TEST_CASE("a relay that dies between an answer and its own note sends again, without effect") {
  for (const Memory memory : {Memory::by_id, Memory::by_position}) {
    const Pair pair{memory};
    const auto receiver = pair.receiver_that_answers();
    pair.produce(7);
    for (const char* place : {"http.after_answer:1", "http.after_answer:7", "http.after_answer:20"})
      CHECK(run(pair.start_relay({"--drain"}, {{"OUTSEAL_FAILPOINT", place}})).signal == SIGKILL);
    CHECK(pair.effects().size() >= 20);
    pair.check_drained();
  }
}

/// A request as the relay would make it.
httplib::Headers signed_headers(const std::string& id, const std::string& position,
                                const std::string& body, std::time_t time,
                                const std::string& previous = {},
                                const std::string& secret = kSecret) {
  return {{"webhook-id", id},
          {"webhook-timestamp", std::to_string(time)},
          {"webhook-signature", webhook_signature({parse_webhook_secret(secret)}, id, time, body)},
          {"outseal-signature", place_signature({parse_webhook_secret(secret)}, id, time,
                                                {"somebody#main", position, previous})},
          {"outseal-stream", "somebody#main"},
          {"outseal-position", position},
          {"outseal-previous-id", previous},
          {"ce-id", id}};
}

TEST_CASE("the receiver keeps its side of the contract") {
  const Pair pair{Memory::by_position};
  const auto receiver = pair.receiver_that_answers();
  httplib::Client client{"127.0.0.1", pair.port()};
  const auto status = [&](const httplib::Headers& headers, const std::string& body,
                          std::string* last = nullptr) {
    const auto answer = client.Post("/events", headers, body, "text/plain");
    REQUIRE(answer);
    if (last != nullptr) *last = answer->get_header_value("outseal-position");
    return answer->status;
  };
  const std::string one = new_event_id().to_string();
  const std::string two = new_event_id().to_string();
  const std::time_t now = std::time(nullptr);
  // Not signed, too old, from the future, by somebody else, with another body, no id.
  CHECK(status({{"webhook-id", one}}, "x") == 401);
  CHECK(status(signed_headers(one, "1", "x", now - 1'000), "x") == 401);
  CHECK(status(signed_headers(one, "1", "x", now + 1'000), "x") == 401);
  CHECK(status(signed_headers(one, "1", "x", now, "", "whsec_" + std::string(32, 'B')), "x") ==
        401);
  CHECK(status(signed_headers(one, "1", "x", now), "y") == 401);
  // A request that somebody has seen, as another event of another stream; a signature for a place
  // as one for a body.
  for (const char* const field : {"outseal-stream", "outseal-position", "outseal-previous-id"}) {
    auto changed = signed_headers(one, "1", "x", now);
    changed.erase(field);
    changed.emplace(field, "2");
    CHECK(status(changed, "x") == 401);
  }
  auto swapped = signed_headers(one, "1", "x", now);
  swapped.erase("webhook-signature");
  swapped.emplace("webhook-signature", swapped.find("outseal-signature")->second);
  CHECK(status(swapped, "1..somebody#main") == 401);
  CHECK(status(signed_headers("no id", "1", "x", now), "x") == 400);
  CHECK(status(signed_headers(one, "", "x", now), "x") == 400);
  CHECK(pair.effects().empty());
  // First, again, too early, next.
  CHECK(status(signed_headers(one, "1", "x", now), "x") == 200);
  CHECK(status(signed_headers(one, "1", "x", now), "x") == 200);
  std::string last;
  CHECK(status(signed_headers(two, "3", "x", now, one), "x", &last) == 409);
  CHECK(last == "1");
  // Another event at a position that is taken: nobody guesses.
  CHECK(status(signed_headers(two, "1", "x", now), "x") == 500);
  // And one that follows another one than the last: an old numbering.
  CHECK(status(signed_headers(two, "2", "x", now, two), "x") == 500);
  CHECK(pair.effects().size() == 1);
  CHECK(status(signed_headers(two, "2", "x", now, one), "x") == 200);
  CHECK(pair.effects().size() == 2);
}

}  // namespace
}  // namespace outseal::test
