// A payment service on outseal: what newcomers read second, and what quickstart.sh kills.
//
// It answers the requests of a file as a gateway would receive them: clients retry, send the same
// request twice at once, reuse a key for another amount, have no money, or meet an issuer that does
// not answer. Several workers, each with a session of its own, share one SQLite file.
//
//   order_service DATABASE REQUESTS [WORKERS [REQUESTS_PER_SECOND]]
//
// Kill it whenever you like and start it again from the beginning of the file: what was paid is
// replayed, what was not is paid.
#include <outseal/outseal.h>
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using nlohmann::json;
using outseal::Outcome;
using outseal::Reply;
using outseal::Verdict;

constexpr std::int64_t kOpeningBalanceMinor = 20'000'00;
constexpr std::int64_t kReviewFromMinor = 500'00;

struct Request {
  std::int64_t number = 0;  // line of the file, from 1
  std::string client;
  std::string key;  // the client's idempotency key
  std::string account;
  std::string order;
  std::int64_t amount_minor = 0;
  std::string currency;
  std::string card;
};

// --- the main path: one request, one transaction ------------------------------------------------

// What the issuer says about a card. Asking changes nothing at the issuer, so it may be asked
// again.
enum class Card { good, lost, no_answer };

Reply failure(Verdict verdict, int status, const char* error) {
  return {.verdict = verdict, .status = status, .body = json{{"error", error}}.dump()};
}

// Runs inside the transaction that also stores the reply. Whatever it returns or throws, the rows,
// the events and the record of the key stay consistent.
Reply pay(outseal::Transaction& tx, soci::session& session, const Request& request, Card card) {
  if (card == Card::no_answer) {
    return failure(Verdict::retryable_failure, 503, "issuer_timeout");
  }
  if (card == Card::lost) return failure(Verdict::final_failure, 402, "card_declined");

  std::int64_t balance = 0;
  session << "SELECT balance_minor FROM account WHERE id = :id", soci::use(request.account),
      soci::into(balance);
  if (balance < request.amount_minor) {
    return failure(Verdict::final_failure, 402, "insufficient_funds");
  }
  session << "UPDATE account SET balance_minor = balance_minor - :amount WHERE id = :id",
      soci::use(request.amount_minor), soci::use(request.account);
  session << "INSERT INTO payment (order_id, account, amount_minor, currency)"
             " VALUES (:order_id, :account, :amount, :currency)",
      soci::use(request.order), soci::use(request.account), soci::use(request.amount_minor),
      soci::use(request.currency);

  const json paid{{"order", request.order},
                  {"account", request.account},
                  {"amount_minor", request.amount_minor},
                  {"currency", request.currency}};
  // The account is the ordering key: receivers see its payments in the order of its balance.
  outseal::append(tx, {.topic = "payments",
                       .key = request.account,
                       .type = "payment.captured",
                       .payload = paid.dump()});
  if (request.amount_minor >= kReviewFromMinor) {
    outseal::append(tx, {.topic = "risk",
                         .key = request.account,
                         .type = "payment.review_requested",
                         .payload = paid.dump()});
  }
  return {.status = 201, .body = paid.dump()};
}

outseal::ExecuteResult answer(soci::session& session, const Request& request, Card card) {
  const outseal::Operation operation{
      .scope = "payments",
      .principal = request.client,  // two clients may use the same key
      .key = request.key,
      .fingerprint = outseal::fingerprint(request.account + '|' + request.order + '|' +
                                          std::to_string(request.amount_minor) + '|' +
                                          request.currency + '|' + request.card),
  };
  return outseal::execute(session, operation, [&](outseal::Transaction& tx) {
    return pay(tx, session, request, card);
  });
}

// --- the world around ---------------------------------------------------------------------------

// Stands for the issuer. A slow one answers from the second question on. Thread-safe.
class Issuer {
 public:
  Card ask(const std::string& card) {
    if (card.starts_with("tok_lost_")) return Card::lost;
    if (!card.starts_with("tok_slow_")) return Card::good;
    const std::lock_guard lock{mutex_};
    return asked_.insert(card).second ? Card::no_answer : Card::good;
  }

 private:
  std::mutex mutex_;
  std::set<std::string> asked_;  // guarded by mutex_
};

// Hands out the requests one by one, at the pace at which they arrive. Thread-safe.
class Gateway {
 public:
  Gateway(std::vector<Request> requests, std::int64_t requests_per_second)
      : requests_(std::move(requests)), requests_per_second_(requests_per_second) {}

  const Request* next() {
    const std::size_t index = next_.fetch_add(1);
    if (index >= requests_.size()) return nullptr;
    const auto due = std::chrono::microseconds{static_cast<std::int64_t>(index) * 1'000'000 /
                                               requests_per_second_};
    std::this_thread::sleep_until(start_ + due);
    return &requests_[index];
  }

  const std::vector<Request>& requests() const { return requests_; }

 private:
  const std::vector<Request> requests_;
  const std::int64_t requests_per_second_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::atomic<std::size_t> next_{0};
};

