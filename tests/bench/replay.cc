// What a repetition costs: status(), find() and execute() of a key that is known, against the least
// that a look can cost: a prepared SELECT of the same row by its primary key.
#include <libpq-fe.h>
#include <soci/postgresql/soci-postgresql.h>
#include <soci/soci.h>
#include <sqlite3.h>

#include <array>
#include <cstdio>
#include <functional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "bench/bench.h"
#include "bench/pg_stage.h"
#include "operation/record.h"
#include "outseal/http_front.h"
#include "outseal/status.h"
#include "outseal/testing.h"
#include "support/temp_folder.h"

namespace outseal::bench {
namespace {

constexpr int kRounds = 7;
constexpr int kRecords = 10'000;

Operation operation_of(int number) {
  return {.scope = "payments",
          .principal = "shop",
          .key = std::to_string(number),
          .fingerprint = fingerprint("request")};
}

/// Something that answers key `number`.
struct Way {
  const char* name;
  double aim;  ///< 0: none.
  std::function<void(int number)> look;
};

void compare(const char* database, const std::vector<Way>& ways, int looks) {
  std::vector<std::vector<double>> times(ways.size());
  for (int round = 0; round <= kRounds; ++round)
    for (std::size_t i = 0; i < ways.size(); ++i) {
      const double took = seconds([&] {
        for (int look = 0; look < looks; ++look) ways[i].look(look * 7 % kRecords);
      });
      if (round > 0) times[i].push_back(1e6 * took / looks);  // The first one is for warming up.
    }
  std::printf("  %s: %s %.1f us;", database, ways[0].name, median(times[0]));
  for (std::size_t i = 1; i < ways.size(); ++i) {
    std::vector<double> ratios;
    for (std::size_t round = 0; round < times[i].size(); ++round)
      ratios.push_back(times[i][round] / times[0][round]);
    const double ratio = median(ratios);
    std::printf(" %s %.2f%s", ways[i].name, ratio,
                ways[i].aim > 0 ? below(ratio, ways[i].aim).c_str() : "");
  }
  std::printf(" of it\n");
}

/// The ways that are the same on both databases.
std::vector<Way> ways_of(Session session, StatementCache* statements) {
  const auto never = [](Transaction&) -> Reply { throw std::logic_error{"it is known"}; };
  return {{"status()", 1.1,
           [=](int number) {
             std::ignore = status(
                 session, {.scope = "payments", .principal = "shop", .key = std::to_string(number)},
                 {.statements = statements});
           }},
          {"find()", 1.1,
           [=](int number) {
             std::ignore = find(session, operation_of(number), {.statements = statements});
           }},
          {"execute() as replay", 0, [=](int number) {
             std::ignore =
                 execute(session, operation_of(number), never, {.statements = statements});
           }}};
}

void fill(Session session, StatementCache* statements) {
  const auto paid = [](Transaction&) { return Reply{.status = 201, .body = payload(1)}; };
  for (int number = 0; number < kRecords; ++number)
    std::ignore = execute(session, operation_of(number), paid, {.statements = statements});
}

/// And the front door with its cache of hot replies.
std::vector<Way> with_front(std::vector<Way> ways, HttpFront& front, Session session) {
  ways.push_back(
      {"HttpFront with a hot reply", 1.1, [&front, session](int number) {
         std::ignore = front.serve(
             [session] { return session; },
             {.headers = {{"Idempotency-Key", '"' + std::to_string(number % 100) + "-hot\""}}},
             [](Session db, const Operation& operation, const ExecuteOptions& options) {
               return execute(
                   db, operation, [](Transaction&) { return Reply{.body = payload(1)}; }, options);
             });
       }});
  return ways;
}

}  // namespace

void pg_replay(const Size& size) {
  const Stage stage;
  stage.ask("ALTER DATABASE " + stage.ask("SELECT current_database()") +
            " SET synchronous_commit = off");
  soci::session session{soci::postgresql, stage.conninfo()};
  StatementCache statements{session};
  fill(session, &statements);
  stage.ask("VACUUM ANALYZE outseal.idempotency");
  PGconn* const handle =
      static_cast<soci::postgresql_session_backend*>(session.get_backend())->conn_;
  PQclear(PQprepare(handle, "bare",
                    "SELECT state, status, body, content_type, reply_headers"
                    " FROM outseal.idempotency WHERE key_hash = $1",
                    1, nullptr));
  const Way bare{
      "SELECT by primary key", 0, [&](int number) {
        const std::string hash = operation::key_hash(operation_of(number));
        const char* const values[] = {hash.data()};
        const int lengths[] = {static_cast<int>(hash.size())};
        const int formats[] = {1};
        PGresult* const result = PQexecPrepared(handle, "bare", 1, values, lengths, formats, 1);
        if (PQntuples(result) != 1) throw std::runtime_error{"no such record"};
        const Reply reply{
            .body = {PQgetvalue(result, 0, 2), static_cast<std::size_t>(PQgetlength(result, 0, 2))},
            .content_type = PQgetvalue(result, 0, 3)};
        PQclear(result);
      }};
  HttpFront front{{.scope = "payments", .cache_bytes_max = 10U << 20U}};
  std::vector<Way> ways{bare};
  for (Way& way : with_front(ways_of(session, &statements), front, session))
    ways.push_back(std::move(way));
  compare("PostgreSQL", ways, size.count(3'000));
}

void sqlite_replay(const Size& size) {
  const test::TempFolder folder;
  sqlite3* handle = nullptr;
  if (sqlite3_open(folder.file("bench.db").c_str(), &handle) != SQLITE_OK)
    throw std::runtime_error{"cannot open the database"};
  migrate(handle);
  sqlite3_exec(handle, "PRAGMA synchronous = OFF", nullptr, nullptr, nullptr);
  {
    StatementCache statements{handle};
    fill(handle, &statements);
    sqlite3_stmt* select = nullptr;
    sqlite3_prepare_v2(handle,
                       "SELECT state, status, body, content_type, reply_headers"
                       " FROM outseal_idempotency WHERE key_hash = ?1",
                       -1, &select, nullptr);
    const Way bare{
        "SELECT by primary key", 0, [&](int number) {
          const std::string hash = operation::key_hash(operation_of(number));
          sqlite3_bind_blob(select, 1, hash.data(), static_cast<int>(hash.size()), SQLITE_STATIC);
          if (sqlite3_step(select) != SQLITE_ROW) throw std::runtime_error{"no such record"};
          const Reply reply{
              .body = {static_cast<const char*>(sqlite3_column_blob(select, 2)),
                       static_cast<std::size_t>(sqlite3_column_bytes(select, 2))},
              .content_type = reinterpret_cast<const char*>(sqlite3_column_text(select, 3))};
          sqlite3_reset(select);
        }};
    HttpFront front{{.scope = "payments", .cache_bytes_max = 10U << 20U}};
    std::vector<Way> ways{bare};
    for (Way& way : with_front(ways_of(handle, &statements), front, handle))
      ways.push_back(std::move(way));
    compare("SQLite", ways, size.count(20'000));
    sqlite3_finalize(select);
  }
  sqlite3_close(handle);
}

}  // namespace outseal::bench
