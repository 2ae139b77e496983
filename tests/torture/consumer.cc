// A service at the other end that dies of some events.
//
//   consumer sqlite3|postgresql CONNECTION STREAM loop KILLER     consumes all that is there
//   consumer sqlite3|postgresql CONNECTION STREAM message KILLER ID   consumes one message
//
// The event with the id KILLER kills it with SIGKILL in the middle of its handler. The table
// `applied` gets one row an effect. Exit code of `message`: 0 fresh, 10 duplicate, 11 parked.
#include <outseal/outseal.h>
#include <signal.h>
#include <soci/postgresql/soci-postgresql.h>
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>

#include <chrono>
#include <iostream>
#include <memory>
#include <string>

namespace {

struct Service {
  std::string backend;
  std::string connection;
  std::string killer;
  std::unique_ptr<soci::session> session = nullptr;

  outseal::Session open() {
    session = std::make_unique<soci::session>();
    if (backend == "sqlite3")
      session->open(soci::sqlite3, connection);
    else
      session->open(soci::postgresql, connection);
    return *session;
  }
  void apply(const outseal::EventId& event) const {
    const std::string id = event.to_string();
    *session << "INSERT INTO applied (event_id) VALUES (:id)", soci::use(id);
    if (id == killer) static_cast<void>(raise(SIGKILL));
  }
};

int consume_one(Service& service, const std::string& source, const outseal::EventId& id) {
  const auto receipt = outseal::consume_message(service.open(), source, id,
                                                [&](outseal::Transaction&) { service.apply(id); });
  switch (receipt.arrival) {
    case outseal::Arrival::fresh:
      return 0;
    case outseal::Arrival::duplicate:
      return 10;
    default:
      return 11;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 6) return 2;
  Service service{argv[1], argv[2], argv[5]};
  const std::string mode = argv[4];
  try {
    if (mode == "message")
      return consume_one(service, argv[3], outseal::EventId::parse(argv[6]).value());
    outseal::consume(
        [&] { return service.open(); }, argv[3],
        [&](outseal::Transaction&, const outseal::InboxEvent& event) { service.apply(event.id); },
        {.until_empty = true});
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "consumer: " << error.what() << std::endl;
    return 1;
  }
}
