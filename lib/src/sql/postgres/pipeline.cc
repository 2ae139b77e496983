// How statements of PostgreSQL travel: one by one, or many in a pipeline.
#include <libpq-fe.h>

#include "sql/own_transaction.h"
#include "sql/postgres/pg_connection.h"

namespace outseal::sql::postgres {
void PgConnection::require_utf8() const {
  static const int utf8 = pg_char_to_encoding("UTF8");
  const int encoding = PQclientEncoding(live());
  if (encoding == utf8 || encoding < 0) return;  // Negative: the connection is lost.
  throw Error{ErrorCode::invalid_argument,
              "bind",
              "the session's client_encoding is " + std::string{pg_encoding_to_char(encoding)} +
                  ", not UTF8",
              {.hint = "run SET client_encoding TO 'UTF8', or connect with client_encoding=UTF8"}};
}

bool PgConnection::wants_name(const PgStatement& statement) const {
  return named_ && statement.ours() != nullptr;
}
bool PgConnection::is_prepared(const PgStatement& statement) const {
  return activity_->prepared.contains(statement.ours());
}
void PgConnection::set_prepared(const PgStatement& statement) {
  activity_->prepared.insert(statement.ours());
}

void PgConnection::run(PgStatement& statement) {
  const Setting setting = statement.setting();
  if (!setting.calls.empty() || (owned_ && !in_transaction())) return run_under(setting, statement);
  // A transaction has to be known to be rolled back, whatever the encoding.
  if (statement.ours() == nullptr || !statement.ours()->any_encoding) require_utf8();
  Parameters& with = statement.parameters();
  Result result;
  if (!wants_name(statement)) {
    const char* const* values = with.values();
    result.reset(PQexecParams(live(), statement.sql(), with.count(), nullptr, values,
                              with.lengths(), with.formats(), 1));
  } else {
    const std::string name = statement.name(activity_->names);
    if (!is_prepared(statement)) {
      result.reset(PQprepare(live(), name.c_str(), statement.sql(), 0, nullptr));
      if (!is_fine(result.get())) throw error_of(handle_, result.get(), "prepare");
      set_prepared(statement);
    }
    const char* const* values = with.values();
    result.reset(PQexecPrepared(live(), name.c_str(), with.count(), values, with.lengths(),
                                with.formats(), 1));
  }
  if (!is_fine(result.get())) throw error_of(handle_, result.get(), "step");
  note(result.get());
  statement.take(std::move(result));
}

void PgConnection::run_under(const Setting& setting, PgStatement& statement) {
  send_under(setting, statement);
  collect_sent();
  if (sync_wait_cancelled_ && setting.writes) throw_unsynced();
}

void PgConnection::send_under(const Setting& setting, PgStatement& statement) {
  sent_anew_ = !in_transaction();
  std::string settings{owned_ && sent_anew_ ? kOwnSettings : ""};
  if (!settings.empty() && !setting.calls.empty()) settings += ", ";
  settings += setting.calls;
  if (!settings.empty()) settings.insert(0, "SELECT ");
  std::vector<Step> steps;
  if (sent_anew_)
    steps.push_back({setting.calls.empty() || setting.writes
                         ? "BEGIN ISOLATION LEVEL READ COMMITTED"
                         : "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY",
                     nullptr});
  if (!settings.empty()) steps.push_back({settings.c_str(), nullptr});
  steps.push_back({nullptr, &statement});
  if (sent_anew_) steps.push_back({"COMMIT", nullptr});
  sync_wait_cancelled_ = false;
  sent_ = send_all(steps);
}

void PgConnection::collect_sent() {
  const auto answers = std::exchange(sent_, {});
  sent_anew_ ? or_rolled_back([&] { collect_all(answers, "step"); }) : collect_all(answers, "step");
}

void PgConnection::send(PgStatement& statement) { send_under(statement.setting(), statement); }
void PgConnection::collect(PgStatement& /*statement: the one that was sent*/) { collect_sent(); }

bool PgConnection::send(const Step& step) {
  if (step.statement == nullptr)
    return PQsendQueryParams(handle_, step.sql, 0, nullptr, nullptr, nullptr, nullptr, 1) != 0;
  Parameters& with = step.statement->parameters();
  const char* const* values = with.values();
  const int sent =
      wants_name(*step.statement)
          ? PQsendQueryPrepared(handle_, step.statement->name(activity_->names).c_str(),
                                with.count(), values, with.lengths(), with.formats(), 1)
          : PQsendQueryParams(handle_, step.statement->sql(), with.count(), nullptr, values,
                              with.lengths(), with.formats(), 1);
  return sent != 0;
}

void PgConnection::pipeline(std::span<const Step> steps, std::string_view operation) {
  collect_all(send_all(steps), operation);
}

void PgConnection::pipeline_anew(std::span<const Step> steps, std::string_view operation) {
  or_rolled_back([&] { pipeline(steps, operation); });
}

std::vector<PgConnection::Answer> PgConnection::send_all(std::span<const Step> steps) {
  require_utf8();
  if (PQenterPipelineMode(live()) == 0) throw error_of(handle_, nullptr, "pipeline");
  std::vector<Answer> answers;
  bool sent = true;
  for (const Step& step : steps) {
    if (step.statement != nullptr && wants_name(*step.statement) && !is_prepared(*step.statement)) {
      sent = sent && PQsendPrepare(handle_, step.statement->name(activity_->names).c_str(),
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

void PgConnection::collect_all(std::span<const Answer> answers, std::string_view operation) {
  std::optional<Error> failure;
  for (const Answer& answer : answers) take_answer(answer, failure, operation);
  for (;;) {  // Up to the mark that ends the pipeline, or the end of the connection.
    const Result end{PQgetResult(handle_)};
    if (PQstatus(handle_) != CONNECTION_OK || PQresultStatus(end.get()) == PGRES_PIPELINE_SYNC)
      break;
    if (end == nullptr && PQconsumeInput(handle_) == 0) break;
  }
  PQexitPipelineMode(handle_);
  if (failure) throw Error{*failure};
}

/// The whole answer to a statement in a pipeline. The first one there inherits the mode of a query
/// of the service's that came row by row, or in chunks: then its one row comes before its end.
Result PgConnection::next_answer() {
  Result result{PQgetResult(handle_)};
  if (!is_part(result.get())) return result;
  Result end{PQgetResult(handle_)};
  return is_fine(end.get()) ? std::move(result) : std::move(end);
}

void PgConnection::take_answer(const Answer& answer, std::optional<Error>& failure,
                               std::string_view operation) {
  Result result = next_answer();
  if (result == nullptr ||
      (!is_fine(result.get()) && PQresultStatus(result.get()) != PGRES_PIPELINE_ABORTED)) {
    if (!failure) {
      failure.emplace(error_of(handle_, result.get(), operation));
      const std::string& state = failure->detail_code();
      refused_early_ = !state.empty() && !state.starts_with("08") && answer.statement != nullptr &&
                       answer.statement->ours() != &kCommit;
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

}  // namespace outseal::sql::postgres
