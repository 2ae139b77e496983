// One relay process with a sound sink and many that are in trouble: the sound one gets everything,
// the log and the database say what is wrong with each other one and what helps, and once that is
// done, the same process gives them everything, too.
#include <doctest/doctest.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "conformance/http_receiver.h"
#include "conformance/nats_fixture.h"
#include "support/certificate.h"
#include "support/paths.h"
#include "torture/stage.h"

namespace outseal::test {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;
using Then = RawReceiver::Then;

constexpr milliseconds kBackoff{100};  ///< The shortest; half of it is the shortest wait.
constexpr std::int64_t kTriesMin = 4;  ///< Of each sink that is waited for, before all ends.
constexpr const char* kFine = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// A subscription in trouble.
struct Neighbour {
  std::string name;
  std::string sink;
  std::string trouble;  ///< In the log.
  std::string hint;     ///< The same.
  bool waits;           ///< Its relay waits for the sink, or else it halts and is tried again.
  std::function<void()> mend = {};
  /// What its sink holds, or which effects it had.
  std::function<std::vector<StoredEvent>()> stored = {};
};

std::string header_in(const std::string& request, const std::string& name) {
  const auto begin = request.find("\r\n" + name + ": ");
  if (begin == std::string::npos) return "";
  const auto value = begin + name.size() + 4;
  return request.substr(value, request.find("\r\n", value) - value);
}

/// A receiver that remembers ids: the first request with each counts.
class Effects {
 public:
  void take(const std::string& id, const std::string& key) {
    const EventId event = EventId::parse(id).value_or(EventId{});
    const bool known = std::any_of(events_.begin(), events_.end(),
                                   [&](const StoredEvent& other) { return other.id == event; });
    if (!known) events_.push_back({Position{events_.size() + 1}, event, key});
  }
  const std::vector<StoredEvent>& events() const { return events_; }

 private:
  std::vector<StoredEvent> events_;
};

/// The service, its sound sink and the servers of all others.
class Street {
 public:
  Street() {
    REQUIRE(run(stage_.start_migrate()) == Exit{});
    NatsClient{nats_.url()}.create_stream("OTHERS", R"({"subjects":["elsewhere.>"]})");
    fs::create_directory(stage_.file("tls"));
    stranger_.write_certificate(ca_file());
  }

  const Stage& stage() const { return stage_; }

  std::vector<Neighbour> neighbours() {
    return {
        {.name = "no-stream",
         .sink = nats_.url() + "/ABSENT",
         .trouble = "stream ABSENT does not exist",
         .hint = "nats stream add ABSENT",
         .waits = false,
         .mend = [this] { NatsClient{nats_.url()}.create_stream("ABSENT"); },
         .stored = [this] { return stored_in("no-stream", "ABSENT"); }},
        {.name = "other-subjects",
         .sink = nats_.url() + "/OTHERS",
         .trouble = "stream OTHERS listens to elsewhere.>, our subjects are OTHERS.>",
         .hint = "subject=PREFIX.{topic}.{key}",
         .waits = false,
         .mend =
             [this] {
               NatsClient{nats_.url()}.ask(
                   "STREAM.UPDATE.OTHERS",
                   R"({"name":"OTHERS","subjects":["elsewhere.>","OTHERS.>"]})");
             },
         .stored = [this] { return stored_in("other-subjects", "OTHERS"); }},
        {.name = "garbage",
         .sink = garbage_.url(),
         .trouble = "its answer is not HTTP/1.1",
         .hint = "check that host and port are those of a webhook receiver",
         .waits = true,
         .mend = [this] { garbage_.answer(kFine, Then::close); },
         .stored = [this] { return effects_of(garbage_); }},
        {.name = "silent",
         .sink = silent_.url("?outseal.timeout_ms=300"),
         .trouble = "no answer in time",
         .hint = "raise outseal.timeout_ms",
         .waits = true,
         .mend = [this] { silent_.answer(kFine, Then::close); },
         .stored = [this] { return effects_of(silent_); }},
        {.name = "untrusted",
         .sink = "https://localhost:" + std::to_string(untrusted_.port()) +
                 "/hook?outseal.ca_file=" + ca_file(),
         .trouble = "certificate is not trusted",
         .hint = "outseal.ca_file",
         .waits = true,
         .mend = [this] { authority_.write_certificate(ca_file()); },
         .stored = [this] { return effects_of(untrusted_); }},
        {.name = "nowhere",
         .sink = "http://nowhere.invalid/hook?outseal.connect_timeout_ms=2000",
         .trouble = "nowhere.invalid",
         .hint = "; ",  // Which one depends on whether the name server answers in time.
         .waits = true},
    };
  }

  /// Events with a few keys, and their rows of business.
  void produce(int count) const {
    stage_.execute(
        "BEGIN IMMEDIATE; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i <"
        " " +
        std::to_string(count) +
        ") INSERT INTO outseal_outbox (topic, key, type, payload)"
        " SELECT 'orders', 'key-' || i % 5, 'placed', '{}' FROM n;"
        " INSERT INTO ledger (event_id, key, too_large) SELECT event_id, key, 0 FROM outseal_outbox"
        " WHERE event_id NOT IN (SELECT event_id FROM ledger) ORDER BY seq; COMMIT");
  }

