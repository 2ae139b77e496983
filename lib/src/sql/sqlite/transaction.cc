// What guards a transaction of ours on a connection that its service uses as well.
#include <sqlite3.h>

#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/failpoint.h"
#include "outseal/error.h"
#include "sql/own_transaction.h"
#include "sql/sqlite/connection.h"

namespace outseal::sql::sqlite {
namespace {

/// Changes with each commit to the main file, whoever makes it, and never within a transaction that
/// holds its write lock.
/// Source: sqlite.org, "SQLITE_FCNTL_DATA_VERSION".
unsigned data_version(sqlite3* handle) {
  unsigned version = 0;
  sqlite3_file_control(handle, "main", SQLITE_FCNTL_DATA_VERSION, &version);
  return version;
}

/// What the hooks see of the transactions on a handle.
struct SessionActivity {
  sqlite3* handle;
  const void* current = nullptr;  ///< Who began the last transaction of ours; null: it is over.
  bool committing = false;        ///< The COMMIT under way is ours.
  bool refused = false;           ///< One that was not ours was refused.
  bool ended = false;             ///< By a rollback, whoever asked for it.
  std::uint64_t rollbacks = 0;    ///< How many there were on the handle.
  std::uint64_t commits = 0;      ///< The same, up to the one that is tried.
  std::optional<unsigned> tried;  ///< The data's version when a COMMIT was last tried.
  /// Itself, while a transaction of ours that could not be rolled back is left to the session.
  std::shared_ptr<SessionActivity> left;

  explicit SessionActivity(sqlite3* watched) : handle{watched} { set_hooks(); }
  ~SessionActivity() {
    sqlite3_commit_hook(handle, nullptr, nullptr);
    sqlite3_rollback_hook(handle, nullptr, nullptr);
  }
  SessionActivity(const SessionActivity&) = delete;
  SessionActivity& operator=(const SessionActivity&) = delete;

  /// False if somebody had put others in their place.
  bool set_hooks() {
    const void* commit = sqlite3_commit_hook(handle, on_commit, this);
    const void* rollback = sqlite3_rollback_hook(handle, on_rollback, this);
    return commit == this && rollback == this;
  }

  /// How many transactions have ended. A COMMIT that found the file busy has ended none.
  std::uint64_t count_ended() {
    if (tried && *tried != data_version(handle)) ++commits;
    tried.reset();
    return commits + rollbacks;
  }

