// The shortest whole program: a business row and its event commit together or not at all.
//
//   outseal-migrate up --db sqlite:shop.db && 01_append shop.db
#include <outseal/outseal.h>
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>

#include <iostream>
#include <string>

namespace {

void charge(const std::string& database) {
  // README.md shows the lines between the two markers.
  // [append]
  soci::session session{soci::sqlite3, database};
  outseal::Transaction tx{session};
  session << "UPDATE account SET balance = balance - 5 WHERE id = 7";
  outseal::append(tx, {.topic = "payments",
                       .key = "account-7",
                       .type = "payment.charged",
                       .payload = R"({"account": 7, "amount": 5})"});
  tx.commit();
  // [append]
}

void open_account(const std::string& database) {
  soci::session session{soci::sqlite3, database};
  session << "CREATE TABLE IF NOT EXISTS account (id INTEGER PRIMARY KEY, balance INTEGER)";
  session << "INSERT OR IGNORE INTO account (id, balance) VALUES (7, 100)";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: 01_append DATABASE\n";
    return 2;
  }
  try {
    open_account(argv[1]);
    charge(argv[1]);
  } catch (const outseal::Error& error) {
    std::cerr << error.what() << "\n" << error.hint() << "\n";
    return outseal::exit_code_of(error.code());
  }
  std::cout << "charged account 7 and appended payment.charged\n";
}
