#include "sql/postgres/connection.h"

#include <libpq-fe.h>

#include <array>
#include <charconv>
#include <chrono>
#include <cstring>

#include "outseal/error.h"
#include "sql/postgres/statement.h"
#include "sql/postgres/watch.h"

namespace outseal::sql::postgres {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// How long the database's clock is read off ours before it is asked again.
constexpr std::chrono::seconds kClockAge{30};

std::string name_of(Query query) {
  return "outseal_" + std::to_string(static_cast<std::size_t>(query));
}

class PgConnection final : public Connection, public Runner {
 public:
  PgConnection(PGconn* handle, bool owned, bool named)
      : handle_{handle}, owned_{owned}, named_{named} {
    if (owned_) PQsetNoticeReceiver(handle_, on_notice, this);
  }
  ~PgConnection() override {
    for (auto& statement : statements_) statement.reset();
    if (owned_) PQfinish(handle_);
  }
  PgConnection(const PgConnection&) = delete;
  PgConnection& operator=(const PgConnection&) = delete;

  std::string_view dialect() const override { return "postgresql"; }

  Statement& statement(Query query) override {
    auto& slot = statements_[static_cast<std::size_t>(query)];
    if (slot == nullptr)
      slot = std::make_unique<PgStatement>(*this, std::string{text(query)}, query);
    return *slot;
  }

  void execute(std::string_view sql) override { simple(std::string{sql}.c_str(), "execute"); }

  std::unique_ptr<Statement> another(Query query) override {
    return std::make_unique<PgStatement>(*this, std::string{text(query)}, query);
  }

  std::unique_ptr<Statement> prepare(std::string_view sql) override {
    return std::make_unique<PgStatement>(*this, std::string{sql}, std::nullopt);
  }

  std::int64_t changes() const override { return changes_; }

  void begin(milliseconds wait, Statement* first) override {
    if (!owned_) {
      Watch& watch = watch_of(handle_);
      watch.seen = {};
      watch.any_rollback = false;
    }
    if (owned_) {
      simple(("BEGIN ISOLATION LEVEL READ COMMITTED;"
              "SET LOCAL synchronous_commit = on; SET LOCAL lock_timeout = " +
              std::to_string(wait.count()))
                 .c_str(),
             "begin");
    } else if (first == nullptr) {
      simple("BEGIN", "begin");
    } else {
      pipeline_anew(std::array{Step{"BEGIN", nullptr}, Step{nullptr, as_ours(first)}}, "begin");
    }
  }

  void commit(milliseconds /*wait: a commit waits for no lock*/,
              std::span<Statement* const> last) override {
    const PGTransactionStatusType status = PQtransactionStatus(handle_);
    if (status == PQTRANS_INERROR)
      throw Error{watched().conflict ? ErrorCode::conflict : ErrorCode::storage,
                  "commit",
                  "an earlier error ended the transaction; nothing was committed",
                  {.hint = "roll back and run the whole transaction again"}};
    if (status != PQTRANS_INTRANS)
      throw Error{ErrorCode::unreachable,
                  "commit",
                  "the connection was lost before the commit",
                  {.hint = "nothing was committed: connect again and run the transaction again"}};
    sync_wait_cancelled_ = false;
    committed_ = false;
    refused_early_ = false;
    std::vector<Step> steps;
    for (Statement* statement : last) steps.push_back({nullptr, as_ours(statement)});
    steps.push_back({"COMMIT", nullptr});
    try {
      if (last.empty())
        simple("COMMIT", "commit");
      else
        pipeline(steps, "commit");
    } catch (const Error& error) {
      // A server that is stopped refuses what stands before COMMIT, then ends the connection. A
      // pooler that lost its server cannot know how far that came; it says so by the class 08.
      if (PQstatus(handle_) == CONNECTION_OK || refused_early_) throw;
      throw_in_doubt(error.message(), error.detail_code());
    }
    if (!committed_)
      throw Error{ErrorCode::storage,
                  "commit",
                  "the server rolled the transaction back",
                  {.hint = "an earlier error ended it; run the whole transaction again"}};
    if (sync_wait_cancelled_) throw_unsynced();
  }

  void rollback() noexcept override { Result{PQexec(handle_, "ROLLBACK")}; }

  bool in_transaction() const override {
    const PGTransactionStatusType status = PQtransactionStatus(handle_);
    return status == PQTRANS_INTRANS || status == PQTRANS_INERROR;
  }

  bool pipelines() const override { return true; }
  Watched watched() const override {
    Watched seen = watch_of(handle_).seen;
    seen.lost = PQstatus(handle_) != CONNECTION_OK;
    return seen;
  }
  void forget_rollback() override { watch_of(handle_).seen.rolled_back = false; }

  const void* handle() const override { return handle_; }
  std::uint64_t write_ahead_bytes() const override { return 0; }

