// The other end: a second service lets each event of the first one take effect once.
//
// 01_append is the first service. The relay carries its events into this service's own database,
// where they are consumed in the transactions of their effects. Kill any of the three at any
// moment:
//
//   outseal-migrate up --db sqlite:shop.db && 01_append shop.db
//   outseal-migrate up --db sqlite:billing.db
//   outseal-relay run --db sqlite:shop.db --sink sqlite:billing.db --drain
//   03_inbox billing.db
#include <outseal/outseal.h>
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>

#include <iostream>
#include <memory>
#include <string>

namespace {

// What the sender's positions count in: event source and subscription, here the relay's defaults.
constexpr const char* kStream = "/outseal/main#main";

void run(const std::string& database) {
  std::unique_ptr<soci::session> session;
  const outseal::SessionOpener open = [&]() -> outseal::Session {
    session = std::make_unique<soci::session>(soci::sqlite3, database);
    *session << "CREATE TABLE IF NOT EXISTS invoice"
                " (id INTEGER PRIMARY KEY, account TEXT, reason TEXT, detail TEXT)";
    return *session;
  };
  // The invoice and the place in the inbox commit together: no event is billed twice or forgotten.
  const outseal::EventHandler bill = [&](outseal::Transaction&, const outseal::InboxEvent& event) {
    *session << "INSERT INTO invoice (account, reason, detail) VALUES (:account, :reason, :detail)",
        soci::use(event.key), soci::use(event.type), soci::use(event.payload);
  };
  // A service leaves until_empty out, and says `.stop` instead: it then waits for more. What was
  // taken is only ballast, but a reconciler could still compare it: it is kept for a while.
  const auto done = outseal::consume(
      open, kStream, bill, {.until_empty = true, .purge_age = std::chrono::hours{24 * 90}});
  std::cout << "billed " << done.events << (done.events == 1 ? " event\n" : " events\n");
  for (const outseal::ParkedEvent& event : outseal::list_parked(*session, kStream))
    std::cout << "set aside: " << event.id.to_string() << ", " << event.reason << '\n';
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
