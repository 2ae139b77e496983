#include "torture/stage.h"

#include <sqlite3.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <unordered_set>

#include "base/url.h"
#include "outseal/error.h"
#include "sinks/registry.h"
#include "support/paths.h"

namespace outseal::test {
namespace {

constexpr const char* kBusinessTable =
    "PRAGMA journal_mode = WAL;"
    // One row an event that a committed transaction appended, in the order of the commits.
    "CREATE TABLE ledger (n INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL UNIQUE,"
    " key TEXT NOT NULL, operation TEXT UNIQUE, too_large INTEGER NOT NULL);";

const std::string& program(const std::string& name) {
  static std::map<std::string, std::string> paths;
  return paths.try_emplace(name, program_path(name)).first->second;
}

std::filesystem::path folder_for(Stage::Storage storage) {
  const char* memory = "/dev/shm";
  const bool usable = storage == Stage::Storage::memory && ::access(memory, W_OK | X_OK) == 0;
  return usable ? memory : std::filesystem::temp_directory_path();
}

using Row = std::function<std::string(int)>;

/// Runs `sql` and gives each row, as a function from column to text, to `take`.
void query(const std::string& path, const std::string& sql,
           const std::function<void(const Row&)>& take) {
  sqlite3* database = nullptr;
  sqlite3_stmt* statement = nullptr;
  int status =
      sqlite3_open_v2(path.c_str(), &database, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
  if (status == SQLITE_OK) sqlite3_busy_timeout(database, 20'000);
  const char* rest = sql.c_str();
  while (status == SQLITE_OK && *rest != '\0') {
    status = sqlite3_prepare_v2(database, rest, -1, &statement, &rest);
    if (status != SQLITE_OK || statement == nullptr) break;
    while ((status = sqlite3_step(statement)) == SQLITE_ROW) {
      take([statement](int column) -> std::string {
        const auto* text = sqlite3_column_text(statement, column);
        return text == nullptr ? "" : reinterpret_cast<const char*>(text);
      });
    }
    status = sqlite3_finalize(statement);
  }
  const std::string message = status == SQLITE_OK ? "" : sqlite3_errmsg(database);
  sqlite3_close(database);
  if (status != SQLITE_OK) throw std::runtime_error{sql + ": " + message};
}

}  // namespace

Stage::Stage(Storage storage) : folder_{folder_for(storage)}, log_{folder_.file("programs.log")} {
  execute(kBusinessTable);
}

std::string Stage::sink() const {
  return "file:" + sink_path() +
         "?segment_bytes=65536&event_bytes_max=" + std::to_string(kSinkEventBytesMax);
}

std::unique_ptr<Process> Stage::start_migrate(const Environment& environment) const {
  return std::make_unique<Process>(
      std::vector<std::string>{program("outseal-migrate"), "up", "--db", database()}, environment,
      log_);
}

std::unique_ptr<Process> Stage::start_producer(std::uint64_t seed, unsigned threads,
                                               std::uint64_t transactions,
                                               const Environment& environment) const {
  return std::make_unique<Process>(
      std::vector<std::string>{OUTSEAL_PRODUCER, folder_.file("service.db"), file("aborted.txt"),
                               std::to_string(seed), std::to_string(threads),
                               std::to_string(transactions)},
      environment, log_);
}

std::unique_ptr<Process> Stage::start_relay(const std::vector<std::string>& flags,
                                            const Environment& environment) const {
  return start_relay_to(sink(), flags, environment);
}

std::unique_ptr<Process> Stage::start_relay_to(const std::string& sink,
                                               const std::vector<std::string>& flags,
                                               const Environment& environment) const {
  std::vector<std::string> words{
      program("outseal-relay"), "run", "--db", database(), "--sink", sink};
  words.insert(words.end(), flags.begin(), flags.end());
  return std::make_unique<Process>(words, environment, log_);
}

std::unique_ptr<Process> Stage::start_parked(const std::vector<std::string>& words,
                                             const Environment& environment) const {
  std::vector<std::string> all{program("outseal-relay"), "parked"};
  all.insert(all.end(), words.begin(), words.end());
  all.insert(all.end(), {"--db", database()});
  return std::make_unique<Process>(all, environment, log_);
}

void Stage::back_up(const std::string& copy) const {
  execute("PRAGMA wal_checkpoint(TRUNCATE)");  // The file is then all there is.
  std::filesystem::copy_file(file("service.db"), file(copy));
}

void Stage::restore(const std::string& copy) const {
  for (const char* const beside : {"service.db-wal", "service.db-shm"})
    std::filesystem::remove(file(beside));
  std::filesystem::copy_file(file(copy), file("service.db"),
                             std::filesystem::copy_options::overwrite_existing);
}

void Stage::execute(const std::string& sql) const {
  query(folder_.file("service.db"), sql, [](const Row&) {});
}

std::int64_t Stage::number(const std::string& sql) const {
  std::int64_t number = 0;
  query(folder_.file("service.db"), sql, [&](const Row& row) { number = std::stoll(row(0)); });
  return number;
}

std::vector<CommittedEvent> Stage::committed() const {
  std::unordered_set<std::string> aside;
  query(folder_.file("service.db"),
        "SELECT event_id FROM outseal_parked WHERE state IN ('parked', 'queued', 'discarded')",
        [&](const Row& row) { aside.insert(row(0)); });
  std::vector<CommittedEvent> events;
  query(folder_.file("service.db"), "SELECT event_id, key FROM ledger ORDER BY n",
        [&](const Row& row) {
          events.push_back({EventId::parse(row(0)).value_or(EventId{}), row(1),
                            aside.contains(row(0)) ? Fate::set_aside : Fate::due});
        });
  return events;
}

std::vector<StoredEvent> Stage::stored() const {
  std::vector<StoredEvent> events;
  const auto sink = sinks::make_sink(Url::parse("sink", this->sink()), {"/outseal/main"});
  const auto reader = sink->read();
  SinkRecord record;
  while (reader->next(record)) {
    const auto line = nlohmann::json::parse(record.encoded, nullptr, false);
    std::string key = line.is_object() ? line.value("subject", "") : "not an event";
    events.push_back({record.position, record.event_id, std::move(key)});
  }
  return events;
}

std::vector<std::string> Stage::violations(Extent extent) const {
  return violations(extent, stored());
}

std::vector<std::string> Stage::violations(Extent extent,
                                           const std::vector<StoredEvent>& stored) const {
  const std::vector<CommittedEvent> committed = this->committed();
  std::vector<std::string> violations = check_history(committed, stored, extent);
  // An event is refused only for its size.
  const std::int64_t wrongly = number(
      "SELECT count(*) FROM outseal_parked p JOIN ledger l ON l.event_id = p.event_id"
      " WHERE p.cause = 'refused' AND NOT l.too_large");
  if (wrongly != 0) violations.push_back(std::to_string(wrongly) + " good events were refused");
  // The outbox holds what the ledger holds; retention may have removed some.
  const std::int64_t foreign = number(
      "SELECT count(*) FROM outseal_outbox o WHERE NOT EXISTS"
      " (SELECT 1 FROM ledger l WHERE l.event_id = o.event_id)");
  if (foreign != 0) violations.push_back(std::to_string(foreign) + " events without business row");
  std::unordered_set<std::string> aborted;
  std::ifstream lines{file("aborted.txt")};
  for (std::string id; std::getline(lines, id);) aborted.insert(std::move(id));
  for (const CommittedEvent& event : committed) {
    if (!aborted.contains(event.id.to_string())) continue;
    violations.push_back("an aborted transaction left event " + event.id.to_string());
  }
  return violations;
}

std::string Stage::log_tail() const {
  std::ifstream file{log_};
  const std::string text{std::istreambuf_iterator<char>{file}, {}};
  constexpr std::size_t kBytes = 4'000;
  return text.size() > kBytes ? text.substr(text.size() - kBytes) : text;
}

Exit run(std::unique_ptr<Process> process) { return process->wait(); }

}  // namespace outseal::test
