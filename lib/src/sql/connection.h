// The narrow seam to a database: statements, transactions, errors. One implementation per dialect.
//
// The services' sessions are used through the driver's own handle (see wrap()), those of SOCI too,
// for three reasons: SOCI 4.0 gives no SQLSTATE or SQLite code for the errors that decide about
// retries, its statements deallocate in a way that poolers cannot follow, and it has no BEGIN
// IMMEDIATE.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/url.h"
#include "outseal/ids.h"
#include "outseal/session.h"
#include "outseal/transaction.h"
#include "sql/text.h"

namespace outseal::sql {

/// A prepared statement. Parameters and columns are counted from 0.
///
/// Threads: Not thread-safe; same rule as its connection.
class Statement {
 public:
  virtual ~Statement() = default;

  /// Binds the parameter `index`. Text and blobs are not copied: they must live until reset().
  virtual void bind(int index, std::int64_t value) = 0;
  virtual void bind_text(int index, std::string_view text) = 0;
  virtual void bind_blob(int index, std::string_view bytes) = 0;
  virtual void bind_null(int index) = 0;
  /// Binds an array; an element without data() is NULL. Only where Connection::pipelines(): SQLite
  /// has none.
  virtual void bind_texts(int index, std::span<const std::string_view> texts);
  virtual void bind_blobs(int index, std::span<const std::string_view> blobs);
  virtual void bind_ids(int index, std::span<const EventId> ids);
  /// Milliseconds since 1970 UTC.
  virtual void bind_times(int index, std::span<const std::int64_t> times);

  /// Sends the statement where the database can pipeline; the first step() then waits for its rows.
  /// Nothing else may run on the connection in between.
  virtual void send() {}
  /// Runs to the next row; false when there is none.
  /// @throws Error by the table in error.cc of the dialect.
  virtual bool step() = 0;
  /// Makes the statement ready to run again. Bindings are forgotten.
  virtual void reset() noexcept = 0;

  virtual std::int64_t integer(int column) const = 0;
  /// Valid until the next step() or reset().
  virtual std::string_view text(int column) const = 0;
  virtual std::string_view blob(int column) const = 0;
  /// A column that holds an event's id; nil if it is none.
  virtual EventId event_id(int column) const;
  virtual bool is_null(int column) const = 0;

  /// Where rows come all at once (PostgreSQL): how many there are, after the first step(); and
  /// makes `row`, counted from 0, the current one.
  virtual std::int64_t row_count() const;
  virtual void go_to(std::int64_t row);
};

/// Resets a statement at the end of a scope, also when an exception passes.
class StatementScope {
 public:
  explicit StatementScope(Statement& statement) : statement_{statement} {}
  ~StatementScope() { statement_.reset(); }
  StatementScope(const StatementScope&) = delete;
  StatementScope& operator=(const StatementScope&) = delete;
  Statement* operator->() const { return &statement_; }

 private:
  Statement& statement_;
};

/// A transaction that Connection::begin_own() began on a session that its service uses as well, and
/// may have ended, replaced or closed. It knows its own identity, and commits nothing else.
///
/// The connection must outlive it. Destroying it leaves the transaction as it is and takes what
/// guards it off the session.
///
/// Threads: Not thread-safe; same rule as its connection.
class OwnTransaction {
 public:
  virtual ~OwnTransaction() = default;

  enum class State {
    open,         ///< Ours, and statements may run.
    failed,       ///< Ours, but an error has failed it (PostgreSQL).
    rolled_back,  ///< Ended; nothing of it is committed.
    committed,    ///< The session committed it by itself (PostgreSQL).
    prepared,     ///< The session prepared it for a commit in two phases (PostgreSQL).
    refused,      ///< The session's COMMIT was refused and became a rollback (SQLite).
    closed,       ///< The session was closed, reconnected or lost; nothing of it is committed.
    in_doubt,     ///< Ended with the connection, and perhaps by a COMMIT of the session.
  };
  /// Costs nothing unless the session did something that may have ended the transaction: then the
  /// server is asked, once.
  virtual State state() = 0;

  /// Runs `last` and COMMIT in one round trip where the database can pipeline. `proven`: one of
  /// `last` proves identity() itself. Call it while open.
  /// @throws as Connection::commit(); Error{storage} if it is not the transaction at hand after
  /// all.
  virtual void commit(std::chrono::milliseconds wait, std::span<Statement* const> last,
                      bool proven) = 0;
  /// Rolls back what is still ours and nothing else.
  /// @returns false if the database does not let it. Until it does, SQLite commits nothing.
  virtual bool rollback() noexcept = 0;
  /// Goes back to the savepoint that set_savepoint() has set, also out of a failed transaction.
  virtual void rollback_to_handler() = 0;

  /// What statements compare to prove that they run in this transaction: its number on PostgreSQL,
  /// empty on SQLite.
  virtual std::string_view identity() const { return {}; }
  /// For a first statement that delivered the identity; see Begin::first.
  virtual void identify(std::string_view /*identity*/) {}

