// The relays of one process: what is observed of them, and what the snapshot makes of it. The
// database and the files are real.
#include "relay/supervisor.h"

#include <doctest/doctest.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "sinks/file/sink.h"
#include "sql/connection.h"
#include "store/migrations.h"
#include "store/pause.h"
#include "support/program.h"
#include "support/temp_folder.h"

using namespace outseal;
using namespace outseal::relay;
using namespace std::chrono_literals;

namespace {

using State = RelaySnapshot::State;

class Site {
 public:
  Site() {
    connection_ = sql::open(url(), sql::OpenMode::create);
    connection_->execute("PRAGMA journal_mode = WAL");
    store::migrate_up(*connection_, store::newest_version(), {});
  }

  sql::Connection& connection() { return *connection_; }
  std::string file(const std::string& name) const { return folder_.file(name); }
  void append(int count) {
    for (int i = 0; i < count; ++i)
      connection_->execute(
          "INSERT INTO outseal_outbox (topic, key, type, payload) VALUES ('t', 'k', 'x', '{}')");
  }
  /// A relay of `name` into the file of that name.
  RelayJob job(const std::string& name) const {
    RelayJob job;
    const std::string path = file(name + "/events");
    job.options.database = url();
    job.options.subscription = {.name = name, .sink = "file:" + path, .event_source = "/" + name};
    job.options.core.backoff_max = 200ms;
    job.make_sink = [path, name] { return std::make_unique<sinks::FileSink>(path, "/" + name); };
    return job;
  }

 private:
  Url url() const { return Url::parse("--db", "sqlite:" + folder_.file("site.db")); }

  test::TempFolder folder_;
  std::unique_ptr<sql::Connection> connection_;
};

/// The relays of some subscriptions at work.
class Run {
 public:
  explicit Run(std::vector<RelayJob> jobs)
      : supervisor_{std::move(jobs), [](std::string_view, const observe::Observation&) {}},
        thread_{[this] { result_ = supervisor_.run(stop_.get_token()); }} {}
  ~Run() { end(); }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  RelaySnapshot of(std::size_t index) const { return supervisor_.snapshot().at(index); }
  void wait_for(std::size_t index, State state) const {
    test::wait_until("the state of a relay", [&] { return of(index).state == state; });
  }
  SupervisorResult end() {
    stop_.request_stop();
    if (thread_.joinable()) thread_.join();
    return result_;
  }

 private:
  std::stop_source stop_;
  Supervisor supervisor_;
  SupervisorResult result_;
  std::thread thread_;
};

/// The one observation of its kind.
template <typename O>
O only(const std::vector<observe::Observation>& seen) {
  std::vector<O> found;
  for (const auto& what : seen)
    if (const O* one = std::get_if<O>(&what)) found.push_back(*one);
  REQUIRE(found.size() == 1);
  return found.front();
}

}  // namespace

