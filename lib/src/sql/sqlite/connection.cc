#include "sql/sqlite/connection.h"

#include <sqlite3.h>
#include <sys/stat.h>

#include <array>
#include <cstdlib>
#include <thread>

#include "base/text.h"
#include "outseal/error.h"
#include "sql/sqlite/statement.h"

namespace outseal::sql::sqlite {
namespace {

using std::chrono::milliseconds;

/// How long a read waits for a file that another process commits to or recovers.
constexpr int kReadWait_ms = 5'000;

class SqliteConnection final : public Connection {
 public:
  SqliteConnection(sqlite3* handle, bool owned) : handle_{handle}, owned_{owned} {}
  ~SqliteConnection() override {
    for (auto& statement : statements_) statement.reset();
    if (owned_) sqlite3_close_v2(handle_);
  }
  SqliteConnection(const SqliteConnection&) = delete;
  SqliteConnection& operator=(const SqliteConnection&) = delete;

  std::string_view dialect() const override { return "sqlite"; }

  Statement& statement(Query query) override {
    auto& slot = statements_[static_cast<std::size_t>(query)];
    if (slot == nullptr) {
      const unsigned flags = owned_ ? SQLITE_PREPARE_PERSISTENT : 0U;
      slot = std::make_unique<SqliteStatement>(handle_, text(query), flags);
    }
    return *slot;
  }

  void execute(std::string_view sql) override {
    const std::string terminated{sql};
    const int result = sqlite3_exec(handle_, terminated.c_str(), nullptr, nullptr, nullptr);
    if (result != SQLITE_OK) fail(handle_, result, "execute");
  }

  std::unique_ptr<Statement> another(Query query) override { return prepare(text(query)); }

  std::unique_ptr<Statement> prepare(std::string_view sql) override {
    return std::make_unique<SqliteStatement>(handle_, sql, 0U);
  }

  std::int64_t changes() const override { return sqlite3_changes64(handle_); }

  void begin(milliseconds wait, Statement* /*first: its step() runs it*/) override {
    if (owned_) require_same_file();
    if (!retry_while_busy("BEGIN IMMEDIATE", wait))
      throw Error{ErrorCode::conflict,
                  "begin",
                  "the database stayed busy for " + std::to_string(wait.count()) + " ms",
                  {.hint = "another writer holds it: keep transactions short, or wait longer",
                   .detail_code = std::to_string(SQLITE_BUSY)}};
  }

  void commit(milliseconds wait, std::span<Statement* const> last) override {
    for (Statement* statement : last) statement->step();
    try {
      // Busy at COMMIT: without a write-ahead log, readers keep the file locked.
      if (!retry_while_busy("COMMIT", wait))
        throw Error{ErrorCode::conflict,
                    "commit",
                    "readers kept the database locked",
                    {.hint = "use journal_mode=WAL, or end long reads",
                     .detail_code = std::to_string(SQLITE_BUSY)}};
    } catch (const Error& error) {
      if (error.code() == ErrorCode::conflict || in_transaction()) throw;
      // SQLite left the transaction by itself: by its documentation it was rolled back, but after
      // an I/O error nobody has seen the file.
      throw Error{ErrorCode::commit_in_doubt,
                  "commit",
                  error.message(),
                  {.hint = "look for the rows, or execute again with the same idempotency key",
                   .detail_code = error.detail_code()}};
    }
  }

  void rollback() noexcept override {
    sqlite3_exec(handle_, "ROLLBACK", nullptr, nullptr, nullptr);
  }

  bool in_transaction() const override { return sqlite3_get_autocommit(handle_) == 0; }

  const void* handle() const override { return handle_; }

  std::uint64_t write_ahead_bytes() const override { return write_ahead_pages_ * page_bytes_; }

  /// Follows the length of the write-ahead log, which starts anew after a complete checkpoint; the
  /// file keeps its size.
  void watch_write_ahead_log() {
    const auto page = prepare("PRAGMA page_size");
    page->step();
    page_bytes_ = static_cast<std::uint64_t>(page->integer(0));
    sqlite3_wal_hook(
        handle_,
        [](void* self, sqlite3*, const char*, int pages) {
          static_cast<SqliteConnection*>(self)->write_ahead_pages_ =
              static_cast<std::uint64_t>(pages);
          return SQLITE_OK;
        },
        this);
  }

