// The other end: a second service lets each event of the first one take effect once.
//
// 01_append is the first service. The relay carries its events into this service's own database,
// where they are taken in the transactions of their effects. Kill any of the three at any moment:
//
//   outseal-migrate up --db sqlite:shop.db && 01_append shop.db
//   outseal-migrate up --db sqlite:billing.db
//   outseal-relay run --db sqlite:shop.db --sink sqlite:billing.db --drain
//   03_inbox billing.db
#include <outseal/outseal.h>
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>

#include <iostream>
#include <string>

namespace {

// What the sender's positions count in: event source and subscription, here the relay's defaults.
constexpr const char* kStream = "/outseal/main#main";

// Writes an invoice for each event that is there. A service does this again and again.
std::size_t bill(soci::session& session) {
  outseal::Transaction tx{session};
  const auto events = outseal::take(tx, kStream);
  for (const outseal::InboxEvent& event : events) {
    session << "INSERT INTO invoice (account, reason, detail) VALUES (:account, :reason, :detail)",
        soci::use(event.key), soci::use(event.type), soci::use(event.payload);
  }
  // Invoices and the place in the inbox commit together: no event is billed twice or forgotten.
  tx.commit();
  return events.size();
}

void run(const std::string& database) {
  soci::session session{soci::sqlite3, database};
  session << "CREATE TABLE IF NOT EXISTS invoice"
             " (id INTEGER PRIMARY KEY, account TEXT, reason TEXT, detail TEXT)";
  std::size_t billed = 0;
  while (const std::size_t events = bill(session)) billed += events;
  std::cout << "billed " << billed << (billed == 1 ? " event\n" : " events\n");
  // What was taken is only ballast now. A reconciler could still compare it: keep it for a while.
  outseal::purge_taken(session, kStream, std::chrono::hours{24 * 90});
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: 03_inbox DATABASE\n";
    return 2;
  }
  try {
    run(argv[1]);
  } catch (const outseal::Error& error) {
    std::cerr << error.what() << "\n" << error.hint() << "\n";
    return outseal::exit_code_of(error.code());
  }
}