 private:
  /// Other than 0 makes SQLite turn the COMMIT into a ROLLBACK.
  static int on_commit(void* self) {
    auto& activity = *static_cast<SessionActivity*>(self);
    if (activity.committing || activity.current == nullptr || mutant("no_commit_hook")) {
      activity.count_ended();
      activity.tried = data_version(activity.handle);
      return 0;
    }
    if (!activity.ended) activity.refused = true;
    return 1;
  }
  static void on_rollback(void* self) {
    if (mutant("no_rollback_hook")) return;
    auto& activity = *static_cast<SessionActivity*>(self);
    activity.ended = true;
    ++activity.rollbacks;
    if (activity.left != nullptr) activity.current = nullptr;
  }
};

/// SQLite has no place of its own for what belongs to a handle.
std::shared_ptr<SessionActivity> activity_of(sqlite3* handle) {
  static std::mutex mutex;
  static std::unordered_map<sqlite3*, std::weak_ptr<SessionActivity>> activities;
  const std::lock_guard lock{mutex};
  std::weak_ptr<SessionActivity>& known = activities[handle];
  std::shared_ptr<SessionActivity> activity = known.lock();
  if (activity != nullptr) {
    if (activity->current == nullptr) activity->left.reset();
    return activity;
  }
  // Only here, so that a service with many short connections does not fill it.
  if (activities.size() > 1'024)
    std::erase_if(activities, [&](const auto& entry) {
      return entry.first != handle && entry.second.expired();
    });
  activity = std::make_shared<SessionActivity>(handle);
  activities[handle] = activity;
  return activity;
}

std::string pragma(Connection& connection, const std::string& schema, const std::string& name) {
  std::string quoted;
  for (const char letter : schema) quoted += letter == '"' ? "\"\"" : std::string{letter};
  const auto statement = connection.prepare("PRAGMA \"" + quoted + "\"." + name);
  return statement->step() ? std::string{statement->text(0)} : std::string{};
}

/// Whether SQLite lets this schema take part in an atomic commit of several files: by a rollback
/// journal that is a file, and that it syncs.
/// Source: sqlite.org, "ATTACH DATABASE" and "Atomic Commit In SQLite", section 5.
bool joins_super_journal(Connection& connection, const std::string& schema, std::string& modes) {
  const std::string mode = pragma(connection, schema, "journal_mode");
  const std::string synchronous = pragma(connection, schema, "synchronous");
  modes += (modes.empty() ? "" : ", ") + schema + " (journal_mode=" + mode +
           (synchronous == "0" ? ", synchronous=OFF)" : ")");
  return (mode == "delete" || mode == "truncate" || mode == "persist") && synchronous != "0";
}

bool is_file(sqlite3* handle, const char* schema) {
  const char* path = sqlite3_db_filename(handle, schema);
  return path != nullptr && *path != '\0';
}

/// Refuses a commit over several files that a crash could split. In memory nothing is lost by a
/// split that the crash would not have taken anyway; nor is it in "temp".
void require_atomic(Connection& connection, sqlite3* handle) {
  std::vector<std::string> written;
  for (int i = 2;; ++i) {
    const char* schema = sqlite3_db_name(handle, i);
    if (schema == nullptr) break;
    if (sqlite3_txn_state(handle, schema) == SQLITE_TXN_WRITE && is_file(handle, schema))
      written.emplace_back(schema);
  }
  if (written.empty() || mutant("no_atomic_check")) return;
  std::string modes;
  bool atomic = joins_super_journal(connection, "main", modes) && is_file(handle, "main");
  for (const std::string& schema : written)
    atomic = joins_super_journal(connection, schema, modes) && atomic;
  if (atomic) return;
  throw Error{
      ErrorCode::invalid_config,
      "commit",
      "the transaction wrote to several files, which SQLite would commit one by one: " + modes,
      {.hint = "write to one file per transaction, or give all of them "
               "journal_mode=DELETE and synchronous=FULL"}};
}

/// After the last statement, which has failed.
bool is_interrupted(sqlite3* handle) { return sqlite3_errcode(handle) == SQLITE_INTERRUPT; }

/// An interrupt lasts, and stops a ROLLBACK as well, until no statement is at work any more. One of
/// the service's that is reset here would have failed with its next step.
/// Source: sqlite.org, "Interrupt A Long-Running Query".
void reset_statements(sqlite3* handle) {
  for (sqlite3_stmt* each = sqlite3_next_stmt(handle, nullptr); each != nullptr;
       each = sqlite3_next_stmt(handle, each))
    if (sqlite3_stmt_busy(each) != 0) sqlite3_reset(each);
}

class SqliteTransaction final : public OwnTransaction {
 public:
  SqliteTransaction(Connection& connection, sqlite3* handle)
      : connection_{connection},
        handle_{handle},
        activity_{activity_of(handle)},
        version_{data_version(handle)} {
    activity_->set_hooks();
    activity_->left.reset();  // It has ended, or this one could not have begun.
    activity_->current = this;
    activity_->refused = activity_->ended = false;
  }
  ~SqliteTransaction() override {
    if (activity_->current == this && activity_->left == nullptr) activity_->current = nullptr;
  }
  SqliteTransaction(const SqliteTransaction&) = delete;
  SqliteTransaction& operator=(const SqliteTransaction&) = delete;

  State state() override {
    if (activity_->current != this) return State::rolled_back;
    if (activity_->ended) return activity_->refused ? State::refused : State::rolled_back;
    // A commit that the hooks did not see: they were replaced.
    if (data_version(handle_) != version_ && !mutant("no_data_version")) return State::in_doubt;
    return connection_.in_transaction() ? State::open : State::rolled_back;
  }

  std::string how_it_ended() const override {
    return "it ended unseen, perhaps by a COMMIT: somebody replaced the session's commit or "
           "rollback hook";
  }
  std::string how_to_find_out() const override {
    return "look for the rows before anything runs again, and set hooks of your own on another "
           "connection";
  }

  void commit(std::chrono::milliseconds wait, std::span<Statement* const> last,
              bool /*proven: by the hooks*/) override {
    if (!activity_->set_hooks())
      throw Error{ErrorCode::invalid_argument,
                  "commit",
                  "somebody replaced the session's commit or rollback hook during the transaction",
                  {.hint = "set hooks of your own on another connection"}};
    require_atomic(connection_, handle_);
    struct Committing {
      SessionActivity& activity;
      explicit Committing(SessionActivity& ours) : activity{ours} { activity.committing = true; }
      ~Committing() { activity.committing = false; }
    };
    const Committing committing{*activity_};
    connection_.commit(wait, last);
  }

  bool rollback() noexcept override {
    if (state() != State::open || !is_open(handle_)) return true;  // A handle's end is its end.
    connection_.rollback();
    if (connection_.in_transaction() && is_interrupted(handle_)) {
      reset_statements(handle_);
      connection_.rollback();
    }
    if (!connection_.in_transaction()) return true;
    activity_->left = activity_;  // Whatever the session does next, its COMMIT is refused.
    return false;
  }

  void rollback_to_handler() override {
    const StatementScope back{connection_.statement(sql::rollback_to_savepoint())};
    back->step();
  }

 private:
  Connection& connection_;
  sqlite3* handle_;
  std::shared_ptr<SessionActivity> activity_;
  unsigned version_;  ///< Of the data.
};

class SqliteJoined final : public JoinedTransaction {
 public:
  explicit SqliteJoined(sqlite3* handle)
      : activity_{activity_of(handle)}, number_{activity_->count_ended()} {}
  bool is_at_hand() override {
    return mutant("no_joined_identity") || activity_->count_ended() == number_;
  }

 private:
  std::shared_ptr<SessionActivity> activity_;
  std::uint64_t number_;
};

}  // namespace

std::unique_ptr<OwnTransaction> guard(Connection& connection, sqlite3* handle) {
  return std::make_unique<SqliteTransaction>(connection, handle);
}

std::unique_ptr<JoinedTransaction> mark(sqlite3* handle) {
  return std::make_unique<SqliteJoined>(handle);
}

}  // namespace outseal::sql::sqlite