  /// The database's clock, carried on by our steady one: correct even where the two machines'
  /// clocks differ, and without a round trip each time.
  std::int64_t now_ms() override {
    const auto now = steady_clock::now();
    if (!clock_read_at_ || now - *clock_read_at_ > kClockAge) {
      const auto clock = prepare("SELECT clock_timestamp()");
      clock->step();
      clock_ms_ = clock->integer(0);
      clock_read_at_ = steady_clock::now();
    }
    return clock_ms_ +
           std::chrono::duration_cast<milliseconds>(steady_clock::now() - *clock_read_at_).count();
  }

 private:
  /// One message of a pipeline: a text without parameters, or a statement.
  struct Step {
    const char* sql;
    PgStatement* statement;
  };

  static PgStatement* as_ours(Statement* statement) { return static_cast<PgStatement*>(statement); }

  static void on_notice(void* self, const PGresult* notice) {
    // A warning of the class 01000 is what says that a commit did not wait for its standby.
    const char* state = PQresultErrorField(notice, PG_DIAG_SQLSTATE);
    if (state != nullptr && std::strcmp(state, "01000") == 0)
      static_cast<PgConnection*>(self)->sync_wait_cancelled_ = true;
  }

  [[noreturn]] static void throw_in_doubt(const std::string& message, const std::string& state) {
    throw Error{ErrorCode::commit_in_doubt,
                "commit",
                message,
                {.hint = "look for the rows, or execute again with the same idempotency key",
                 .detail_code = state}};
  }

  [[noreturn]] static void throw_unsynced() {
    throw_in_doubt("committed here, but not acknowledged by the synchronous standby", "01000");
  }

  void note(const PGresult* result) {
    const std::string_view count = PQcmdTuples(const_cast<PGresult*>(result));
    // BEGIN and COMMIT change no rows: their empty count leaves the last one.
    std::from_chars(count.data(), count.data() + count.size(), changes_);
    if (std::strcmp(PQcmdStatus(const_cast<PGresult*>(result)), "COMMIT") == 0) committed_ = true;
  }

  /// Runs texts that return nothing of interest, by the simple protocol.
  void simple(const char* sql, std::string_view operation) {
    const Result result{PQexec(handle_, sql)};
    if (!is_fine(result.get())) throw error_of(handle_, result.get(), operation);
    note(result.get());
  }

  bool wants_name(const PgStatement& statement) const {
    return named_ && statement.query().has_value();
  }
  bool is_prepared(const PgStatement& statement) const {
    return watch_of(handle_).prepared.test(static_cast<std::size_t>(*statement.query()));
  }
  void set_prepared(const PgStatement& statement) {
    watch_of(handle_).prepared.set(static_cast<std::size_t>(*statement.query()));
  }

  void run(PgStatement& statement) override {
    const Setting setting = statement.query() ? setting_of(*statement.query()) : Setting{};
    if (!setting.calls.empty()) return run_under(setting, statement);
    Parameters& with = statement.parameters();
    Result result;
    if (!wants_name(statement)) {
      const char* const* values = with.values();
      result.reset(PQexecParams(handle_, statement.sql(), with.count(), nullptr, values,
                                with.lengths(), with.formats(), 1));
    } else {
      const std::string name = name_of(*statement.query());
      if (!is_prepared(statement)) {
        result.reset(PQprepare(handle_, name.c_str(), statement.sql(), 0, nullptr));
        if (!is_fine(result.get())) throw error_of(handle_, result.get(), "prepare");
        set_prepared(statement);
      }
      const char* const* values = with.values();
      result.reset(PQexecPrepared(handle_, name.c_str(), with.count(), values, with.lengths(),
                                  with.formats(), 1));
    }
    if (!is_fine(result.get())) throw error_of(handle_, result.get(), "step");
    note(result.get());
    statement.take(std::move(result));
  }

  /// Runs a statement under settings of its own, in one round trip and leaving none behind.
  void run_under(const Setting& setting, PgStatement& statement) {
    send_under(setting, statement);
    collect_sent();
    if (sync_wait_cancelled_ && setting.writes) throw_unsynced();
  }

  void send_under(const Setting& setting, PgStatement& statement) {
    const std::string settings = "SELECT " + std::string{setting.calls};
    std::vector<Step> steps;
    sent_anew_ = !in_transaction();
    if (sent_anew_)
      steps.push_back({setting.writes ? "BEGIN ISOLATION LEVEL READ COMMITTED"
                                      : "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY",
                       nullptr});
    if (!setting.calls.empty()) steps.push_back({settings.c_str(), nullptr});
    steps.push_back({nullptr, &statement});
    if (sent_anew_) steps.push_back({"COMMIT", nullptr});
    sync_wait_cancelled_ = false;
    sent_ = send_all(steps);
  }

  void collect_sent() {
    const auto answers = std::exchange(sent_, {});
    sent_anew_ ? or_rolled_back([&] { collect_all(answers, "step"); })
               : collect_all(answers, "step");
  }