  std::int64_t now_ms() override { return wall_clock_ms(); }  // SQLite's clock is the host's.

 private:
  // Without this a restored backup would go unnoticed: the open file lives on under no name.
  void require_same_file() const {
    int moved = 0;
    sqlite3_file_control(handle_, "main", SQLITE_FCNTL_HAS_MOVED, &moved);
    if (moved != 0)
      throw Error{ErrorCode::unreachable,
                  "begin",
                  "the database file was replaced or moved",
                  {.hint = "the next connection opens what stands at the path now"}};
  }

  // SQLite's own busy handler sleeps up to 100 ms at a time, which starves a waiter among many
  // short transactions. Short random pauses share the lock more evenly.
  bool retry_while_busy(const char* sql, milliseconds wait) {
    struct WithoutSleep {  // A service's own busy timeout is left alone.
      sqlite3* handle;
      explicit WithoutSleep(sqlite3* owned) : handle{owned} { set(0); }
      ~WithoutSleep() { set(kReadWait_ms); }
      void set(int wait_ms) const {
        if (handle != nullptr) sqlite3_busy_timeout(handle, wait_ms);
      }
    };
    const WithoutSleep without{owned_ ? handle_ : nullptr};
    const auto deadline = std::chrono::steady_clock::now() + wait;
    for (unsigned pause_us = 50;; pause_us = std::min(pause_us * 2, 500U)) {
      const int result = sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr);
      if (result == SQLITE_OK) return true;
      if ((result & 0xff) != SQLITE_BUSY) fail(handle_, result, sql);
      if (std::chrono::steady_clock::now() >= deadline) return false;
      jitter_ = jitter_ * 1'664'525U + 1'013'904'223U;
      std::this_thread::sleep_for(std::chrono::microseconds{pause_us / 2 + jitter_ % pause_us});
    }
  }

  sqlite3* handle_;
  bool owned_;
  std::uint64_t page_bytes_ = 0;
  std::uint64_t write_ahead_pages_ = 0;  ///< As of our last commit.
  unsigned jitter_ = static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(this) >> 4U);
  std::array<std::unique_ptr<SqliteStatement>, kQueryCount> statements_;
};

void require_database_file(const std::string& path, OpenMode mode) {
  struct stat info {};
  if (path.empty())
    throw Error{ErrorCode::invalid_argument,
                "open",
                "the database URL has no path",
                {.hint = "write sqlite:PATH, for example sqlite:/var/lib/shop/shop.db"}};
  if (::stat(path.c_str(), &info) != 0) {
    if (mode == OpenMode::create && errno == ENOENT) return;
    throw Error{
        ErrorCode::unreachable,
        "open",
        "database file " + path + " cannot be opened",
        {.hint = "check the path, or create it with: outseal-migrate up --db sqlite:" + path}};
  }
  if (!S_ISREG(info.st_mode))
    throw Error{ErrorCode::unreachable,
                "open",
                path + " is not a file",
                {.hint = "give the path of an SQLite database file"}};
}

}  // namespace

std::unique_ptr<Connection> wrap(sqlite3* handle) {
  return std::make_unique<SqliteConnection>(handle, false);
}

std::unique_ptr<Connection> open(const std::string& path, OpenMode mode) {
  require_database_file(path, mode);
  sqlite3* handle = nullptr;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX |
                    (mode == OpenMode::create ? SQLITE_OPEN_CREATE : 0);
  const int result = sqlite3_open_v2(path.c_str(), &handle, flags, nullptr);
  auto connection = std::make_unique<SqliteConnection>(handle, true);
  try {
    if (result != SQLITE_OK) fail(handle, result, "open");
    sqlite3_busy_timeout(handle, kReadWait_ms);
    sqlite3_db_config(handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
    connection->execute(
        "PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL;"
        " PRAGMA wal_autocheckpoint = 0;");
    connection->watch_write_ahead_log();  // After the pragma, which sets a hook of its own.
    // The first real read of the file: tells a database from anything else.
    connection->prepare("SELECT count(*) FROM sqlite_schema")->step();
  } catch (const Error& error) {
    throw Error{error.code(),
                "open",
                path + ": " + error.message(),
                {.hint = error.hint(), .detail_code = error.detail_code()}};
  }
  return connection;
}

}  // namespace outseal::sql::sqlite
