// PostgreSQL's Connection, for the files that implement it: connection.cc, pipeline.cc and
// transaction.cc.
#pragma once

#include <libpq-fe.h>

#include <chrono>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "outseal/error.h"
#include "sql/postgres/connection.h"
#include "sql/postgres/session_activity.h"
#include "sql/postgres/statement.h"

namespace outseal::sql::postgres {

/// What each transaction of a connection of ours sets, as calls for a SELECT. Nothing is passed
/// over that a policy of somebody's hides: rather an error. And no operator or function of
/// somebody's is taken for PostgreSQL's: "$user" is a schema that anybody may have made. For the
/// length of a transaction: a pooler would hand a session's setting on to others.
inline constexpr std::string_view kOwnSettings =
    "pg_catalog.set_config('row_security', 'off', true),"
    " pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true)";

class PgConnection final : public Connection, public Runner {
 public:
  PgConnection(PGconn* handle, bool owned, bool named);
  ~PgConnection() override;
  PgConnection(const PgConnection&) = delete;
  PgConnection& operator=(const PgConnection&) = delete;

  std::string_view dialect() const override { return "postgresql"; }
  Statement& statement(const Text& text) override;
  void execute(std::string_view sql) override { simple(std::string{sql}.c_str(), "execute"); }
  std::unique_ptr<Statement> clone(const Text& text) override;
  std::unique_ptr<Statement> prepare(std::string_view sql) override;
  std::int64_t changes() const override { return changes_; }

  void begin(std::chrono::milliseconds wait) override;
  void commit(std::chrono::milliseconds wait, std::span<Statement* const> last) override;
  void rollback() noexcept override;
  bool in_transaction() const override;
  std::unique_ptr<OwnTransaction> begin_own(const Begin& begin) override;

  std::unique_ptr<JoinedTransaction> join_open() override;
  void discard_results() noexcept override;
  void require_idle(std::string_view operation) const override;
  bool is_idle() const override { return status() == PQTRANS_IDLE; }
  bool lost() const override { return activity_->gone || PQstatus(handle_) != CONNECTION_OK; }
  std::string failed_by() const override { return activity_->failure; }
  std::uint64_t statements_run() const override { return activity_->statements; }
  std::unique_ptr<Connection> open_beside() const override;
  void set_companion(const std::weak_ptr<void>& companion) override;
  std::shared_ptr<void> companion() const override;

  bool pipelines() const override { return true; }
  const void* handle() const override { return handle_; }
  std::uint64_t write_ahead_bytes() const override { return 0; }
  std::int64_t now_ms() override;

  // --- for PgTransaction ---

  const std::shared_ptr<SessionActivity>& activity() const { return activity_; }
  /// Unknown once the handle is closed.
  PGTransactionStatusType status() const {
    return activity_->gone ? PQTRANS_UNKNOWN : PQtransactionStatus(handle_);
  }

  /// One message of a pipeline: a text without parameters, or a statement.
  struct Step {
    const char* sql;
    PgStatement* statement;
  };
  static PgStatement* as_ours(Statement* statement) { return static_cast<PgStatement*>(statement); }
  /// Sends all steps at once and reads their answers. The first failure undoes what it can: the
  /// server skips the steps behind it.
  void pipeline(std::span<const Step> steps, std::string_view operation);
  /// As pipeline(), of steps that begin a transaction: none is left behind when they fail.
  void pipeline_anew(std::span<const Step> steps, std::string_view operation);
  /// Runs `body`, which begins a transaction: none is left behind when it fails.
  template <typename Body>
  void or_rolled_back(Body&& body) {
    try {
      body();
    } catch (const Error&) {
      if (in_transaction()) rollback();
      throw;
    }
  }
  /// Runs texts by the simple protocol; the result is that of the last one.
  Result simple(const char* sql, std::string_view operation);

 private:
  /// What the server is to answer: that a step's statement is prepared, or what it did.
  struct Answer {
    PgStatement* statement;  ///< Null for a text.
    bool prepares;
  };

  std::unique_ptr<PgStatement> make(const Text& text);
  static void on_notice(void* self, const PGresult* notice);
  [[noreturn]] static void throw_in_doubt(const std::string& message, const std::string& state);
  [[noreturn]] static void throw_unsynced();

  /// See Begin::keep_lock; `begin` is the text of BEGIN.
  void begin_again(const char* begin, std::int64_t lock, std::span<Statement* const> first);
  /// All text that we bind is UTF-8: under another encoding the server would garble it in silence.
  void require_utf8() const;
  /// The handle, to be used.
  /// @throws Error{unreachable} if it was closed.
  PGconn* live() const;
  void note(const PGresult* result);
  bool wants_name(const PgStatement& statement) const;
  bool is_prepared(const PgStatement& statement) const;
  void set_prepared(const PgStatement& statement);

  void run(PgStatement& statement) override;
  void run_under(const Setting& setting, PgStatement& statement);
  void send_under(const Setting& setting, PgStatement& statement);
  void send(PgStatement& statement) override;
  void collect(PgStatement& statement) override;
  void collect_sent();
  bool send(const Step& step);
  /// The connection stays in pipeline mode until collect_all().
  std::vector<Answer> send_all(std::span<const Step> steps);
  void collect_all(std::span<const Answer> answers, std::string_view operation);
  void leave_pipeline() noexcept;
  Result next_answer();
  void take_answer(const Answer& answer, std::optional<Error>& failure, std::string_view operation);

  PGconn* handle_;
  bool owned_;
  bool named_;
  std::shared_ptr<SessionActivity> activity_;
  std::int64_t changes_ = 0;
  bool committed_ = false;
  bool refused_early_ = false;  ///< The server refused a statement before COMMIT.
  bool sync_wait_cancelled_ = false;
  std::vector<Answer> sent_;  ///< What send() sent is to be answered by.
  bool sent_anew_ = false;    ///< It began a transaction.
  std::optional<std::chrono::steady_clock::time_point> clock_read_at_;
  std::int64_t clock_ms_ = 0;
  std::unordered_map<const Text*, std::unique_ptr<PgStatement>> statements_;
};

}  // namespace outseal::sql::postgres
