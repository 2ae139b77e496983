// As stranger_soci.cc, by SQLite's own C API: the program links nothing but outseal::outseal.
#include <outseal/outseal.h>
#include <sqlite3.h>

#include <iostream>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  sqlite3* handle = nullptr;
  int status = 0;
  try {
    sqlite3_open(argv[1], &handle);
    outseal::Transaction tx{handle};
    const auto id = outseal::append(tx, {.topic = "greetings", .type = "hello", .payload = "{}"});
    tx.commit();
    std::cout << id.to_string() << '\n';
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    status = 1;
  }
  sqlite3_close(handle);
  return status;
}