std::vector<Request> read_requests(const std::string& path) {
  std::ifstream file{path};
  if (!file) throw std::runtime_error("cannot read " + path);
  std::vector<Request> requests;
  std::string line;
  for (std::int64_t number = 1; std::getline(file, line); ++number) {
    if (line.empty() || line.front() == '#') continue;
    std::istringstream columns{line};
    Request request;
    request.number = number;
    std::string amount;
    for (std::string* column : {&request.client, &request.key, &request.account, &request.order,
                                &amount, &request.currency, &request.card}) {
      if (!std::getline(columns, *column, '\t')) {
        throw std::runtime_error(path + ":" + std::to_string(number) + ": too few columns");
      }
    }
    request.amount_minor = std::stoll(amount);
    requests.push_back(std::move(request));
  }
  return requests;
}

// --- the service --------------------------------------------------------------------------------

// `answer` is the service's access log: what each client was told. It is no part of the promise, so
// an answer that was given right before a kill may be missing in it.
void create_tables(soci::session& session, const std::vector<Request>& requests) {
  outseal::Transaction tx{session};
  session << "CREATE TABLE IF NOT EXISTS account ("
             " id TEXT PRIMARY KEY,"
             " balance_minor INTEGER NOT NULL CHECK (balance_minor >= 0))";
  session << "CREATE TABLE IF NOT EXISTS payment ("
             " id INTEGER PRIMARY KEY AUTOINCREMENT, order_id TEXT NOT NULL,"
             " account TEXT NOT NULL REFERENCES account (id),"
             " amount_minor INTEGER NOT NULL CHECK (amount_minor > 0), currency TEXT NOT NULL)";
  session << "CREATE TABLE IF NOT EXISTS answer ("
             " request INTEGER NOT NULL, outcome TEXT NOT NULL, status INTEGER NOT NULL)";
  for (const auto& request : requests) {
    session << "INSERT OR IGNORE INTO account (id, balance_minor) VALUES (:id, :balance)",
        soci::use(request.account), soci::use(kOpeningBalanceMinor);
  }
  tx.commit();
}

// The database may stay busy for longer than ExecuteOptions::wait; our clients are patient.
outseal::ExecuteResult answer_patiently(soci::session& session, const Request& request,
                                        Issuer& issuer) {
  for (;;) {
    try {
      return answer(session, request, issuer.ask(request.card));
    } catch (const outseal::Error& error) {
      if (error.recovery() != outseal::Recovery::retry_transaction) throw;
    }
  }
}

using Counts = std::map<Outcome, std::int64_t>;

Counts work(const std::string& database, Gateway& gateway, Issuer& issuer) {
  soci::session session{soci::sqlite3, database};
  Counts counts;
  while (const Request* request = gateway.next()) {
    const auto result = answer_patiently(session, *request, issuer);
    ++counts[result.outcome];

    const std::string outcome{outseal::name_of(result.outcome)};
    const int status = result.reply ? result.reply->status : 422;  // None: a mismatch.
    outseal::Transaction tx{session};
    session << "INSERT INTO answer (request, outcome, status) VALUES (:request, :outcome, :status)",
        soci::use(request->number), soci::use(outcome), soci::use(status);
    tx.commit();
  }
  return counts;
}

void run(const std::string& database, const std::string& requests, unsigned workers,
         std::int64_t requests_per_second) {
  Gateway gateway{read_requests(requests), requests_per_second};
  Issuer issuer;
  {
    soci::session session{soci::sqlite3, database};
    create_tables(session, gateway.requests());
  }

  std::mutex mutex;
  Counts total;              // guarded by mutex
  std::exception_ptr error;  // guarded by mutex
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < workers; ++i) {
    threads.emplace_back([&] {
      try {
        const Counts counts = work(database, gateway, issuer);
        const std::lock_guard lock{mutex};
        for (const auto& [outcome, count] : counts) total[outcome] += count;
      } catch (...) {
        const std::lock_guard lock{mutex};
        error = std::current_exception();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  if (error) std::rethrow_exception(error);

  std::cout << "order_service: requests=" << gateway.requests().size();
  for (const auto outcome :
       {Outcome::executed, Outcome::replayed, Outcome::mismatch, Outcome::released}) {
    std::cout << ' ' << outseal::name_of(outcome) << '=' << total[outcome];
  }
  std::cout << '\n';
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3 || argc > 5) {
    std::cerr << "usage: order_service DATABASE REQUESTS [WORKERS [REQUESTS_PER_SECOND]]\n";
    return 2;
  }
  try {
    const unsigned workers = argc > 3 ? static_cast<unsigned>(std::stoul(argv[3])) : 4;
    const std::int64_t requests_per_second = argc > 4 ? std::stoll(argv[4]) : 1'000'000;
    run(argv[1], argv[2], std::clamp(workers, 1U, 64U),
        std::max<std::int64_t>(requests_per_second, 1));
  } catch (const outseal::Error& error) {
    std::cerr << error.what() << '\n' << error.hint() << '\n';
    return outseal::exit_code_of(error.code());
  } catch (const std::exception& error) {
    std::cerr << "order_service: " << error.what() << '\n';
    return 2;
  }
}