  std::unique_ptr<Process> start_relay(const std::vector<Neighbour>& neighbours) const {
    std::ofstream config{stage_.file("relay.toml")};
    config << "db = \"" << stage_.database()
           << "\"\npoll_max_ms = 20\nbackoff_min_ms = " << kBackoff.count()
           << "\nbackoff_max_ms = " << 2 * kBackoff.count() << '\n';
    const auto add = [&config](const std::string& name, const std::string& sink) {
      config << "[[subscription]]\nname = \"" << name << "\"\nsink = \"" << sink << "\"\n";
    };
    add("main", stage_.sink());
    for (const Neighbour& neighbour : neighbours) add(neighbour.name, neighbour.sink);
    config.close();
    return std::make_unique<Process>(
        std::vector<std::string>{program_path("outseal-relay"), "run", "--config",
                                 stage_.file("relay.toml")},
        Environment{}, stage_.log());
  }

  /// The lines of the log with all of these words.
  std::vector<std::string> lines_with(const std::vector<std::string>& words) const {
    std::vector<std::string> lines;
    std::ifstream log{stage_.log()};
    for (std::string line; std::getline(log, line);)
      if (std::all_of(words.begin(), words.end(), [&line](const std::string& word) {
            return line.find(word) != std::string::npos;
          }))
        lines.push_back(line);
    return lines;
  }

 private:
  std::string ca_file() const { return stage_.file("tls/ca.pem"); }

  std::vector<StoredEvent> stored_in(const std::string& subscription,
                                     const std::string& stream) const {
    const auto sink = sinks::make_sink(Url::parse("sink", nats_.url() + "/" + stream),
                                       sinks::context_of("/outseal/" + subscription, subscription));
    const NatsClient client{nats_.url()};
    std::vector<StoredEvent> events;
    const auto reader = sink->read();
    for (SinkRecord record; reader->next(record);) {
      const auto headers = client.headers_of(stream, record.position.value());
      events.push_back({record.position, record.event_id, headers.at("ce-subject")});
    }
    return events;
  }

  static std::vector<StoredEvent> effects_of(const RawReceiver& receiver) {
    Effects effects;
    for (const std::string& request : receiver.asked())
      effects.take(header_in(request, "webhook-id"), header_in(request, "ce-subject"));
    return effects.events();
  }

  static std::vector<StoredEvent> effects_of(const HttpReceiver& receiver) {
    Effects effects;
    for (const Asked& asked : receiver.asked())
      effects.take(asked.header("webhook-id"), asked.header("ce-subject"));
    return effects.events();
  }

  Stage stage_{Stage::Storage::memory};
  NatsServer nats_;
  RawReceiver garbage_{"220 mail.example ESMTP\r\n", Then::close};
  RawReceiver silent_{"", Then::hold};
  Identity authority_ = Identity::authority("our authority");
  Identity stranger_ = Identity::authority("a stranger");
  Identity server_{"receiver", "DNS:localhost", authority_};
  HttpReceiver untrusted_{
      [](const httplib::Request&, httplib::Response& response) { response.status = 200; },
      std::make_unique<httplib::SSLServer>(server_.certificate(), server_.key(), nullptr)};
};

std::int64_t tries_of(const Street& street, const Neighbour& neighbour) {
  return static_cast<std::int64_t>(
      street
          .lines_with({neighbour.waits ? "event=sink_waiting" : "event=halted",
                       "subscription=" + neighbour.name + " "})
          .size());
}

/// How `outseal-relay status` ends.
Exit run_status(const Street& street) {
  Process status{{program_path("outseal-relay"), "status", "--db", street.stage().database()},
                 Environment{},
                 street.stage().log()};
  return status.wait();
}

Exit end_with_sigterm(Process& relay) {
  relay.send(SIGTERM);
  return relay.wait();
}

TEST_CASE("sinks in trouble hold no sound one, and get everything once they are mended") {
  if (skipped_without_nats()) return;
  Street street;
  std::vector<Neighbour> neighbours = street.neighbours();
  street.produce(40);
  const auto begin = Clock::now();
  const auto relay = street.start_relay(neighbours);
  for (const Neighbour& neighbour : neighbours) {
    wait_until("the trouble of " + neighbour.name,
               [&] { return tries_of(street, neighbour) >= kTriesMin; });
    // Meanwhile there is always more to publish.
    street.produce(5);
    wait_until("the sound sink",
               [&] { return street.stage().violations(Extent::drained).empty(); });
  }
  const Exit status = run_status(street);
  CHECK(status == Exit{1, 0});

  const auto tries_max = 1 + (Clock::now() - begin) / (kBackoff / 2);
  for (const Neighbour& neighbour : neighbours) {
    CAPTURE(neighbour.name);
    const std::string name = "subscription=" + neighbour.name + " ";
    CHECK_MESSAGE(!street.lines_with({name, neighbour.trouble, neighbour.hint}).empty(),
                  street.stage().log_tail());
    CHECK(tries_of(street, neighbour) <= tries_max);
    // Beside its tries it was started, made and leading.
    if (neighbour.waits)
      CHECK(static_cast<std::int64_t>(street.lines_with({name}).size()) <=
            tries_of(street, neighbour) + 4);
  }

  for (const Neighbour& neighbour : neighbours)
    if (neighbour.mend) neighbour.mend();
  street.produce(5);
  for (const Neighbour& neighbour : neighbours) {
    if (!neighbour.stored) continue;
    const auto missing = [&] {
      return street.stage().violations(Extent::drained, neighbour.stored());
    };
    wait_until(neighbour.name, [&] { return missing().empty(); });
  }
  CHECK(end_with_sigterm(*relay) == Exit{});
  CHECK(joined(street.stage().violations(Extent::drained)) == "");
}

}  // namespace
}  // namespace outseal::test
