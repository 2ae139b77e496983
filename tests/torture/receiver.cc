// A service at the other end: takes events out of its inbox and lets them take effect in the same
// transactions, until it is killed. Some of its transactions roll back.
//
//   receiver sqlite3|postgresql CONNECTION STREAM SEED [drain]
//
// The table `applied` gets one row an effect, and has no constraint that would hide a second one.
#include <outseal/outseal.h>
#include <soci/postgresql/soci-postgresql.h>
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <random>
#include <string>
#include <thread>

namespace {

void apply(soci::session& session, const outseal::InboxEvent& event) {
  const auto position = static_cast<long long>(event.position.value());
  const std::string id = event.id.to_string();
  session << "INSERT INTO applied (position, event_id, key) VALUES (:position, :id, :key)",
      soci::use(position), soci::use(id), soci::use(event.key);
}

/// @returns whether there was anything.
bool take_some(soci::session& session, const std::string& stream, std::mt19937_64& random) {
  outseal::Transaction tx{session};
  const auto events = outseal::take(tx, stream, {.events_max = 1 + random() % 40});
  for (const outseal::InboxEvent& event : events) apply(session, event);
  if (random() % 8 != 0) tx.commit();
  return !events.empty();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) return 2;
  const std::string stream = argv[3];
  std::mt19937_64 random{std::strtoull(argv[4], nullptr, 10)};
  try {
    soci::session session;
    if (std::string{argv[1]} == "sqlite3")
      session.open(soci::sqlite3, argv[2]);
    else
      session.open(soci::postgresql, argv[2]);
    for (;;) {
      bool any = true;
      try {
        any = take_some(session, stream, random);
      } catch (const outseal::Error& error) {
        if (error.recovery() != outseal::Recovery::retry_transaction) throw;
      }
      if (any) continue;
      if (argc > 5) return 0;
      std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
  } catch (const std::exception& error) {
    std::cerr << "receiver: " << error.what() << std::endl;
    return 1;
  }
}
