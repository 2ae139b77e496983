// The card provider of payments_server.cc, with all the faults of a real one: it crashes after it
// has charged and before it says so, answers late, answers 500, and refuses cards.
//
//   payments_provider LEDGER PORT
//
// What it keeps is its promise about keys: a charge and its answer are one transaction of its
// ledger, and a key that is known gets that answer again.
#include <httplib.h>
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <mutex>
#include <random>
#include <string>
#include <thread>

namespace {

using namespace std::chrono_literals;

class Provider {
 public:
  explicit Provider(const std::string& ledger) : ledger_{soci::sqlite3, ledger} {
    ledger_ << "PRAGMA journal_mode = WAL";
    ledger_ << "CREATE TABLE IF NOT EXISTS charge (id INTEGER PRIMARY KEY AUTOINCREMENT,"
               " key TEXT NOT NULL UNIQUE, request TEXT NOT NULL, status INTEGER NOT NULL)";
  }

  void charge(const httplib::Request& request, httplib::Response& response) {
    const std::string key = request.get_header_value("Idempotency-Key");
    if (percent(5)) {
      response.status = 500;  // Before anything was done; its client cannot know.
      return;
    }
    const auto [id, status] = record(key, request.body);
    if (percent(2)) std::_Exit(1);  // Charged, and nobody was told.
    if (percent(5)) std::this_thread::sleep_for(4s);
    if (percent(5)) {
      response.status = 500;
      return;
    }
    response.status = status;
    response.set_content("ch_" + std::to_string(id), "text/plain");
  }

 private:
  struct Charge {
    int id = 0;
    int status = 0;
  };

  Charge record(const std::string& key, const std::string& request) {
    const std::lock_guard lock{mutex_};
    const int status = request.find("declined") != std::string::npos ? 402 : 201;
    ledger_
        << "INSERT OR IGNORE INTO charge (key, request, status) VALUES (:key, :request, :status)",
        soci::use(key), soci::use(request), soci::use(status);
    Charge charge;
    ledger_ << "SELECT id, status FROM charge WHERE key = :key", soci::use(key),
        soci::into(charge.id), soci::into(charge.status);
    return charge;
  }

  bool percent(int chance) {
    const std::lock_guard lock{mutex_};
    return std::uniform_int_distribution{1, 100}(random_) <= chance;
  }

  std::mutex mutex_;
  soci::session ledger_;                         // Guarded by mutex_.
  std::mt19937 random_{std::random_device{}()};  // Guarded by mutex_.
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: payments_provider LEDGER PORT\n";
    return 2;
  }
  try {
    Provider provider{argv[1]};
    httplib::Server http;
    http.Post("/charges", [&](const httplib::Request& request, httplib::Response& response) {
      provider.charge(request, response);
    });
    if (!http.listen("127.0.0.1", std::stoi(argv[2]))) {
      std::cerr << "payments_provider: cannot listen on port " << argv[2] << '\n';
      return 2;
    }
  } catch (const std::exception& error) {
    std::cerr << "payments_provider: " << error.what() << '\n';
    return 2;
  }
}
