// A payment service over HTTP that charges cards at a provider: exactly once per Idempotency-Key,
// whoever is killed, and however often a client tries again.
//
//   payments_server DATABASE PORT PROVIDER_PORT
//
//   outseal-migrate up --db sqlite:payments.db
//   payments_provider ledger.db 9090 &
//   payments_server payments.db 8080 9090 &
//   curl -i -H 'Idempotency-Key: "a-key"' -d 'account-7 1999 EUR' http://127.0.0.1:8080/payments
//
// Three things are kept apart: HttpFront reads the key and decides what each outcome answers;
// execute() makes sure of the charge, and resumes one that a crash interrupted; the handler writes
// the business row and the event, in the transaction that makes the payment final.
#include <httplib.h>
#include <outseal/http_front.h>
#include <outseal/outseal.h>
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>

#include <chrono>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>

namespace {

using namespace std::chrono_literals;
using outseal::CallResult;
using outseal::Reply;
using outseal::Verdict;

// What the provider promises: it answers a key that it knows as it did the first time, for a day.
// Short times suit a demonstration; a real provider's come from outseal::provider_profile().
const outseal::ProviderProfile kProvider{.name = "example",
                                         .replays = outseal::Replays::any,
                                         .window = 24h,
                                         .margin = 5min,
                                         .absence_after = 2s,
                                         .max_in_flight = 2s,
                                         .source = "examples/payments_provider.cc"};

struct Payment {
  std::string account;
  outseal::Amount amount;
};

bool read_payment(const std::string& body, Payment& payment) {
  std::istringstream words{body};
  std::string more;
  return words >> payment.account >> payment.amount.minor >> payment.amount.currency &&
         !(words >> more) && payment.amount.minor > 0 && payment.amount.currency.size() == 3;
}

std::string text_of(const Payment& payment) {
  return payment.account + ' ' + std::to_string(payment.amount.minor) + ' ' +
         payment.amount.currency;
}

// --- The provider, as its client sees it ---------------------------------------------------------

httplib::Client client_of(int port, std::chrono::milliseconds left) {
  httplib::Client client{"127.0.0.1", port};
  client.set_connection_timeout(left);
  client.set_read_timeout(left);
  client.set_write_timeout(left);
  return client;
}

// Sends the charge. What counts is what may have happened: no connection, no charge; but after that
// only the provider's own word is an answer.
CallResult charge(const Payment& payment, int port, outseal::EffectCall& call) {
  httplib::Client client = client_of(port, call.left());
  const auto answer = client.Post("/charges", {{"Idempotency-Key", call.provider_key()}},
                                  text_of(payment), "text/plain");
  if (!answer) {
    const bool connected = answer.error() != httplib::Error::Connection;
    return {.verdict = connected ? CallResult::Verdict::uncertain : CallResult::Verdict::not_sent};
  }
  if (answer->status == 201)
    return {.verdict = CallResult::Verdict::applied, .reference = answer->body};
  if (answer->status == 402) return {.verdict = CallResult::Verdict::refused};
  return {.verdict = CallResult::Verdict::uncertain};
}

// --- The operation -------------------------------------------------------------------------------

// Runs when the charge has an outcome, in the transaction that stores the reply.
Reply finish(outseal::Transaction& tx, soci::session& session, const Payment& payment,
             const outseal::EffectOutcome& outcome) {
  if (!outcome.is_applied())
    return {
        .verdict = Verdict::final_failure, .status = 402, .body = R"({"error": "card_declined"})"};
  session << "INSERT INTO payment (account, amount_minor, currency, charge)"
             " VALUES (:account, :amount, :currency, :charge)",
      soci::use(payment.account), soci::use(payment.amount.minor),
      soci::use(payment.amount.currency), soci::use(outcome.reference);
  const std::string body = R"({"charge": ")" + outcome.reference + R"("})";
  outseal::append(
      tx,
      {.topic = "payments", .key = payment.account, .type = "payment.captured", .payload = body});
  return {.status = 201, .body = body};
}

// A short lease: after a crash, a client that tries again need not wait long.
outseal::AttemptOptions attempt_options(const outseal::ExecuteOptions& execute) {
  return {.lease = 3s, .margin = 500ms, .call_min = 200ms, .execute = execute};
}

class Server {
 public:
  Server(std::string database, int provider_port)
      : database_{std::move(database)}, provider_port_{provider_port} {
    soci::session session{soci::sqlite3, database_};
    session << "CREATE TABLE IF NOT EXISTS payment (id INTEGER PRIMARY KEY AUTOINCREMENT,"
               " account TEXT NOT NULL, amount_minor INTEGER NOT NULL, currency TEXT NOT NULL,"
               " charge TEXT NOT NULL UNIQUE)";
  }

  void pay(const httplib::Request& request, httplib::Response& response) {
    Payment payment;
    if (!read_payment(request.body, payment)) {  // Before the key is used up.
      response.status = 400;
      response.set_content("ACCOUNT AMOUNT_MINOR CURRENCY\n", "text/plain");
      return;
    }
    // Each request opens a connection of its own; a busy service would lease one from a pool.
    std::unique_ptr<soci::session> session;
    const outseal::SessionOpener open = [&]() -> outseal::Session {
      session = std::make_unique<soci::session>(soci::sqlite3, database_);
      return *session;
    };
    const outseal::Effect effect{
        .name = "charge",
        .request = text_of(payment),
        .provider = kProvider,
        .policies = {outseal::Policy::rerun, outseal::Policy::hand_over},
        .rerun_needs = outseal::Replays::any,
        .amount = payment.amount,
        .call = [&](outseal::EffectCall& call) { return charge(payment, provider_port_, call); }};
    answer(response,
           front_.serve(open,
                        {.method = request.method,
                         .target = request.path,
                         .headers = {request.headers.begin(), request.headers.end()},
                         .body = request.body},
                        [&](outseal::Session db, const outseal::Operation& operation,
                            const outseal::ExecuteOptions& options) {
                          return outseal::execute(
                              db, operation, effect,
                              [&](outseal::Transaction& tx, const outseal::EffectOutcome& outcome) {
                                return finish(tx, *session, payment, outcome);
                              },
                              attempt_options(options));
                        }));
  }

 private:
  static void answer(httplib::Response& to, const outseal::HttpResponse& response) {
    to.status = response.status;
    for (const auto& [name, value] : response.headers) to.set_header(name, value);
    to.body = response.body;
  }

  const std::string database_;
  const int provider_port_;
  outseal::HttpFront front_{{.scope = "payments"}};
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: payments_server DATABASE PORT PROVIDER_PORT\n";
    return 2;
  }
  try {
    Server server{argv[1], std::stoi(argv[3])};
    httplib::Server http;
    http.Post("/payments", [&](const httplib::Request& request, httplib::Response& response) {
      server.pay(request, response);
    });
    if (!http.listen("127.0.0.1", std::stoi(argv[2]))) {
      std::cerr << "payments_server: cannot listen on port " << argv[2] << '\n';
      return 2;
    }
  } catch (const outseal::Error& error) {
    std::cerr << error.what() << '\n' << error.hint() << '\n';
    return outseal::exit_code_of(error.code());
  } catch (const std::exception& error) {
    std::cerr << "payments_server: " << error.what() << '\n';
    return 2;
  }
}
