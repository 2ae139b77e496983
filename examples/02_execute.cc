// An operation that takes effect once, however often its client asks.
//
//   outseal-migrate up --db sqlite:shop.db && 02_execute shop.db && 02_execute shop.db
#include <outseal/outseal.h>
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>

#include <iostream>
#include <string>

namespace {

// A client that got no answer sends the same key again, in this process or in another one.
outseal::ExecuteResult pay(soci::session& session, const std::string& key, long long amount) {
  const outseal::Operation operation{
      .scope = "payments",
      .principal = "shop-berlin",
      .key = key,
      // What the request means. The same key with another amount is refused, not replayed.
      .fingerprint = outseal::fingerprint("account=8|amount=" + std::to_string(amount)),
  };
  return outseal::execute(session, operation, [&](outseal::Transaction& tx) -> outseal::Reply {
    long long balance = 0;
    session << "SELECT balance FROM account WHERE id = 8", soci::into(balance);
    if (balance < amount) {
      return {.verdict = outseal::Verdict::final_failure,
              .status = 402,
              .body = R"({"error": "insufficient_funds"})"};
    }
    session << "UPDATE account SET balance = balance - :amount WHERE id = 8", soci::use(amount);
    outseal::append(tx, {.topic = "payments",
                         .key = "account-8",
                         .type = "payment.charged",
                         .payload = R"({"account": 8, "amount": )" + std::to_string(amount) + "}"});
    return {.status = 201, .body = R"({"paid": )" + std::to_string(amount) + "}"};
  });
}

void show(std::string_view request, const outseal::ExecuteResult& result) {
  std::cout << request << ": " << outseal::name_of(result.outcome);
  if (result.reply) {
    std::cout << ", " << result.reply->status << ' ' << result.reply->body;
  }
  std::cout << '\n';
}

void run(const std::string& database) {
  soci::session session{soci::sqlite3, database};
  session << "CREATE TABLE IF NOT EXISTS account (id INTEGER PRIMARY KEY, balance INTEGER)";
  session << "INSERT OR IGNORE INTO account (id, balance) VALUES (8, 100)";

  show("key-1 pays 30", pay(session, "key-1", 30));
  show("key-1 pays 30", pay(session, "key-1", 30));
  show("key-1 pays 31", pay(session, "key-1", 31));
  show("key-2 pays 500", pay(session, "key-2", 500));
  show("key-2 pays 500", pay(session, "key-2", 500));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: 02_execute DATABASE\n";
    return 2;
  }
  try {
    run(argv[1]);
  } catch (const outseal::Error& error) {
    std::cerr << error.what() << "\n" << error.hint() << "\n";
    return outseal::exit_code_of(error.code());
  }
}
