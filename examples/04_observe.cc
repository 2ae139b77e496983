// Metrics of a service: what became of its operations, events and commits.
//
//   outseal-migrate up --db sqlite:shop.db && 04_observe shop.db
#include <outseal/outseal.h>
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>

#include <atomic>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

// Counters that any number of threads may use. A service would export them, and keep the durations
// in a histogram.
class Metrics {
 public:
  outseal::Observer observer() {
    return [this](const outseal::Observation& seen) {
      std::visit([this](const auto& each) { count(each); }, seen);
    };
  }

  void print() const {
    std::cout << "orders_executed " << executed_ << "\norders_replayed " << replayed_
              << "\norders_failed " << failed_ << "\nevents_appended " << events_ << "\ncommits "
              << commits_ << "\ncommits_failed " << commits_failed_ << '\n';
  }

 private:
  void count(const outseal::ExecuteCall& call) {
    if (call.threw) ++failed_;
    if (call.outcome == outseal::Outcome::executed) ++executed_;
    if (call.outcome == outseal::Outcome::replayed) ++replayed_;
  }
  void count(const outseal::AppendCall& call) {
    if (!call.threw) events_ += call.events;
  }
  void count(const outseal::CommitCall& call) { ++(call.threw ? commits_failed_ : commits_); }
  void count(const outseal::UnthrownError&) { ++commits_failed_; }
  void count(const auto&) {}  // Of a receiver, for example.

  std::atomic<std::size_t> executed_{0};
  std::atomic<std::size_t> replayed_{0};
  std::atomic<std::size_t> failed_{0};
  std::atomic<std::size_t> events_{0};
  std::atomic<std::size_t> commits_{0};
  std::atomic<std::size_t> commits_failed_{0};
};

void order(soci::session& session, const outseal::ExecuteOptions& options, const std::string& key,
           bool sold_out) {
  const outseal::Operation operation{
      .scope = "orders", .key = key, .fingerprint = outseal::fingerprint(key)};
  const auto result = outseal::execute(
      session, operation,
      [&](outseal::Transaction& tx) -> outseal::Reply {
        if (sold_out) throw std::runtime_error{"sold out"};
        const outseal::Event item{
            .topic = "orders", .key = key, .type = "order.item", .payload = "{}"};
        outseal::append(tx, std::vector<outseal::Event>(3, item));
        return {.status = 201};
      },
      options);
  if (!result.reply) std::cerr << key << ": " << outseal::name_of(result.outcome) << '\n';
}

void run(const std::string& database) {
  soci::session session{soci::sqlite3, database};
  Metrics metrics;
  const outseal::ExecuteOptions options{.observer = metrics.observer()};
  for (int attempt = 0; attempt < 3; ++attempt) order(session, options, "order-1", false);
  try {
    order(session, options, "order-2", true);
  } catch (const std::runtime_error&) {  // Counted.
  }
  metrics.print();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: 04_observe DATABASE\n";
    return 2;
  }
  try {
    run(argv[1]);
  } catch (const outseal::Error& error) {
    std::cerr << error.what() << "\n" << error.hint() << "\n";
    return outseal::exit_code_of(error.code());
  }
}
