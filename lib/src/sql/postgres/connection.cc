#include "sql/postgres/connection.h"

#include <libpq-fe.h>

#include <charconv>
#include <cstring>

#include "sql/own_transaction.h"
#include "sql/postgres/pg_connection.h"

namespace outseal::sql::postgres {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// How long the database's clock is read off ours before it is asked again.
constexpr std::chrono::seconds kClockAge{30};

}  // namespace

PgConnection::PgConnection(PGconn* handle, bool owned, bool named)
    : handle_{handle}, owned_{owned}, named_{named}, activity_{activity_of(handle)} {
  if (owned_) PQsetNoticeReceiver(handle_, on_notice, this);
}

PgConnection::~PgConnection() {
  statements_.clear();
  if (owned_) PQfinish(handle_);
}

PGconn* PgConnection::live() const {
  if (activity_->gone)
    throw Error{ErrorCode::unreachable,
                "session",
                "the session was closed or reconnected",
                {.hint = "nothing was committed: run the whole transaction again"}};
  return handle_;
}

Statement& PgConnection::statement(const Text& text) {
  auto& slot = statements_[&text];
  if (slot == nullptr) slot = make(text);
  return *slot;
}

std::unique_ptr<Statement> PgConnection::clone(const Text& text) { return make(text); }

std::unique_ptr<PgStatement> PgConnection::make(const Text& text) {
  if (text.postgres == nullptr)
    throw Error{ErrorCode::internal, "statement", "PostgreSQL has no " + std::string{text.name}};
  return std::make_unique<PgStatement>(*this, text);
}

std::unique_ptr<Statement> PgConnection::prepare(std::string_view sql) {
  return std::make_unique<PgStatement>(*this, std::string{sql});
}

void PgConnection::begin(milliseconds wait) {
  if (!owned_) {
    simple("BEGIN", "begin");
    return;
  }
  simple(("BEGIN ISOLATION LEVEL READ COMMITTED; SELECT " + std::string{kOwnSettings} +
          "; SET LOCAL synchronous_commit = on; SET LOCAL lock_timeout = " +
          std::to_string(wait.count()))
             .c_str(),
         "begin");
}

void PgConnection::commit(milliseconds /*wait: a commit waits for no lock*/,
                          std::span<Statement* const> last) {
  const PGTransactionStatusType status = PQtransactionStatus(live());
  if (status == PQTRANS_INERROR) {
    // A prepared statement that the service does not have is as absent the next time.
    const bool conflict = is_conflict(activity_->failure) && activity_->failure != "26000";
    throw Error{
        conflict ? ErrorCode::conflict : ErrorCode::storage,
        "commit",
        "an earlier error ended the transaction; nothing was committed",
        {.hint = conflict
                     ? "roll back and run the whole transaction again"
                     : "a statement failed and its error was passed over: let it reach the caller, "
                       "or return to a savepoint",
         .detail_code = activity_->failure}};
  }
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
  steps.push_back({nullptr, as_ours(&statement(kCommit))});
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
                {.hint = "a statement failed and its error was passed over: let it reach the "
                         "caller"}};
  if (sync_wait_cancelled_) throw_unsynced();
}

void PgConnection::rollback() noexcept {
  if (!activity_->gone) Result{PQexec(handle_, "ROLLBACK")};
}

bool PgConnection::in_transaction() const {
  return status() == PQTRANS_INTRANS || status() == PQTRANS_INERROR;
}

void PgConnection::require_idle(std::string_view operation) const {
  PGconn* handle = live();
  if (PQpipelineStatus(handle) != PQ_PIPELINE_OFF)
    throw Error{ErrorCode::invalid_argument,
                operation,
                "the session is in pipeline mode",
                {.hint = "end it with PQexitPipelineMode() before outseal uses the session"}};
  if (PQtransactionStatus(handle) == PQTRANS_ACTIVE)
    throw Error{ErrorCode::invalid_argument,
                operation,
                "the session is in the middle of a COPY or of a statement sent by PQsendQuery()",
                {.hint = "end the COPY, or fetch all results, before outseal uses the session"}};
}

