// The service of examples/payments.py in C++: both share their records.
//
//   payment_service LEDGER KEY AMOUNT [die-before-call | die-after-call]
#include <libpq-fe.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <string>

#include "outseal/outseal.h"

namespace {

using namespace std::chrono_literals;

std::string entry(const std::string& key) { return "{\"key\": \"" + key + "\", "; }

/// The provider's id of the charge under `key`; how many it has made in `count`.
std::optional<std::string> find(const std::string& ledger, const std::string& key, int& count) {
  std::ifstream lines{ledger};
  count = 0;
  for (std::string line; std::getline(lines, line);) {
    ++count;
    if (line.starts_with(entry(key))) return "ch_" + std::to_string(count);
  }
  return std::nullopt;
}

outseal::CallResult charge(const std::string& ledger, const std::string& key, long amount) {
  int count = 0;
  auto id = find(ledger, key, count);
  if (!id) {
    id = "ch_" + std::to_string(count + 1);
    std::ofstream{ledger, std::ios::app} << entry(key) << "\"id\": \"" << *id
                                         << "\", \"amount\": " << amount << "}\n";
  }
  return {.verdict = outseal::CallResult::Verdict::applied,
          .reference = *id,
          .amount = outseal::Amount{amount, "EUR"}};
}

void run(PGconn* connection, const std::string& sql, const std::string& value) {
  const char* const values[] = {value.c_str()};
  const std::unique_ptr<PGresult, decltype(&PQclear)> result{
      PQexecParams(connection, sql.c_str(), 1, nullptr, values, nullptr, nullptr, 0), &PQclear};
  if (PQresultStatus(result.get()) != PGRES_COMMAND_OK)
    throw std::runtime_error{PQerrorMessage(connection)};
}

int pay(const std::string& ledger, const std::string& key, long amount, const std::string& death) {
  const std::unique_ptr<PGconn, decltype(&PQfinish)> connection{PQconnectdb(""), &PQfinish};
  const std::string request = "amount=" + std::to_string(amount);
  const outseal::Operation operation{.scope = "payments",
                                     .principal = "shop",
                                     .key = key,
                                     .fingerprint = outseal::fingerprint(request)};
  const outseal::Effect effect{
      .name = "charge",
      .request = request,
      .provider = {.name = "ledger", .replays = outseal::Replays::any, .window = 24h},
      .policies = {outseal::Policy::rerun, outseal::Policy::hand_over},
      .amount = outseal::Amount{amount, "EUR"},
      .call = [&](outseal::EffectCall& call) {
        if (death == "die-before-call") ::_exit(9);
        auto result = charge(ledger, call.provider_key(), amount);
        if (death == "die-after-call") ::_exit(9);
        return result;
      }};
  const auto result = outseal::execute(
      connection.get(), operation, effect,
      [&](outseal::Transaction& tx, const outseal::EffectOutcome& charged) -> outseal::Reply {
        run(connection.get(),
            "INSERT INTO payment (key, amount) VALUES ($1, " + std::to_string(amount) + ")", key);
        std::string body = "{\"charge\": \"" + charged.reference + "\"}";
        outseal::append(tx, {.topic = "payments", .key = key, .type = "paid", .payload = body});
        return {.status = 201, .body = std::move(body)};
      });
  if (result.reply)
    std::cout << result.reply->status << ' ' << result.reply->body << '\n';
  else
    std::cout << (result.outcome == outseal::Outcome::mismatch ? 422 : 409) << ' '
              << outseal::name_of(result.outcome) << '\n';
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  try {
    return pay(argv[1], argv[2], std::atol(argv[3]), argc > 4 ? argv[4] : "");
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
