// Appends one event to the database that is named on the command line.
#include <outseal/outseal.h>
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>

#include <iostream>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  try {
    soci::session session{soci::sqlite3, argv[1]};
    outseal::Transaction tx{session};
    const auto id = outseal::append(tx, {.topic = "greetings", .type = "hello", .payload = "{}"});
    tx.commit();
    std::cout << id.to_string() << '\n';
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
