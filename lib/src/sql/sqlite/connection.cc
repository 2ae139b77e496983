#include "sql/sqlite/connection.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <thread>
#include <unordered_map>

#include "base/failpoint.h"
#include "base/text.h"
#include "outseal/error.h"
#include "sql/sqlite/statement.h"

namespace outseal::sql::sqlite {
namespace {

using std::chrono::milliseconds;

/// How long a read waits for a file that another process commits to or recovers.
constexpr int kReadWait_ms = 5'000;

/// Takes the write lock of the main file and of no attached one.
constexpr const char* kLockMain = "DELETE FROM main.outseal_outbox WHERE false";

std::string_view text_of(const Text& text) {
  if (text.sqlite == nullptr)
    throw Error{ErrorCode::internal, "statement", "SQLite has no " + std::string{text.name}};
  return text.sqlite;
}

class SqliteConnection final : public Connection {
 public:
  SqliteConnection(sqlite3* handle, bool owned) : handle_{handle}, owned_{owned} {}
  ~SqliteConnection() override {
    // A handle under a prepared statement cannot have been freed; a free one must not be touched.
    const bool alive =
        commit_ != nullptr || std::any_of(statements_.begin(), statements_.end(),
                                          [](auto& one) { return one.second != nullptr; });
    const bool is_ours_to_close = given_up_ && alive && is_open(handle_);
    commit_.reset();
    statements_.clear();
    if (owned_) sqlite3_close_v2(handle_);
    // Whoever else has statements left closes it later: SQLite refuses until then.
    if (is_ours_to_close) sqlite3_close(handle_);
  }
  SqliteConnection(const SqliteConnection&) = delete;
  SqliteConnection& operator=(const SqliteConnection&) = delete;

  std::string_view dialect() const override { return "sqlite"; }

  Statement& statement(const Text& text) override {
    auto& slot = statements_[&text];
    if (slot == nullptr) {
      const unsigned flags = owned_ ? SQLITE_PREPARE_PERSISTENT : 0U;
      slot = std::make_unique<SqliteStatement>(handle_, text_of(text), flags);
    }
    return *slot;
  }

  void execute(std::string_view sql) override {
    const std::string terminated{sql};
    const int result = sqlite3_exec(handle_, terminated.c_str(), nullptr, nullptr, nullptr);
    if (result != SQLITE_OK) fail(handle_, result, "execute");
  }

  std::unique_ptr<Statement> clone(const Text& text) override { return prepare(text_of(text)); }

  std::unique_ptr<Statement> prepare(std::string_view sql) override {
    return std::make_unique<SqliteStatement>(handle_, sql, 0U);
  }

  std::int64_t changes() const override { return sqlite3_changes64(handle_); }

  void begin(milliseconds wait) override {
    if (owned_) require_same_file();
    begin_by([&] { return run("BEGIN IMMEDIATE"); }, wait);
  }

  std::unique_ptr<OwnTransaction> begin_own(const Begin& begin) override {
    commit_statement();
    // BEGIN IMMEDIATE locks every attached file, and commit() could not tell which were written.
    if (sqlite3_db_name(handle_, 2) == nullptr)
      begin_by([&] { return run("BEGIN IMMEDIATE"); }, begin.wait);
    else
      begin_by([&] { return lock_main(); }, begin.wait);
    return guard(*this, handle_);
  }

  std::unique_ptr<JoinedTransaction> join_open() override {
    commit_statement();
    return mark(handle_);
  }

  void take_over_handle() override { given_up_ = true; }