  void send(PgStatement& statement) override {
    send_under(statement.query() ? setting_of(*statement.query()) : Setting{}, statement);
  }
  void collect(PgStatement& /*statement: the one that was sent*/) override { collect_sent(); }

  bool send(const Step& step) {
    if (step.statement == nullptr)
      return PQsendQueryParams(handle_, step.sql, 0, nullptr, nullptr, nullptr, nullptr, 1) != 0;
    Parameters& with = step.statement->parameters();
    const char* const* values = with.values();
    const int sent =
        wants_name(*step.statement)
            ? PQsendQueryPrepared(handle_, name_of(*step.statement->query()).c_str(), with.count(),
                                  values, with.lengths(), with.formats(), 1)
            : PQsendQueryParams(handle_, step.statement->sql(), with.count(), nullptr, values,
                                with.lengths(), with.formats(), 1);
    return sent != 0;
  }

  /// What the server is to answer: that a step's statement is prepared, or what it did.
  struct Answer {
    PgStatement* statement;  ///< Null for a text.
    bool prepares;
  };

  /// Sends all steps at once and reads their answers. The first failure undoes what it can: the
  /// server skips the steps behind it.
  void pipeline(std::span<const Step> steps, std::string_view operation) {
    collect_all(send_all(steps), operation);
  }

  /// As pipeline(), of steps that begin a transaction: none is left behind when they fail.
  void pipeline_anew(std::span<const Step> steps, std::string_view operation) {
    or_rolled_back([&] { pipeline(steps, operation); });
  }

  template <typename Body>
  void or_rolled_back(Body&& body) {
    try {
      body();
    } catch (const Error&) {
      if (in_transaction()) rollback();
      throw;
    }
  }

  /// The connection stays in pipeline mode until collect_all().
  std::vector<Answer> send_all(std::span<const Step> steps) {
    if (PQenterPipelineMode(handle_) == 0) throw error_of(handle_, nullptr, "pipeline");
    std::vector<Answer> answers;
    bool sent = true;
    for (const Step& step : steps) {
      if (step.statement != nullptr && wants_name(*step.statement) &&
          !is_prepared(*step.statement)) {
        sent = sent && PQsendPrepare(handle_, name_of(*step.statement->query()).c_str(),
                                     step.statement->sql(), 0, nullptr) != 0;
        answers.push_back({step.statement, true});
      }
      sent = sent && send(step);
      answers.push_back({step.statement, false});
    }
    if (sent && PQpipelineSync(handle_) != 0) return answers;
    const Error failure = error_of(handle_, nullptr, "send");
    PQexitPipelineMode(handle_);
    throw Error{failure};
  }

  void collect_all(std::span<const Answer> answers, std::string_view operation) {
    std::optional<Error> failure;
    for (const Answer& answer : answers) take_answer(answer, failure, operation);
    for (;;) {  // Up to the mark that ends the pipeline, or the end of the connection.
      const Result end{PQgetResult(handle_)};
      if (PQstatus(handle_) != CONNECTION_OK || PQresultStatus(end.get()) == PGRES_PIPELINE_SYNC)
        break;
    }
    PQexitPipelineMode(handle_);
    if (failure) throw Error{*failure};
  }

  void take_answer(const Answer& answer, std::optional<Error>& failure,
                   std::string_view operation) {
    Result result{PQgetResult(handle_)};
    if (result == nullptr ||
        (!is_fine(result.get()) && PQresultStatus(result.get()) != PGRES_PIPELINE_ABORTED)) {
      if (!failure) {
        failure.emplace(error_of(handle_, result.get(), operation));
        const std::string& state = failure->detail_code();
        refused_early_ = !state.empty() && !state.starts_with("08") && answer.statement != nullptr;
      }
    } else if (!failure && answer.prepares) {
      set_prepared(*answer.statement);  // It stays so, whatever becomes of the transaction.
    } else if (!failure) {
      note(result.get());
      if (answer.statement != nullptr) answer.statement->take(std::move(result));
    }
    while (PQstatus(handle_) == CONNECTION_OK && Result{PQgetResult(handle_)} != nullptr) {
    }
  }

  PGconn* handle_;
  bool owned_;
  bool named_;
  std::int64_t changes_ = 0;
  bool committed_ = false;
  bool refused_early_ = false;  ///< The server refused a statement before COMMIT.
  bool sync_wait_cancelled_ = false;
  std::vector<Answer> sent_;  ///< What send() sent is to be answered by.
  bool sent_anew_ = false;    ///< It began a transaction.
  std::optional<steady_clock::time_point> clock_read_at_;
  std::int64_t clock_ms_ = 0;
  std::array<std::unique_ptr<PgStatement>, kQueryCount> statements_;
};

}  // namespace

std::unique_ptr<Connection> wrap(PGconn* handle, bool named) {
  return std::make_unique<PgConnection>(handle, false, named);
}

std::unique_ptr<Connection> adopt(PGconn* handle) {
  return std::make_unique<PgConnection>(handle, true, false);
}

}  // namespace outseal::sql::postgres
