// The inbox in another SQLite file: no server, but a backup that is put back.
#include <sqlite3.h>

#include <functional>
#include <stdexcept>

#include "support/paths.h"
#include "support/temp_folder.h"
#include "torture/sink_stage.h"

namespace outseal::test {
namespace {

class SqliteInbox final : public SinkServer {
 public:
  SqliteInbox() { migrate(); }

  SinkTraits traits() const override {
    return {.name = "inbox on sqlite", .mutant = "no_inbox_condition"};
  }

  std::string url() const override {
    return "sqlite:" + path() + "?event_bytes_max=" + std::to_string(event_bytes_max_);
  }

  std::vector<StoredEvent> stored() override {
    std::vector<StoredEvent> events;
    query("SELECT position, event_id, key FROM outseal_inbox_event ORDER BY position",
          [&](sqlite3_stmt* row) {
            const auto text = [row](int column) {
              return reinterpret_cast<const char*>(sqlite3_column_text(row, column));
            };
            events.push_back({Position{static_cast<std::uint64_t>(sqlite3_column_int64(row, 0))},
                              EventId::parse(text(1)).value_or(EventId{}), text(2)});
          });
    return events;
  }

  /// As an older backup would have it.
  void lose_tail(std::size_t count) override {
    const std::string before =
        "(SELECT position - " + std::to_string(count) + " FROM outseal_inbox_tail)";
    execute("BEGIN; DELETE FROM outseal_inbox_event WHERE position > " + before +
            "; UPDATE outseal_inbox_tail SET position = " + before +
            ", last_event_id = (SELECT event_id FROM outseal_inbox_event"
            " ORDER BY position DESC LIMIT 1); COMMIT");
  }

  void recreate() override {
    execute("BEGIN; DELETE FROM outseal_inbox_event; DELETE FROM outseal_inbox_tail; COMMIT");
  }

  void lift_limit() override { event_bytes_max_ = 1U << 20U; }

 private:
  std::string path() const { return folder_.file("receiver.db"); }

  void migrate() {
    Process process{{program_path("outseal-migrate"), "up", "--db", "sqlite:" + path()},
                    {},
                    folder_.file("migrate.log")};
    if (process.wait() != Exit{}) throw std::runtime_error{"the inbox cannot be made"};
  }

  void execute(const std::string& sql) {
    query(sql, [](sqlite3_stmt*) {});
  }

  void query(const std::string& sql, const std::function<void(sqlite3_stmt*)>& take) {
    sqlite3* database = nullptr;
    int status = sqlite3_open(path().c_str(), &database);
    sqlite3_busy_timeout(database, 20'000);
    const char* rest = sql.c_str();
    while (status == SQLITE_OK && *rest != '\0') {
      sqlite3_stmt* statement = nullptr;
      status = sqlite3_prepare_v2(database, rest, -1, &statement, &rest);
      while (status == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW) take(statement);
      if (status == SQLITE_OK) status = sqlite3_finalize(statement);
    }
    const std::string message = sqlite3_errmsg(database);
    sqlite3_close(database);
    if (status != SQLITE_OK) throw std::runtime_error{sql + ": " + message};
  }

  TempFolder folder_;
  std::size_t event_bytes_max_ = kSinkEventBytesMax;
};

}  // namespace

bool skipped_without_sink_server() { return false; }

std::unique_ptr<SinkServer> make_sink_server() { return std::make_unique<SqliteInbox>(); }

}  // namespace outseal::test