/// What it was told stays told: a COMMIT in it counts.
void PgConnection::leave_pipeline() noexcept {
  if (PQexitPipelineMode(handle_) != 0 || PQpipelineSync(handle_) == 0) return;
  while (PQstatus(handle_) == CONNECTION_OK) {
    const Result result{PQgetResult(handle_)};
    const bool may_be_last =
        result == nullptr || PQresultStatus(result.get()) == PGRES_PIPELINE_SYNC;
    if (may_be_last && PQexitPipelineMode(handle_) != 0) return;
    if (result == nullptr && PQconsumeInput(handle_) == 0) return;
  }
}

void PgConnection::discard_results() noexcept {
  if (status() == PQTRANS_UNKNOWN) return;
  leave_pipeline();
  if (status() != PQTRANS_ACTIVE) return;
  while (const Result result{PQgetResult(handle_)}) {
    const ExecStatusType kind = PQresultStatus(result.get());
    if (kind == PGRES_COPY_IN || kind == PGRES_COPY_OUT || kind == PGRES_COPY_BOTH) return;
  }
}

std::unique_ptr<Connection> PgConnection::open_beside() const {
  std::vector<const char*> names;
  std::vector<const char*> values;
  const Address address = activity_->gone ? activity_->address : address_of(handle_);
  for (const auto& [name, value] : address) {
    names.push_back(name.c_str());
    values.push_back(value.c_str());
  }
  if (names.empty()) return nullptr;
  for (auto* list : {&names, &values}) list->push_back(nullptr);
  PGconn* handle = PQconnectdbParams(names.data(), values.data(), 0);
  if (handle == nullptr) return nullptr;
  auto connection = adopt(handle);
  if (PQstatus(handle) != CONNECTION_OK || PQsetClientEncoding(handle, "UTF8") != 0) return nullptr;
  return connection;
}

void PgConnection::set_companion(const std::weak_ptr<void>& companion) {
  if (activity_->current != nullptr) activity_->current->companion = companion;
}

std::shared_ptr<void> PgConnection::companion() const {
  return activity_->current != nullptr ? activity_->current->companion.lock() : nullptr;
}

/// The database's clock, carried on by our steady one: correct even where the two machines'
/// clocks differ, and without a round trip each time.
std::int64_t PgConnection::now_ms() {
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

void PgConnection::on_notice(void* self, const PGresult* notice) {
  // A warning of the class 01000 is what says that a commit did not wait for its standby.
  const char* state = PQresultErrorField(notice, PG_DIAG_SQLSTATE);
  if (state != nullptr && std::strcmp(state, "01000") == 0)
    static_cast<PgConnection*>(self)->sync_wait_cancelled_ = true;
}

void PgConnection::throw_in_doubt(const std::string& message, const std::string& state) {
  throw Error{ErrorCode::commit_in_doubt,
              "commit",
              message,
              {.hint = "look for the rows, or execute again with the same idempotency key",
               .detail_code = state}};
}

void PgConnection::throw_unsynced() {
  throw_in_doubt("committed here, but not acknowledged by the synchronous standby", "01000");
}

void PgConnection::note(const PGresult* result) {
  const std::string_view count = PQcmdTuples(const_cast<PGresult*>(result));
  // BEGIN and COMMIT change no rows: their empty count leaves the last one.
  std::from_chars(count.data(), count.data() + count.size(), changes_);
  if (std::strcmp(PQcmdStatus(const_cast<PGresult*>(result)), "COMMIT") == 0) committed_ = true;
}

Result PgConnection::simple(const char* sql, std::string_view operation) {
  Result result{PQexec(live(), sql)};
  if (!is_fine(result.get())) throw error_of(handle_, result.get(), operation);
  note(result.get());
  return result;
}

std::unique_ptr<Connection> wrap(PGconn* handle, bool named) {
  return std::make_unique<PgConnection>(handle, false, named);
}

std::unique_ptr<Connection> adopt(PGconn* handle) {
  return std::make_unique<PgConnection>(handle, true, false);
}

}  // namespace outseal::sql::postgres
