#include "torture/postgres_client.h"

namespace outseal::test {

SqlRows query(PGconn* connection, const std::string& sql) {
  const std::unique_ptr<PGresult, decltype(&PQclear)> result{PQexec(connection, sql.c_str()),
                                                             &PQclear};
  const ExecStatusType status = PQresultStatus(result.get());
  if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
    const char* state = PQresultErrorField(result.get(), PG_DIAG_SQLSTATE);
    const bool connected = PQstatus(connection) == CONNECTION_OK;
    throw SqlFailure{PQerrorMessage(connection) + ("in: " + sql),
                     connected && state != nullptr ? state : ""};
  }
  SqlRows rows(static_cast<std::size_t>(PQntuples(result.get())));
  for (int row = 0; row < PQntuples(result.get()); ++row)
    for (int column = 0; column < PQnfields(result.get()); ++column)
      rows[static_cast<std::size_t>(row)].emplace_back(PQgetvalue(result.get(), row, column));
  return rows;
}

PostgresClient::PostgresClient(const std::string& where)
    : connection_{PQconnectdb(where.c_str()), &PQfinish} {
  if (PQstatus(connection_.get()) != CONNECTION_OK)
    throw SqlFailure{PQerrorMessage(connection_.get()), ""};
  PQsetNoticeProcessor(
      connection_.get(), [](void*, const char*) {}, nullptr);
}

std::string PostgresClient::value(const std::string& sql) {
  const SqlRows found = rows(sql);
  return found.empty() || found.front().empty() ? std::string{} : found.front().front();
}

}  // namespace outseal::test
