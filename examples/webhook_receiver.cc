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
// answered with 422: the relay sets it aside.
#include <httplib.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <outseal/outseal.h>
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>

#include <charconv>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using httplib::Request;
using httplib::Response;

// --- the signature: is it ours, and is it fresh? ------------------------------------------------

constexpr std::time_t kTolerance_s = 300;

std::string base64_decoded(const std::string& text) {
  std::string bytes(text.size(), '\0');
  const int count = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                                    reinterpret_cast<const unsigned char*>(text.data()),
                                    static_cast<int>(text.size()));
  if (count < 0) return {};
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  bytes.resize(static_cast<std::size_t>(count) - padding);
  return bytes;
}

std::string hmac_sha256(const std::string& key, const std::string& text) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest, &length);
  return {reinterpret_cast<const char*>(digest), length};
}

// One `whsec_<base64>` a line. While a secret is being replaced both are good.
std::vector<std::string> read_secrets(const std::string& path) {
  const std::string mark = "whsec_";
  std::ifstream file{path};
  std::vector<std::string> secrets;
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(mark)) continue;
    secrets.push_back(base64_decoded(line.substr(mark.size())));
    // An empty one, from a line that was cut off, would let anybody sign.
    if (secrets.back().size() < 24) throw std::runtime_error(path + ": a secret is under 24 bytes");
  }
  if (secrets.empty()) throw std::runtime_error(path + " holds no whsec_... line");
  return secrets;
}

// Whether one of the signatures in `field` is ours for `content`.
bool has_signature(const std::string& field, const std::string& content,
                   const std::vector<std::string>& secrets) {
  std::istringstream signatures{field};
  for (std::string signature; signatures >> signature;) {
    if (!signature.starts_with("v1,")) continue;
    const std::string given = base64_decoded(signature.substr(3));
    for (const std::string& secret : secrets) {
      const std::string ours = hmac_sha256(secret, content);
      // Takes the same time wherever the two differ.
      if (given.size() == ours.size() && CRYPTO_memcmp(given.data(), ours.data(), ours.size()) == 0)
        return true;
    }
  }
  return false;
}

bool is_signed(const Request& request, const std::vector<std::string>& secrets) {
  const auto field = [&request](const char* name) { return request.get_header_value(name); };
  const std::string time = field("webhook-timestamp");
  const std::time_t age = std::time(nullptr) - std::strtoll(time.c_str(), nullptr, 10);
  if (age > kTolerance_s || age < -kTolerance_s) return false;
  const std::string event = field("webhook-id") + '.' + time + '.';
  // Without the second one, a request that somebody has seen could be sent again as an event of
  // another stream or position. Signed are these and the body, no other header field: with
  // outseal.mode=structured the event's attributes are in the body.
  return has_signature(field("webhook-signature"), event + request.body, secrets) &&
         has_signature(field("outseal-signature"),
                       "outseal.place." + event + field("outseal-position") + '.' +
                           field("outseal-previous-id") + '.' + field("outseal-stream"),
                       secrets);
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

  void take(const Request& request, Response& response) {
    const auto id = outseal::EventId::parse(request.get_header_value("webhook-id"));
    const std::string stream = request.get_header_value("outseal-stream");
    if (!id) {
      response.status = 400;
      return;
    }
    const std::lock_guard lock{mutex_};
    outseal::Transaction tx{session_};
    if (by_position_ ? is_next(tx, stream, *id, request, response)
                     : outseal::receive(tx, stream, *id)) {
      apply(request);
    }
    tx.commit();  // Only now may the sender be told that it is done.
  }

 private:
  // Throws if the database has none: better at the start than at the first event. Rolled back.
  void look_for_inbox() {
    outseal::Transaction tx{session_};
    static_cast<void>(outseal::receive(tx, "start", outseal::new_event_id()));
  }

  // Says in `response` which event was the last one if others are missing before this one.
  static bool is_next(outseal::Transaction& tx, const std::string& stream,
                      const outseal::EventId& id, const Request& request, Response& response) {
    const std::string position = request.get_header_value("outseal-position");
    const auto previous = outseal::EventId::parse(request.get_header_value("outseal-previous-id"));
    const auto receipt = outseal::receive_in_order(
        tx, stream,
        {.position = outseal::Position{std::strtoull(position.c_str(), nullptr, 10)},
         .id = id,
         .previous_id = previous.value_or(outseal::EventId{})});
    if (receipt.arrival == outseal::Arrival::gap) {
      response.status = 409;
      response.set_header("outseal-position", std::to_string(receipt.last.value()));
    }
    return receipt.arrival == outseal::Arrival::fresh;
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
    response.status = 200;
    if (!is_signed(request, secrets)) {
      response.status = 401;
      return;
    }
    try {
      receiver.take(request, response);
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
