// Retention on PostgreSQL: the log has no dead rows before it, and it removes nothing that somebody
// still needs, however transactions and subscriptions overlap.
#include <chrono>
#include <cstdlib>
#include <deque>
#include <optional>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "conformance/store_relay_fixture.h"
#include "integration/postgres/postgres_fixture.h"
#include "store/passage.h"
#include "store/retention.h"
#include "support/mutant.h"
#include "support/scale.h"

using namespace outseal;
using namespace outseal::test;

namespace {

/// One subscription's relay; its sink says no to what begins with "poison".
class Reader {
 public:
  Reader(const PostgresDatabase& database, std::string name)
      : name_{std::move(name)}, connection_{database.open()}, cursor_{begin()} {}

  /// Binds a page, which stays in flight; false if there is none.
  bool bind(std::size_t events_max) {
    acknowledge();
    Batch batch =
        log_.read_page(cursor_, tail_, {.events_max = events_max, .bytes_max = 1U << 20U});
    if (batch.entries.empty() && batch.to == cursor_) return false;
    REQUIRE(log_.bind(batch, std::nullopt, 60s) == WriteOutcome::done);
    cursor_ = batch.to;
    if (batch.entries.empty()) return true;
    // As after a crash: what is in flight can be read again.
    REQUIRE(log_.read_journal(batch.first).bytes == batch.bytes);
    published_ += batch.bytes;
    flying_ = batch;
    return true;
  }
  void acknowledge() {
    if (!flying_) return;
    tail_ = flying_->tail_after(flying_->size());
    REQUIRE(log_.acknowledge({tail_, flying_->first, ""}, 60s) == WriteOutcome::done);
    flying_.reset();
  }
  void publish_all() {
    while (bind(1'000)) acknowledge();
  }
  std::multiset<std::string> published() const {
    std::multiset<std::string> payloads;
    std::istringstream entries{published_};
    for (std::string entry; std::getline(entries, entry, ';');)
      payloads.insert(entry.substr(entry.find(':') + 1));
    return payloads;
  }

 private:
  Cursor begin() {
    log_.declare({.name = name_, .topics = {"*"}, .sink = "file:" + name_, .event_source = {}});
    const auto acquisition = log_.acquire("me", 60s);
    REQUIRE(acquisition.granted);
    return acquisition.state.cursor;
  }

  std::string name_;
  std::unique_ptr<sql::Connection> connection_;
  EncodingSink sink_;
  SubscriptionLog log_{*connection_, name_, sink_};
  Cursor cursor_;
  Tail tail_;
  std::optional<Batch> flying_;
  std::string published_;
};

/// A random service beside two relays and a retention that is always due.
class History {
 public:
  History(const PostgresDatabase& database, std::mt19937_64& random)
      : database_{database}, random_{random} {}

  void run() {
    for (int step = 0; step < 80; ++step) {
      switch (below(8)) {
        case 0:
        case 1:
          append_at_once();
          break;
        case 2:
          begin();
          break;
        case 3:
          end();
          break;
        case 4:
        case 5:
          one_of_both().bind(1 + below(6));
          break;
        case 6:
          one_of_both().acknowledge();
          break;
        default:
          retain();
      }
    }
    while (!open_.empty()) end();
    fast_.publish_all();
    slow_.publish_all();
    std::multiset<std::string> wanted;
    std::size_t poison = 0;
    for (const std::string& payload : committed_)
      if (payload.starts_with("poison"))
        ++poison;
      else
        wanted.insert(payload);
    CHECK(fast_.published() == wanted);
    CHECK(slow_.published() == wanted);
    do {
      progress_ = {};  // From the lowest event on: the last ones to be published are late ones.
    } while (retain() > 0);
    CHECK(database_.events() == std::to_string(poison));
  }

 private:
  struct Open {
    std::unique_ptr<soci::session> session;
    std::unique_ptr<Transaction> tx;
    std::vector<std::string> payloads;
  };

  std::size_t below(std::size_t end) { return static_cast<std::size_t>(random_() % end); }
  Reader& one_of_both() { return below(3) == 0 ? slow_ : fast_; }

  void begin() {
    if (open_.size() >= 3) return end();
    if (idle_.empty()) idle_.push_back(database_.session());
    open_.push_back({std::move(idle_.back()), nullptr, {}});
    idle_.pop_back();
    open_.back().tx = std::make_unique<Transaction>(*open_.back().session);
    write(open_.back());
  }
  void write(Open& open) {
    for (std::size_t i = 0; i <= below(3); ++i) {
      open.payloads.push_back((below(6) == 0 ? "poison" : "e") + std::to_string(++number_));
      // At once: it takes its number now, whenever it is committed.
      *open.session << "SELECT outseal.append('t', '', 'x', '" + open.payloads.back() + "')";
    }
  }
  void append_at_once() {
    begin();
    end(open_.size() - 1, true);
  }
  void end() {
    if (!open_.empty()) end(below(open_.size()), below(4) != 0);
  }
  void end(std::size_t which, bool commits) {
    if (commits) {
      open_[which].tx->commit();
      committed_.insert(committed_.end(), open_[which].payloads.begin(),
                        open_[which].payloads.end());
    }
    open_[which].tx.reset();
    idle_.push_back(std::move(open_[which].session));
    open_.erase(open_.begin() + static_cast<std::ptrdiff_t>(which));
  }
  std::uint64_t retain() {
    const store::RetentionOptions options{
        .events = 1ms, .journal = 0ms, .step_rows = static_cast<std::uint32_t>(1 + below(5))};
    return store::retain_step(*connection_, "fast", options, &progress_);
  }

  const PostgresDatabase& database_;
  std::mt19937_64& random_;
  std::unique_ptr<sql::Connection> connection_ = database_.open();
  Reader fast_{database_, "fast"};
  Reader slow_{database_, "slow"};
  std::vector<std::unique_ptr<soci::session>> idle_;
  std::deque<Open> open_;
  std::vector<std::string> committed_;
  store::RetentionProgress progress_;
  int number_ = 0;
};

}  // namespace

TEST_CASE("retention removes nothing that a relay, a late transaction or an operator needs") {
  const char* given = std::getenv("OUTSEAL_SEED");
  const std::uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  MESSAGE("OUTSEAL_SEED=" << seed);
  std::mt19937_64 random{seed};
  for (std::uint64_t i = 0; i < scaled(8, 1'000); ++i) {
    PostgresDatabase database;
    History{database, random}.run();
  }
}

TEST_CASE("retention passes over what is parked, however much it is") {
  PostgresDatabase database;
  const auto connection = database.open();
  const auto session = database.session();
  Transaction tx{*session};
  for (int i = 0; i < 30; ++i) append(tx, event("poison"));
  for (int i = 0; i < 30; ++i) append(tx, event("fine"));
  tx.commit();
  Reader reader{database, "main"};
  reader.publish_all();
  store::RetentionProgress progress;
  const store::RetentionOptions options{.events = 1ms, .journal = 0ms, .step_rows = 10};
  for (int step = 0; step < 3; ++step)
    CHECK(store::retain_step(*connection, "main", options, &progress) == 10);
  CHECK(store::retain_step(*connection, "main", options, &progress) == 0);
  CHECK(database.events() == "30");
}

namespace {

constexpr store::RetentionOptions kAll{.events = 1h, .journal = 0ms, .step_rows = 100};
const std::string kOld = "to_timestamp(1)";

/// An event as a restore or a subscription to a table of elsewhere brings it.
void bring(const PostgresDatabase& database, const std::string& tx, int seq) {
  database.value(
      "INSERT INTO outseal.outbox (tx, seq, created_at, topic, type, payload)"
      " OVERRIDING SYSTEM VALUE VALUES ('" +
      tx + "', " + std::to_string(seq) + ", " + kOld + ", 't', 'x', 'brought')");
}

}  // namespace

TEST_CASE("rows that savepoints wrote are removed as others are") {
  PostgresDatabase database;
  const auto connection = database.open();
  const std::string insert =
      "INSERT INTO outseal.outbox (topic, type, payload, created_at) VALUES ('t', 'x', 'e', " +
      kOld + ");";
  Reader reader{database, "main"};
  for (int i = 0; i < 5; ++i) {
    database.value("BEGIN;" + insert + "SAVEPOINT a;" + insert + "SAVEPOINT b;" + insert +
                   "RELEASE b; RELEASE a; COMMIT");
    if (i % 2 == 0) reader.publish_all();
  }
  reader.publish_all();
  store::RetentionProgress progress;
  CHECK(store::retain_step(*connection, "main", kAll, &progress) == 15);
  CHECK(progress.kept() == 0);
}

TEST_CASE("rows that were brought from elsewhere behind the cursor are never removed") {
  PostgresDatabase database;
  const auto connection = database.open();
  Reader reader{database, "main"};
  for (int i = 0; i < 3; ++i) {
    const auto session = database.session();
    Transaction tx{*session};
    append(tx, event("mine"));
    tx.commit();
    reader.publish_all();
  }
  const std::string published = database.value("SELECT tx FROM outseal.outbox WHERE seq = 2");
  bring(database, published, 1'000);  // A number that a batch has had.
  bring(database, "5", 1'001);        // Before all.
  // A number that was drawn and rolled back, in the middle of a batch.
  database.value("BEGIN; SELECT outseal.append('t', '', 'x', 'undone'::text); ROLLBACK");
  {
    const auto session = database.session();
    Transaction tx{*session};
    append(tx, event("mine"));
    tx.commit();
  }
  reader.publish_all();
  bring(database, database.value("SELECT tx FROM outseal.outbox WHERE seq = 5"), 4);
  store::RetentionProgress progress;
  CHECK(store::retain_step(*connection, "main", kAll, &progress) == 0);
  CHECK(progress.passed_over == 3);
  CHECK(progress.note().find("rebase") != std::string::npos);
  CHECK(database.events() == "7");
  // The transaction that brought them is behind the cursor as well by now: that proves nothing.
  {
    const auto session = database.session();
    Transaction tx{*session};
    append(tx, event("mine"));
    tx.commit();
  }
  reader.publish_all();
  CHECK(store::retain_step(*connection, "main", kAll) == 0);
  CHECK(database.events() == "8");
  EncodingSink sink;
  SubscriptionLog log{*connection, "main", sink};
  CHECK(code_of([&] { log.acquire("me", 60s); }) == ErrorCode::refused);

  // Once its batch is no longer whole nothing shows whether one belonged to it.
  database.value("DELETE FROM outseal.outbox WHERE seq = 2");
  progress = {};
  CHECK(store::retain_step(*connection, "main", kAll, &progress) == 0);
  CHECK(progress.unproven == 1);
  CHECK(progress.note().find("passed_over_events") != std::string::npos);

  CHECK(store::renumber_passed_over(*connection, "me") == 2);
  reader.publish_all();
  CHECK(reader.published().count("brought") == 2);
  CHECK(store::retain_step(*connection, "main", kAll) == 2);
}

#ifdef OUTSEAL_FAULTS
TEST_CASE("without a look at their passage rows from elsewhere are removed unpublished") {
  CHECK_FALSE(passes_with_mutant("no_passage_proof", "rows that were brought from elsewhere*"));
}
#endif

TEST_CASE("publishing leaves no dead row in the log and next to none beside it") {
  PostgresDatabase database;
  database.value("CREATE EXTENSION pgstattuple");
  const auto dead = [&](const std::string& table) {
    return std::stol(
        database.value("SELECT dead_tuple_count FROM pgstattuple('outseal." + table + "')"));
  };
  const auto session = database.session();
  Reader reader{database, "main"};
  for (int i = 0; i < 20; ++i) {
    Transaction tx{*session};
    append(tx, std::vector<Event>(500, event("x")));
    tx.commit();
    reader.publish_all();
  }
  CHECK(reader.published().size() == 10'000);
  CHECK(dead("outbox") == 0);
  CHECK(dead("journal") <= 20);       // One of each row, when its batch is acknowledged.
  CHECK(dead("subscription") <= 40);  // What is pruned when the page is full.
  const auto connection = database.open();
  CHECK(store::retain_step(*connection, "main", {.events = 1ms, .step_rows = 600}) == 600);
  CHECK(dead("outbox") == 600);
}