TEST_CASE("a snapshot shows where a relay is, from its start to its end") {
  Site site;
  std::filesystem::create_directory(site.file("main"));
  site.append(3);
  Run run{{site.job("main")}};
  test::wait_until("the acknowledgement", [&] { return run.of(0).acked == Position{3}; });
  run.wait_for(0, State::leading);
  const RelaySnapshot leading = run.of(0);
  CHECK(leading.subscription == "main");
  CHECK(leading.bound == Position{3});
  CHECK(leading.in_flight() == 0);
  CHECK(leading.published == 3);
  CHECK(leading.last_error.empty());
  CHECK_FALSE(leading.last_error_at.has_value());
  CHECK_FALSE(leading.retry_at.has_value());

  CHECK(store::pause(site.connection(), "main", {.actor = "alice", .reason = {}}));
  run.wait_for(0, State::paused);
  const RelaySnapshot paused = run.of(0);
  CHECK(paused.since >= leading.since);
  std::this_thread::sleep_for(1'200ms);  // It has looked again; nothing has changed.
  CHECK(run.of(0).since == paused.since);

  site.append(2);
  CHECK(store::resume(site.connection(), "main", {.actor = "alice", .reason = {}}));
  test::wait_until("the next acknowledgement", [&] { return run.of(0).acked == Position{5}; });
  const SupervisorResult result = run.end();
  CHECK(run.of(0).state == State::finished);
  CHECK_FALSE(result.hangs);
  CHECK(result.endings.at(0).error == nullptr);
  CHECK(result.endings.at(0).result.published == 5);
}

TEST_CASE("what becomes of a batch is observed with its numbers and durations") {
  Site site;
  std::filesystem::create_directory(site.file("main"));
  site.append(3);
  RelayJob job = site.job("main");
  job.options.core.drain = true;
  std::mutex mutex;  // The retention task observes, too.
  std::vector<observe::Observation> seen;
  const auto remember = [&](std::string_view, const observe::Observation& what) {
    const std::lock_guard lock{mutex};
    seen.push_back(what);
  };
  Supervisor supervisor{{job}, remember};
  CHECK_FALSE(supervisor.run({}).hangs);

  const auto bound = only<observe::Bound>(seen);
  CHECK(bound.last == Position{3});
  CHECK(bound.events == 3);
  CHECK(bound.bytes == std::filesystem::file_size(site.file("main/events")));
  CHECK(bound.took > 0us);
  const auto delivered = only<observe::Delivered>(seen);
  CHECK(delivered.status == DeliveryResult::Status::delivered);
  CHECK(delivered.events == 3);
  CHECK(delivered.took > 0us);
  const auto acked = only<observe::Acknowledged>(seen);
  CHECK(acked.last == Position{3});
  CHECK(acked.events == 3);
  CHECK(acked.published == 3);
  CHECK(only<observe::Subscribed>(seen).first_seq == Seq{1});
  CHECK(only<observe::Led>(seen).acked == Position{});
  CHECK(only<observe::SinkOpened>(seen).took > 0us);
  CHECK(only<observe::Finished>(seen).drained);
}

TEST_CASE("a relay that has halted shows why and when it is tried again; its neighbour goes on") {
  Site site;
  std::filesystem::create_directory(site.file("good"));
  site.append(1);
  Run run{{site.job("good"), site.job("bad")}};
  run.wait_for(1, State::halted);
  const RelaySnapshot halted = run.of(1);
  CHECK(halted.subscription == "bad");
  CHECK(halted.acked == Position{});
  CHECK(halted.last_error.find("create the folder") != std::string::npos);
  REQUIRE(halted.last_error_at.has_value());
  REQUIRE(halted.retry_at.has_value());
  CHECK(*halted.retry_at > *halted.last_error_at);
  test::wait_until("the neighbour", [&] { return run.of(0).acked == Position{1}; });

  std::filesystem::create_directory(site.file("bad"));
  test::wait_until("the next try", [&] { return run.of(1).acked == Position{1}; });
  const RelaySnapshot mended = run.of(1);
  CHECK(mended.state == State::leading);
  CHECK(mended.last_error == halted.last_error);
  CHECK_FALSE(mended.retry_at.has_value());
  const SupervisorResult result = run.end();
  for (const RelayEnding& ending : result.endings) CHECK(ending.error == nullptr);
}

TEST_CASE("a snapshot shows a sink that is waited for") {
  Site site;
  std::filesystem::create_directory(site.file("main"));
  sinks::FileSink other{site.file("main/events"), "/main"};
  REQUIRE(other.open().status == OpenResult::Status::opened);
  Run run{{site.job("main")}};
  run.wait_for(0, State::waiting_for_sink);
  CHECK_FALSE(run.of(0).last_error.empty());
  other.close();
  run.wait_for(0, State::leading);
  run.end();
}

TEST_CASE("a single relay that halts ends the run with its error") {
  Site site;
  Run run{{site.job("bad")}};
  run.wait_for(0, State::halted);
  const SupervisorResult result = run.end();
  CHECK_FALSE(run.of(0).retry_at.has_value());
  CHECK(result.endings.at(0).error != nullptr);
}

TEST_CASE("a relay whose sink cannot be made begins nothing") {
  Site site;
  RelayJob job = site.job("main");
  job.make_sink = []() -> std::unique_ptr<Sink> {
    throw Error{ErrorCode::invalid_config, "sink", "unusable"};
  };
  Supervisor supervisor{{job}, [](std::string_view, const observe::Observation&) {}};
  CHECK_THROWS_AS(supervisor.run({}), Error);
  CHECK(supervisor.snapshot().at(0).state == State::starting);
}