  /// Why it is in doubt, and how a user finds out what has become of it.
  virtual std::string how_it_ended() const {
    return "the connection was lost after the service had sent COMMIT or ROLLBACK";
  }
  virtual std::string how_to_find_out() const {
    return "look for the rows, or execute again with the same idempotency key";
  }

  /// Whether the session has set a savepoint in it (PostgreSQL).
  virtual bool has_savepoint() const { return false; }
  /// Whether it may have gone back to one since the last call (PostgreSQL).
  virtual bool take_return() { return false; }
};

/// The transaction that a service began by itself, to tell it from its session's later ones.
///
/// The connection must outlive it.
class JoinedTransaction {
 public:
  virtual ~JoinedTransaction() = default;
  /// False once it has ended, also if the session is in another one by now. Costs nothing.
  virtual bool is_at_hand() = 0;
};

/// How a transaction on a service's session begins.
struct Begin {
  std::chrono::milliseconds wait{};
  Isolation isolation = Isolation::session_default;
  /// Travel with BEGIN where the database can pipeline; their step() then has the rows. One has to
  /// deliver the transaction's number to OwnTransaction::identify() if anything is to be committed.
  /// None: BEGIN itself does.
  std::span<Statement* const> first = {};
  /// PostgreSQL: rolls the open transaction back first, without letting go of this advisory lock of
  /// its, which `first` must take anew. All in one round trip, after which nothing is left in the
  /// server's session.
  std::optional<std::int64_t> keep_lock = {};
};

/// One connection to a database of either dialect.
///
/// Threads: Not thread-safe; one thread at a time.
class Connection {
 public:
  virtual ~Connection() = default;

  /// "sqlite" or "postgresql"; also the name of its folder under migrations/.
  virtual std::string_view dialect() const = 0;
  /// The prepared statement of `text`, a constant; prepared once per connection object.
  /// @throws Error{schema_missing} if its tables do not exist.
  virtual Statement& statement(const Text& text) = 0;
  /// Runs SQL that returns nothing; several statements are allowed.
  virtual void execute(std::string_view sql) = 0;
  /// Another statement of the same text, with rows of its own.
  virtual std::unique_ptr<Statement> clone(const Text& text) = 0;
  /// A statement of free text, for migrations and tests.
  virtual std::unique_ptr<Statement> prepare(std::string_view sql) = 0;
  /// Rows changed by the last INSERT, UPDATE or DELETE.
  virtual std::int64_t changes() const = 0;

  /// Begins a write transaction. SQLite: BEGIN IMMEDIATE, waiting at most `wait` for other writers.
  /// PostgreSQL: on a connection of our own `wait` limits each wait for a lock, and the commit will
  /// be durable whatever the database's default.
  ///
  /// @throws Error{conflict} if the wait was not enough.
  /// @throws Error{unreachable} if a file that we opened was replaced or moved meanwhile.
  virtual void begin(std::chrono::milliseconds wait) = 0;
  /// Runs the statements `last` and COMMIT, in one round trip where the database can pipeline.
  /// @throws Error{conflict}, Error{commit_in_doubt} or Error{storage} as Transaction::commit does;
  ///         what one of `last` throws means that nothing was committed.
  virtual void commit(std::chrono::milliseconds wait, std::span<Statement* const> last = {}) = 0;
  virtual void rollback() noexcept = 0;
  virtual bool in_transaction() const = 0;

  /// Begins a transaction on a service's session, which may do anything in it.
  /// @throws as begin(); Error{invalid_argument} as require_idle().
  virtual std::unique_ptr<OwnTransaction> begin_own(const Begin& begin) = 0;
  /// Marks the transaction that the session is in.
  virtual std::unique_ptr<JoinedTransaction> join_open() = 0;
  /// Reads what the session has sent a statement for and has not fetched, so that a COMMIT among it
  /// is noticed, and ends a pipeline (PostgreSQL). A COPY is left as it is.
  virtual void discard_results() noexcept {}
  /// @throws Error{invalid_argument} if the session is in the middle of something that lets no
  ///         statement in: pipeline mode, COPY, rows that were not fetched (PostgreSQL).
  virtual void require_idle(std::string_view /*operation*/) const {}
  /// Whether statements can run outside of any transaction.
  virtual bool is_idle() const { return !in_transaction(); }
  /// Whether the handle is closed or the server has ended the connection (PostgreSQL).
  virtual bool lost() const { return false; }
  /// The SQLSTATE of the error that has failed the transaction at hand; empty if none has
  /// (PostgreSQL).
  virtual std::string failed_by() const { return {}; }
  /// Counts the statements that ran on the session, whoever sent them (PostgreSQL).
  virtual std::uint64_t statements_run() const { return 0; }
  /// The session has given the handle up: close it together with this object if it is still open.
  virtual void take_over_handle() {}
  /// Another connection to the same database as the same user; null where it cannot be made.
  virtual std::unique_ptr<Connection> open_beside() const { return nullptr; }
  /// Kept for whoever else wraps the same handle, for as long as the transaction that begin_own()
  /// began is the last one (PostgreSQL).
  virtual void set_companion(const std::weak_ptr<void>& /*companion*/) {}
  virtual std::shared_ptr<void> companion() const { return nullptr; }