  void commit(milliseconds wait, std::span<Statement* const> last) override {
    for (Statement* statement : last) statement->step();
    try {
      // Busy at COMMIT: without a write-ahead log, readers keep the file locked.
      if (!retry_while_busy([&] { return commit_statement().run(); }, "commit", wait))
        throw Error{ErrorCode::conflict,
                    "commit",
                    "readers kept the database locked",
                    {.hint = "use journal_mode=WAL, or end long reads",
                     .detail_code = std::to_string(SQLITE_BUSY)}};
    } catch (const Error& error) {
      // A full disk is noticed while pages are written, before what makes them count.
      if (error.code() == ErrorCode::conflict || in_transaction() ||
          error.detail_code() == std::to_string(SQLITE_FULL))
        throw;
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

  std::optional<std::uint64_t> payload_bytes(std::int64_t seq) override {
    sqlite3_blob* payload = nullptr;
    const int result =
        sqlite3_blob_open(handle_, "main", "outseal_outbox", "payload", seq, 0, &payload);
    const std::unique_ptr<sqlite3_blob, int (*)(sqlite3_blob*)> closed{payload, sqlite3_blob_close};
    if (result == SQLITE_ERROR) return 0;
    if (result != SQLITE_OK) fail(handle_, result, "payload_bytes");
    return static_cast<std::uint64_t>(sqlite3_blob_bytes(payload));
  }
  void limit_values(std::uint64_t bytes) override {
    const auto most = static_cast<std::uint64_t>(sqlite3_limit(handle_, SQLITE_LIMIT_LENGTH, -1));
    sqlite3_limit(handle_, SQLITE_LIMIT_LENGTH, static_cast<int>(std::min(bytes, most)));
  }

  const void* handle() const override { return handle_; }

  milliseconds take_busy_timeout() override {
    const auto timeout = prepare("PRAGMA busy_timeout");
    timeout->step();
    const milliseconds before{timeout->integer(0)};
    // 0 may also stand for a busy handler of the service's own, which nobody could put back.
    if (before.count() > 0) sqlite3_busy_timeout(handle_, 0);
    return before;
  }
  std::optional<std::int64_t> raise_durability() override {
    constexpr std::int64_t kFull = 2;
    const auto synchronous = prepare("PRAGMA main.synchronous");
    synchronous->step();
    const std::int64_t before = synchronous->integer(0);
    if (before >= kFull || mutant("no_durable_intent")) return std::nullopt;
    set_durability(kFull);
    return before;
  }
  void set_durability(std::int64_t synchronous) noexcept override {
    const std::string pragma = "PRAGMA main.synchronous = " + std::to_string(synchronous);
    sqlite3_exec(handle_, pragma.c_str(), nullptr, nullptr, nullptr);
  }

  void set_busy_timeout(milliseconds timeout) noexcept override {
    sqlite3_busy_timeout(handle_, static_cast<int>(timeout.count()));
  }

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

  /// The extended code.
  int run(const char* sql) {
    const int result = sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr);
    return result == SQLITE_OK ? result : sqlite3_extended_errcode(handle_);
  }

  /// Begins, and takes the write lock of the main file alone, by writing nothing to it.
  int lock_main() {
    if (const int result = run("BEGIN"); result != SQLITE_OK) return result;
    struct Undo {
      SqliteConnection& connection;
      int result;
      ~Undo() {
        if (result != SQLITE_OK) connection.rollback();
      }
    };
    const Undo undo{*this, run(kLockMain)};
    if (undo.result != SQLITE_OK && (undo.result & 0xff) != SQLITE_BUSY)
      fail(handle_, undo.result, "begin");
    return undo.result;
  }

  SqliteStatement& commit_statement() {
    if (commit_ == nullptr) commit_ = std::make_unique<SqliteStatement>(handle_, "COMMIT", 0U);
    return *commit_;
  }

  template <typename Attempt>
  void begin_by(Attempt&& attempt, milliseconds wait) {
    if (!retry_while_busy(attempt, "begin", wait))
      throw Error{ErrorCode::conflict,
                  "begin",
                  "the database stayed busy for " + std::to_string(wait.count()) + " ms",
                  {.hint = "another writer holds it: keep transactions short, or wait longer",
                   .detail_code = std::to_string(SQLITE_BUSY)}};
  }

  /// Waiting does not help where it is the session itself that is in its own way.
  void require_no_own_way(int result, std::string_view operation) const {
    if (result == SQLITE_BUSY_SNAPSHOT)
      throw Error{ErrorCode::invalid_argument,
                  operation,
                  "a query of the session is not finished, and its snapshot is too old to write",
                  {.hint = "fetch all of its rows, or reset it, before the transaction begins",
                   .detail_code = std::to_string(result)}};
    require_finished_statements(handle_, result, operation);
  }

  // SQLite's own busy handler sleeps up to 100 ms at a time, which starves a waiter among many
  // short transactions. Short random pauses share the lock more evenly.
  template <typename Attempt>
  bool retry_while_busy(Attempt&& attempt, std::string_view operation, milliseconds wait) {
    const WithoutBusyTimeout ours_counts{*this};
    const auto deadline = std::chrono::steady_clock::now() + wait;
    for (unsigned pause_us = 50;; pause_us = std::min(pause_us * 2, 500U)) {
      const int result = attempt();
      if (result == SQLITE_OK) return true;
      if ((result & 0xff) != SQLITE_BUSY) fail(handle_, result, operation);
      if (!owned_) require_no_own_way(result, operation);
      if (std::chrono::steady_clock::now() >= deadline) return false;
      jitter_ = jitter_ * 1'664'525U + 1'013'904'223U;
      std::this_thread::sleep_for(std::chrono::microseconds{pause_us / 2 + jitter_ % pause_us});
    }
  }

  sqlite3* handle_;
  bool owned_;
  bool given_up_ = false;  ///< By the session that had it: ours to close.
  std::uint64_t page_bytes_ = 0;
  std::uint64_t write_ahead_pages_ = 0;  ///< As of our last commit.
  unsigned jitter_ = static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(this) >> 4U);
  std::unique_ptr<SqliteStatement> commit_;
  std::unordered_map<const Text*, std::unique_ptr<SqliteStatement>> statements_;
};

/// A file that is mounted alone, as into a container, has its -wal and -shm elsewhere: we would see
/// none of the commits that lie there, and their writers none of our locks.
/// Source: sqlite.org, "How To Corrupt An SQLite Database File", on files with several names.
void refuse_mounted_file(const std::string& path) {
  struct statx info {};
  if (::statx(AT_FDCWD, path.c_str(), 0, STATX_BASIC_STATS, &info) != 0) return;
  if ((info.stx_attributes & info.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) == 0) return;
  throw Error{
      ErrorCode::refused,
      "open",
      path + " is mounted alone, without the files -wal and -shm that belong to it",
      {.hint = "mount the folder that the file is in, and give the path in there; then see that"
               " it works with: outseal-relay status --db sqlite:PATH"}};
}

/// SQLite itself would let every user of the system read the file, and the -wal and -shm files that
/// it makes after it. The umask may take more away. If this fails, SQLite says why.
void create_private_file(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
  if (file >= 0) ::close(file);
}

void require_database_file(const std::string& path, OpenMode mode) {
  struct stat info {};
  if (path.empty())
    throw Error{ErrorCode::invalid_argument,
                "open",
                "the database URL has no path",
                {.hint = "write sqlite:PATH, for example sqlite:/var/lib/shop/shop.db"}};
  if (::stat(path.c_str(), &info) != 0) {
    if (mode == OpenMode::create && errno == ENOENT) return create_private_file(path);
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
  refuse_mounted_file(path);
}

}  // namespace

bool is_open(sqlite3* handle) noexcept {
  return handle != nullptr &&
         (sqlite3_exec(handle, "", nullptr, nullptr, nullptr) != SQLITE_MISUSE ||
          mutant("no_open_check"));
}

std::unique_ptr<Connection> wrap(sqlite3* handle) {
  return std::make_unique<SqliteConnection>(handle, false);
}

std::unique_ptr<Connection> open_scratch() {
  sqlite3* handle = nullptr;
  const int result = sqlite3_open(":memory:", &handle);
  auto connection = std::make_unique<SqliteConnection>(handle, true);
  if (result != SQLITE_OK) fail(handle, result, "open");
  return connection;
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
