// The narrow seam to a database: statements, transactions, errors. One implementation per dialect.
//
// The services' SOCI sessions are used through the driver's own handle (see borrow()), for three
// reasons: SOCI 4.0 gives no SQLSTATE or SQLite code for the errors that decide about retries, its
// statements deallocate in a way that poolers cannot follow, and it has no BEGIN IMMEDIATE.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/url.h"
#include "outseal/ids.h"
#include "sql/query.h"

namespace soci {
class session;
}

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
  /// Binds an array. Only where Connection::pipelines(): SQLite has none.
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
class Use {
 public:
  explicit Use(Statement& statement) : statement_{statement} {}
  ~Use() { statement_.reset(); }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;
  Statement* operator->() const { return &statement_; }

 private:
  Statement& statement_;
};

/// One connection to a database of either dialect.
///
/// Threads: Not thread-safe; one thread at a time.
class Connection {
 public:
  virtual ~Connection() = default;

  /// "sqlite" or "postgresql"; also the name of its folder under migrations/.
  virtual std::string_view dialect() const = 0;
  /// The prepared statement of `query`; prepared once per connection object.
  /// @throws Error{schema_missing} if its tables do not exist.
  virtual Statement& statement(Query query) = 0;
  /// Runs SQL that returns nothing; several statements are allowed.
  virtual void execute(std::string_view sql) = 0;
  /// Another statement of the same text, with rows of its own.
  virtual std::unique_ptr<Statement> another(Query query) = 0;
  /// A statement of free text, for migrations and tests.
  virtual std::unique_ptr<Statement> prepare(std::string_view sql) = 0;
  /// Rows changed by the last INSERT, UPDATE or DELETE.
  virtual std::int64_t changes() const = 0;

  /// Begins a write transaction. SQLite: BEGIN IMMEDIATE, waiting at most `wait` for other writers.
  /// PostgreSQL: on a connection of our own `wait` limits each wait for a lock, and the commit will
  /// be durable whatever the database's default.
  ///
  /// `first` travels with BEGIN where the database can pipeline; its step() then has the rows.
  /// @throws Error{conflict} if the wait was not enough.
  /// @throws Error{unreachable} if a file that we opened was replaced or moved meanwhile.
  virtual void begin(std::chrono::milliseconds wait, Statement* first = nullptr) = 0;
  /// Runs the statements `last` and COMMIT, in one round trip where the database can pipeline.
  /// @throws Error{conflict}, Error{commit_in_doubt} or Error{storage} as Transaction::commit does;
  ///         what one of `last` throws means that nothing was committed.
  virtual void commit(std::chrono::milliseconds wait, std::span<Statement* const> last = {}) = 0;
  virtual void rollback() noexcept = 0;
  virtual bool in_transaction() const = 0;

  /// Whether statements can travel with BEGIN and COMMIT, so that writes are better put off.
  virtual bool pipelines() const { return false; }
  /// What the session did by itself in the transaction that begin() began. Savepoints decide
  /// whether a write may be put off.
  struct Watched {
    bool savepoint = false;    ///< It has set one.
    bool rolled_back = false;  ///< It has gone back to one since forget_rollback().
    bool conflict = false;     ///< A statement failed by serialization or deadlock.
    bool committed = false;    ///< It has committed, or prepared to commit in two phases.
    bool replaced = false;     ///< It has rolled back, and begun another one if there is one.
    bool lost = false;         ///< The connection is gone.
  };
  virtual Watched watched() const { return {}; }
  virtual void forget_rollback() {}

  /// The driver's own handle, to tell connections apart.
  virtual const void* handle() const = 0;

  /// Bytes of write-ahead log that wait for a checkpoint by the services; 0 where there is none.
  virtual std::uint64_t write_ahead_bytes() const = 0;

  /// Milliseconds since 1970 UTC by the database's clock.
  virtual std::int64_t now_ms() = 0;
};

/// Wraps the driver's handle under a service's SOCI session; the session must outlive the result.
/// `named`: PostgreSQL keeps our statements prepared in the session, which a transaction pooler
/// cannot follow.
/// @throws Error{invalid_config} if the session's backend is not supported.
std::unique_ptr<Connection> borrow(soci::session& session, bool named = true);

/// The driver's handle under `session` as it is now.
/// @throws Error{invalid_config} if the session's backend is not supported.
const void* handle_of(soci::session& session);

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
