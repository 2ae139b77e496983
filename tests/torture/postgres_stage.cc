#include "torture/postgres_stage.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/url.h"
#include "sinks/registry.h"
#include "store/migrations.h"
#include "support/paths.h"

namespace outseal::test {
namespace {

constexpr const char* kTemplate = "stage_template";
constexpr std::size_t kLogBytes = 4'000;

std::string sink_url(const TempFolder& folder) { return "file:" + folder.file("events.ndjson"); }

std::string copy_of_template(PostgresServer& server) {
  static int number = 0;
  std::string name = "stage_" + std::to_string(++number);
  server.execute("CREATE DATABASE " + name + " TEMPLATE " + kTemplate);
  return name;
}

}  // namespace

void make_stage_template(PostgresServer& server) {
  server.create_database(kTemplate);
  store::migrate_up(*sql::open(Url::parse("--db", server.url(kTemplate))),
                    store::newest_version("postgresql"), [](const store::MigrationStatus&) {});
  server.execute("CREATE TABLE k (key text PRIMARY KEY, version bigint NOT NULL DEFAULT 0)",
                 kTemplate);
}

PostgresStage::PostgresStage(PostgresServer& server, const PgBouncer* bouncer)
    : server_{server}, bouncer_{bouncer}, database_{copy_of_template(server)} {}

PostgresStage::~PostgresStage() {
  try {
    server_.drop_database(database_);
  } catch (const std::runtime_error&) {  // It goes with the server.
  }
}

std::string PostgresStage::url() const {
  return bouncer_ != nullptr ? bouncer_->url(database_) : server_.url(database_);
}

std::string PostgresStage::conninfo() const {
  if (bouncer_ == nullptr) return server_.conninfo(database_);
  return "host=127.0.0.1 port=" + std::to_string(bouncer_->port()) + " dbname=" + database_ +
         " user=admin password=" + server_.password();
}

std::unique_ptr<Process> PostgresStage::start_relay(
    const std::vector<std::string>& flags,
    const std::map<std::string, std::string>& environment) const {
  std::vector<std::string> words{
      program_path("outseal-relay"), "run", "--db", url(), "--sink", sink_url(folder_)};
  words.insert(words.end(), flags.begin(), flags.end());
  return std::make_unique<Process>(words, environment, folder_.file("programs.log"));
}

std::unique_ptr<Process> PostgresStage::start_producer(
    std::uint64_t seed, std::uint64_t transactions,
    const std::map<std::string, std::string>& environment) const {
  return std::make_unique<Process>(
      std::vector<std::string>{OUTSEAL_PRODUCER, conninfo(), aborted(), std::to_string(seed), "1",
                               std::to_string(transactions)},
      environment, folder_.file("programs.log"));
}

std::vector<StoredEvent> PostgresStage::stored() const {
  std::vector<StoredEvent> events;
  const auto sink = sinks::make_sink(Url::parse("sink", sink_url(folder_)), {"/outseal/main"});
  const auto reader = sink->read();
  SinkRecord record;
  while (reader->next(record)) {
    const auto line = nlohmann::json::parse(record.encoded, nullptr, false);
    events.push_back({record.position, record.event_id,
                      line.is_object() ? line.value("subject", "") : "not an event"});
  }
  return events;
}

std::string PostgresStage::log_tail() const {
  std::ifstream file{folder_.file("programs.log")};
  const std::string text{std::istreambuf_iterator<char>{file}, {}};
  return text.size() > kLogBytes ? text.substr(text.size() - kLogBytes) : text;
}

}  // namespace outseal::test
