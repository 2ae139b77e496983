// 01_append.cc for a service on libpq: its connection is all that outseal needs, no SOCI.
//
//   outseal-migrate up --db postgresql://owner@db.example/shop
//   01_append_libpq postgresql://app@db.example/shop
#include <libpq-fe.h>
#include <outseal/outseal.h>

#include <iostream>
#include <stdexcept>

namespace {

void run(PGconn* db, const char* sql) {
  PGresult* result = PQexec(db, sql);
  const bool done = PQresultStatus(result) == PGRES_COMMAND_OK;
  PQclear(result);
  if (!done) throw std::runtime_error{PQerrorMessage(db)};
}

void open_account(PGconn* db) {
  run(db, "SET client_min_messages = warning");
  run(db, "CREATE TABLE IF NOT EXISTS account (id integer PRIMARY KEY, balance integer)");
  run(db, "INSERT INTO account (id, balance) VALUES (7, 100) ON CONFLICT DO NOTHING");
}

void charge(PGconn* db) {
  outseal::Transaction tx{db};
  run(db, "UPDATE account SET balance = balance - 5 WHERE id = 7");
  outseal::append(tx, {.topic = "payments",
                       .key = "account-7",
                       .type = "payment.charged",
                       .payload = R"({"account": 7, "amount": 5})"});
  tx.commit();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: 01_append_libpq CONNECTION\n";
    return 2;
  }
  PGconn* db = PQconnectdb(argv[1]);
  int status = 0;
  try {
    if (PQstatus(db) != CONNECTION_OK) throw std::runtime_error{PQerrorMessage(db)};
    open_account(db);
    charge(db);
    std::cout << "charged account 7 and appended payment.charged\n";
  } catch (const outseal::Error& error) {
    std::cerr << error.what() << "\n" << error.hint() << "\n";
    status = outseal::exit_code_of(error.code());
  } catch (const std::runtime_error& error) {
    std::cerr << error.what() << "\n";
    status = 1;
  }
  PQfinish(db);
  return status;
}
