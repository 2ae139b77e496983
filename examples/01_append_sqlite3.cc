// 01_append.cc for a service on SQLite's own C API: its handle is all that outseal needs, no SOCI.
//
//   outseal-migrate up --db sqlite:shop.db && 01_append_sqlite3 shop.db
#include <outseal/outseal.h>
#include <sqlite3.h>

#include <iostream>
#include <stdexcept>

namespace {

void run(sqlite3* db, const char* sql) {
  if (sqlite3_exec(db, sql, nullptr, nullptr, nullptr) != SQLITE_OK)
    throw std::runtime_error{sqlite3_errmsg(db)};
}

void open_account(sqlite3* db) {
  run(db, "CREATE TABLE IF NOT EXISTS account (id INTEGER PRIMARY KEY, balance INTEGER)");
  run(db, "INSERT OR IGNORE INTO account (id, balance) VALUES (7, 100)");
}

void charge(sqlite3* db) {
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
    std::cerr << "usage: 01_append_sqlite3 DATABASE\n";
    return 2;
  }
  sqlite3* db = nullptr;
  int status = 0;
  try {
    if (sqlite3_open(argv[1], &db) != SQLITE_OK) throw std::runtime_error{sqlite3_errmsg(db)};
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
  sqlite3_close(db);
  return status;
}