  /// Whether statements can travel with BEGIN and COMMIT, so that writes are better put off.
  virtual bool pipelines() const { return false; }

  /// The length of an event's payload that did not come with its row, without reading it (SQLite);
  /// 0 if there is no such event, nothing if it has no payload.
  virtual std::optional<std::uint64_t> payload_bytes(std::int64_t seq);
  /// SQLite: no value or row of more bytes is read. Error{storage} then has this detail_code.
  static constexpr std::string_view kTooBig = "18";
  virtual void limit_values(std::uint64_t /*bytes*/) {}

  /// Switches off how long the driver itself waits for a lock (SQLite's busy timeout), which SOCI
  /// sets by `timeout=`, and returns it; 0 if it does not wait. See WithoutBusyTimeout.
  virtual std::chrono::milliseconds take_busy_timeout() { return {}; }
  virtual void set_busy_timeout(std::chrono::milliseconds /*timeout*/) noexcept {}
  /// SQLite: from here on a commit survives a loss of power, whatever `PRAGMA synchronous` says;
  /// returns that if it has to be set again. Not in a transaction. See DurableCommits.
  virtual std::optional<std::int64_t> raise_durability() { return std::nullopt; }
  virtual void set_durability(std::int64_t /*synchronous*/) noexcept {}

  /// The driver's own handle, to tell connections apart.
  virtual const void* handle() const = 0;

  /// Bytes of write-ahead log that wait for a checkpoint by the services; 0 where there is none.
  virtual std::uint64_t write_ahead_bytes() const = 0;

  /// Milliseconds since 1970 UTC by the database's clock.
  virtual std::int64_t now_ms() = 0;
};

/// While it lives the driver waits for no lock: only what the caller waits counts.
class WithoutBusyTimeout {
 public:
  explicit WithoutBusyTimeout(Connection& connection)
      : connection_{connection}, before_{connection.take_busy_timeout()} {}
  ~WithoutBusyTimeout() {
    if (before_.count() > 0) connection_.set_busy_timeout(before_);
  }
  WithoutBusyTimeout(const WithoutBusyTimeout&) = delete;
  WithoutBusyTimeout& operator=(const WithoutBusyTimeout&) = delete;

 private:
  Connection& connection_;
  std::chrono::milliseconds before_;
};

/// While it lives, commits are durable, because something outside follows them. (PostgreSQL's
/// functions see to that by themselves.)
class DurableCommits {
 public:
  explicit DurableCommits(Connection& connection)
      : connection_{connection}, before_{connection.raise_durability()} {}
  ~DurableCommits() {
    if (before_) connection_.set_durability(*before_);
  }
  DurableCommits(const DurableCommits&) = delete;
  DurableCommits& operator=(const DurableCommits&) = delete;

 private:
  Connection& connection_;
  std::optional<std::int64_t> before_;
};

/// Wraps the driver's handle under a service's session; the session must outlive the result.
/// `named`: PostgreSQL keeps our statements prepared in the session, which a transaction pooler
/// cannot follow.
/// @throws Error{invalid_config} if there is none, or SOCI's backend is not supported.
std::unique_ptr<Connection> wrap(Session session, bool named = true);

/// The driver's handle under `session` as it is now; null if it is closed or not supported.
const void* handle_of(Session session) noexcept;

/// What a program opens a database for.
enum class OpenMode {
  existing,  ///< The database must exist.
  create,    ///< A missing SQLite file is made; outseal-migrate only.
};

/// Refuses what open() would, as far as that can be told without opening anything.
/// @throws Error{invalid_argument} for an unknown scheme or parameter, or a malformed address.
void check_url(const Url& url);

/// Opens a connection of our own, with full durability of its commits.
/// @throws what check_url() does, Error{unreachable} if it cannot be opened.
std::unique_ptr<Connection> open(const Url& url, OpenMode mode = OpenMode::existing);

/// An empty database of SQLite in memory.
std::unique_ptr<Connection> open_scratch();

/// Runs `body` in a write transaction: commits when it returns, rolls back when it throws.
template <typename Body>
auto transact(Connection& connection, std::chrono::milliseconds wait, Body&& body) {
  struct Guard {
    Connection& connection;
    ~Guard() {
      if (connection.in_transaction()) connection.rollback();
    }
  };
  connection.begin(wait);
  const Guard guard{connection};
  if constexpr (std::is_void_v<decltype(body())>) {
    body();
    connection.commit(wait);
  } else {
    auto result = body();
    connection.commit(wait);
    return result;
  }
}

}  // namespace outseal::sql
