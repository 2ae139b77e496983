// A webhook receiver that lets each event take effect once, however often it arrives.
//
//   outseal-migrate up --db sqlite:receiver.db
//   (umask 077; echo "whsec_$(openssl rand -base64 24)" > secrets.txt)
//   webhook_receiver receiver.db 8080 secrets.txt &
//   export OUTSEAL_SINK='http://127.0.0.1:8080/events?outseal.secrets_file=secrets.txt'
//   outseal-relay run --db sqlite:shop.db
//
// It remembers the ids of events. With --by-position at its end it remembers one number a stream
// instead, and the relay must send one event at a time (&outseal.in_flight=1 at the URL's end).
//
// An event that breaks a rule of the table "effect", a constraint or a trigger of yours, is
// answered with 422: the relay sets it aside. So is one that has failed, or killed this program,
// five times.
#include <httplib.h>
#include <outseal/outseal.h>
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>

#include <charconv>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <mutex>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace {

using httplib::Request;
using httplib::Response;

// One `whsec_<base64>` a line. While a secret is being replaced both are good.
outseal::WebhookSecrets read_secrets(const std::string& path) {
  std::ifstream file{path};
  std::ostringstream text;
  text << file.rdbuf();
  return outseal::WebhookSecrets::parse(text.str());
}

// The event of a request that is signed by ours and fresh; else it says in `response` why not.
std::optional<outseal::WebhookEvent> verified(const Request& request, Response& response,
                                              const outseal::WebhookSecrets& secrets) {
  const outseal::WebhookFields field = [&](std::string_view name) {
    return request.get_header_value(std::string{name}.c_str());
  };
  auto checked =
      outseal::verify_webhook(field, request.body, secrets, std::chrono::system_clock::now());
  response.status = checked.status;
  return std::move(checked.event);
}

// --- the contract: effect and memory in one transaction -----------------------------------------

class Receiver {
 public:
  Receiver(const std::string& database, bool by_position)
      : session_{soci::sqlite3, database}, by_position_{by_position} {
    look_for_inbox();
    session_ << "CREATE TABLE IF NOT EXISTS effect (n INTEGER PRIMARY KEY AUTOINCREMENT,"
                " event_id TEXT NOT NULL, subject TEXT NOT NULL, bytes INTEGER NOT NULL)";
  }

  void take(const outseal::WebhookEvent& event, const Request& request, Response& response) {
    const std::lock_guard lock{mutex_};
    const outseal::MessageHandler apply_it = [&](outseal::Transaction&) { apply(request); };
    // Returns when the effect is committed. Only then may the sender be told that it is done.
    const outseal::Receipt receipt =
        by_position_ ? outseal::consume_message(session_, event.stream, event.place(), apply_it)
                     : outseal::consume_message(session_, event.stream, event.id, apply_it);
    if (receipt.arrival == outseal::Arrival::parked) response.status = 422;
    if (receipt.arrival != outseal::Arrival::gap) return;
    // Others are missing before this one: the sender has to know which was the last one.
    response.status = 409;
    response.set_header("outseal-position", std::to_string(receipt.last.value()));
  }

 private:
  // Throws if the database has none: better at the start than at the first event. Rolled back.
  void look_for_inbox() {
    outseal::Transaction tx{session_};
    static_cast<void>(outseal::receive(tx, "start", outseal::new_event_id()));
  }

  void apply(const Request& request) {
    const std::string id = request.get_header_value("ce-id");
    const std::string subject = request.get_header_value("ce-subject");
    const auto bytes = static_cast<long long>(request.body.size());
    session_ << "INSERT INTO effect (event_id, subject, bytes) VALUES (:id, :subject, :bytes)",
        soci::use(id), soci::use(subject), soci::use(bytes);
  }

  std::mutex mutex_;       // SQLite has one writer, so one session is enough.
  soci::session session_;  // guarded by mutex_
  const bool by_position_;
};

int port_of(const std::string& text) {
  const char* const end = text.data() + text.size();
  int port = 0;
  const auto parsed = std::from_chars(text.data(), end, port);
  if (parsed.ec != std::errc{} || parsed.ptr != end || port < 1 || port > 65'535)
    throw std::runtime_error("PORT is a number from 1 to 65535, not \"" + text + '"');
  return port;
}

void run(const std::string& database, int port, const std::string& secrets_file, bool by_position) {
  const auto secrets = read_secrets(secrets_file);
  if (!std::filesystem::exists(database))  // SQLite would make an empty one.
    throw std::runtime_error(database +
                             " is not there; run: outseal-migrate up --db sqlite:" + database);
  Receiver receiver{database, by_position};
  httplib::Server server;
  // This server needs a thread for each connection that is kept, so at least outseal.in_flight.
  server.new_task_queue = [] { return new httplib::ThreadPool{32}; };
  server.set_tcp_nodelay(true);
  server.set_keep_alive_max_count(1'000'000);
  server.Post("/events", [&](const Request& request, Response& response) {
    try {
      const auto event = verified(request, response, secrets);
      if (event) receiver.take(*event, request, response);
    } catch (const outseal::Error& error) {
      // Nothing was committed. After 500 the sender tries again, after 400 it sets the event aside.
      std::cerr << "webhook_receiver: " << error.what() << '\n';
      response.status = error.code() == outseal::ErrorCode::invalid_argument ? 400 : 500;
    } catch (const soci::sqlite3_soci_error& error) {
      // The same. What a rule of the database forbids, it will forbid tomorrow.
      std::cerr << "webhook_receiver: " << error.what() << '\n';
      response.status = (error.result() & 0xff) == SQLITE_CONSTRAINT ? 422 : 500;
    }
  });
  if (!server.bind_to_port("127.0.0.1", port))
    throw std::runtime_error("cannot listen on port " + std::to_string(port));
  std::cout << "listening on http://127.0.0.1:" << port << "/events" << std::endl;
  server.listen_after_bind();
}

}  // namespace

int main(int argc, char** argv) {
  const bool by_position = argc == 5 && std::string{argv[4]} == "--by-position";
  if (argc != 4 && !by_position) {
    std::cerr << "usage: webhook_receiver DATABASE PORT SECRETS_FILE [--by-position]\n";
    return 2;
  }
  try {
    run(argv[1], port_of(argv[2]), argv[3], by_position);
  } catch (const outseal::Error& error) {
    std::cerr << error.what() << '\n' << error.hint() << '\n';
    return outseal::exit_code_of(error.code());
  } catch (const std::exception& error) {
    std::cerr << "webhook_receiver: " << error.what() << '\n';
    return 2;
  }
}
