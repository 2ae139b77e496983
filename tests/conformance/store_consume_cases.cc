// consume(): the loop of a receiver, and what becomes of an event that always fails.
#include <algorithm>
#include <chrono>
#include <set>
#include <stdexcept>
#include <thread>
#include <tuple>

#include "conformance/consume_shop.h"
#include "support/mutant.h"

namespace outseal::test {
namespace {

using namespace std::chrono_literals;

ConsumeOptions to_the_end() {
  return {.until_empty = true, .backoff_min = 1ms, .backoff_max = 2ms};
}

/// Applies each event, except those that always fail. Counts how often it was called for them.
struct Service {
  ConsumeShop& shop;
  std::set<std::uint64_t> poison = {};
  int poisoned = 0;
  std::stop_source enough = {};  ///< Without a guard it would try forever.

  EventHandler handler() {
    return [this](Transaction&, const InboxEvent& event) {
      ConsumeShop::apply(*shop.own, event.position.value());
      if (!poison.contains(event.position.value())) return;
      if (++poisoned > 30) enough.request_stop();
      throw std::runtime_error{"cannot read it"};
    };
  }
  Consumed run(ConsumeOptions options = to_the_end()) {
    if (!options.stop.stop_possible()) options.stop = enough.get_token();
    return consume(shop.opener(), kStream, handler(), options);
  }
};

}  // namespace

TEST_CASE("the loop takes all events in order, in batches, and purges them when they are old") {
  ConsumeShop shop;
  shop.fill(1, 25);
  Service service{shop};
  ConsumeOptions options = to_the_end();
  options.take.events_max = 10;
  int commits = 0;
  options.transaction.observer = [&](const Observation& seen) {
    commits += std::holds_alternative<CommitCall>(seen) ? 1 : 0;
  };
  CHECK(service.run(options).events == 25);
  CHECK(commits == 3);
  CHECK(shop.effects().size() == 25);
  CHECK(shop.number("SELECT count(*) FROM effect_of WHERE event = n + 1") == 25);
  CHECK(service.run(options).events == 0);
  CHECK(count(*shop.session, "outseal_inbox_attempt") == 0);
  CHECK(count(*shop.session, "outseal_inbox_event") == 25);
  options.purge_age = 1h;
  CHECK(service.run(options).events == 0);
  CHECK(count(*shop.session, "outseal_inbox_event") == 0);
}

TEST_CASE("the loop waits for more, and ends when it is asked to") {
  ConsumeShop shop;
  shop.fill(1, 2);
  std::stop_source stop;
  ConsumeOptions options = to_the_end();
  options.until_empty = false;
  options.stop = stop.get_token();
  int handled = 0;
  const auto done = consume(
      shop.opener(), kStream,
      [&](Transaction&, const InboxEvent& event) {
        ConsumeShop::apply(*shop.own, event.position.value());
        if (++handled == 4) stop.request_stop();  // In the middle of a batch.
      },
      [&] {
        options.transaction.observer = [&](const Observation& seen) {
          if (std::holds_alternative<CommitCall>(seen) && handled == 2) shop.fill(3, 8);
        };
        return options;
      }());
  CHECK(done.events == 4);
  CHECK(shop.effects() == Longs{1, 2, 3, 4});
  CHECK(Service{shop}.run().events == 4);  // One transaction: nothing is left of the stop.
  CHECK(shop.effects().size() == 8);
}

TEST_CASE("an event that always fails is set aside with its key behind it, the others flow") {
  ConsumeShop shop;
  shop.fill(1, 12);
  Service service{shop, {4}};
  const Consumed done = service.run();
  CHECK(service.poisoned == 6);  // Once in its batch, five times alone.
  CHECK(shop.parked() == Lines{"4 parked", "10 parked behind"});
  CHECK(done.events == 10);
  CHECK(done.parked == 2);
  CHECK(shop.effects() == Longs{1, 2, 3, 5, 6, 7, 8, 9, 11, 12});
  const auto parked = list_parked(*shop.session, kStream);
  REQUIRE(parked.size() == 2);
  CHECK(parked[0].position == Position{4});
  CHECK(parked[0].key == "k1");
  CHECK(parked[0].attempts == 5);
  CHECK(parked[0].reason.find("cannot read it") != std::string::npos);
  CHECK(parked[0].since.time_since_epoch().count() > 0);
  CHECK(purge_taken(*shop.session, kStream, 0ms) == 10);  // Never what is set aside.
  shop.fill(13, 13);
  CHECK(service.run().parked == 1);
  CHECK(shop.parked() == Lines{"4 parked", "10 parked behind", "13 parked behind"});
}

TEST_CASE("guards of parking that are switched off are missed") {
  const std::string name = "an event that always fails*";
  CHECK_FALSE(passes_with_mutant("no_behind", name));
  CHECK_FALSE(passes_with_mutant("no_one_by_one", "a poison event is found in the middle of*"));
  CHECK_FALSE(passes_with_mutant("no_attempt_grace", "an attempt of another worker*"));
  CHECK_FALSE(passes_with_mutant("no_attempts_max", name));
}

TEST_CASE("a redriven event and those behind it take effect in their order, before newer ones") {
  ConsumeShop shop;
  shop.fill(1, 10);
  Service service{shop, {1}};
  CHECK(service.run().parked == 3);
  CHECK(shop.parked() == Lines{"1 parked", "4 parked behind", "10 parked behind"});
  CHECK(code_of([&] { redrive_parked(*shop.session, kStream, id_of(4)); }) ==
        ErrorCode::invalid_argument);
  CHECK(code_of([&] { redrive_parked(*shop.session, kStream, id_of(2)); }) ==
        ErrorCode::invalid_argument);
  shop.execute("DELETE FROM effect_of");
  SUBCASE("it fails again") {
    CHECK(redrive_parked(*shop.session, kStream, id_of(1)) == 3);
    CHECK(shop.parked() == Lines{"1 queued", "4 queued behind", "10 queued behind"});
    CHECK(service.run().events == 0);
    CHECK(shop.parked() == Lines{"1 parked", "4 parked behind", "10 parked behind"});
  }
  SUBCASE("it is mended") {
    service.poison = {};
    CHECK(redrive_parked(*shop.session, kStream, id_of(1)) == 3);
    shop.fill(11, 13);
    CHECK(service.run().events == 6);
    // Event 13 has the key of the others, and came up while they were queued.
    CHECK(shop.effects() == Longs{1, 4, 10, 11, 12, 13});
    CHECK(shop.parked().empty());
  }
  SUBCASE("all of them, and by take()") {
    CHECK(redrive_parked(*shop.session, kStream) == 3);
    shop.fill(11, 13);
    Transaction tx{*shop.session};
    CHECK(take(tx, kStream, {.events_max = 2}).size() == 2);
    const auto rest = take(tx, kStream);
    REQUIRE(rest.size() == 1);
    CHECK(rest.front().id == id_of(10));
    CHECK(take(tx, kStream).size() == 3);
    tx.commit();
    CHECK(shop.parked().empty());
  }
  SUBCASE("it is discarded") {
    CHECK(code_of([&] { discard_parked(*shop.session, kStream, id_of(1), ""); }) ==
          ErrorCode::invalid_argument);
    CHECK(discard_parked(*shop.session, kStream, id_of(1), "a test order") == 2);
    REQUIRE(shop.parked().size() == 3);
    CHECK(list_parked(*shop.session, kStream).front().reason == "a test order");
    CHECK(service.run().events == 2);
    CHECK(shop.effects() == Longs{4, 10});
    CHECK(shop.parked() == Lines{"1 discarded"});
    shop.execute("UPDATE outseal_inbox_attempt SET changed_at = {long_ago}");
    CHECK(purge_taken(*shop.session, kStream, 1h) == 10);
    CHECK(shop.parked().empty());
  }
}

TEST_CASE("two poison events of a key: what stands behind the second waits for both") {
  ConsumeShop shop;
  shop.fill(1, 13);
  Service service{shop, {1}};
  service.run();
  service.poison = {1, 10};
  redrive_parked(*shop.session, kStream, id_of(1));
  service.poison = {10};
  service.run();
  CHECK(shop.parked() == Lines{"10 parked", "13 parked behind"});
  CHECK(code_of([&] { redrive_parked(*shop.session, kStream, id_of(13)); }) ==
        ErrorCode::invalid_argument);
  CHECK(discard_parked(*shop.session, kStream, id_of(13), "not this one either") == 0);
  CHECK(redrive_parked(*shop.session, kStream, id_of(10)) == 1);
}

TEST_CASE("a poison event is found in the middle of a batch, and its neighbours are not blamed") {
  ConsumeShop shop;
  shop.fill(1, 9);
  Service service{shop, {5}};
  ConsumeOptions options = to_the_end();
  options.attempts_max = 1;
  CHECK(service.run(options).events == 7);
  CHECK(service.poisoned == 2);
  CHECK(shop.parked() == Lines{"5 parked", "8 parked behind"});
}

TEST_CASE("an attempt of another worker is waited for before it counts") {
  ConsumeShop shop;
  shop.fill(1, 1);
  // As a worker leaves it that has begun its last attempt just now.
  Service service{shop, {1}};
  ConsumeOptions options = to_the_end();
  std::ignore = consume(
      shop.opener(), kStream,
      [&](Transaction&, const InboxEvent&) {
        throw Error{ErrorCode::conflict, "test", "again"};
      },
      [&] {
        std::stop_source stop;
        options.stop = stop.get_token();
        options.transaction.observer = [stop](const Observation& seen) mutable {
          if (std::holds_alternative<ConsumeTrouble>(seen)) stop.request_stop();
        };
        return options;
      }());
  CHECK(shop.number("SELECT attempts FROM outseal_inbox_attempt") == 1);
  shop.execute("UPDATE outseal_inbox_attempt SET attempts = 5, changed_at = changed_at + {day}");
  std::stop_source stop;
  options = to_the_end();
  options.stop = stop.get_token();
  const std::jthread stopper{[&] {  // Long enough to park it many times over.
    std::this_thread::sleep_for(100ms);
    stop.request_stop();
  }};
  CHECK(service.run(options).parked == 0);
  CHECK(service.poisoned == 0);
  shop.execute("UPDATE outseal_inbox_attempt SET changed_at = {long_ago}");
  CHECK(service.run().parked == 1);
  CHECK(service.poisoned == 0);
}

TEST_CASE("take() is bounded in bytes, and returns one event in any case") {
  const ConsumeShop shop;
  shop.fill(1, 6, 1'000);
  const auto sizes = [&](std::size_t bytes_max) {
    Transaction tx{*shop.session};
    return take(tx, kStream, {.bytes_max = bytes_max}).size();
  };
  CHECK(sizes(1) == 1);
  CHECK(sizes(1'002) == 1);
  CHECK(sizes(2'100) == 2);
  CHECK(sizes(100'000) == 6);
  Transaction tx{*shop.session};
  for (int i = 0; i < 3; ++i) CHECK(take(tx, kStream, {.bytes_max = 2'100}).size() == 2);
  CHECK(take(tx, kStream, {.bytes_max = 2'100}).empty());
}

TEST_CASE("the loop opens a new connection when one is lost, and throws what has to be fixed") {
  ConsumeShop shop;
  shop.fill(1, 6);
  int calls = 0;
  ConsumeOptions options = to_the_end();
  int troubles = 0;
  options.transaction.observer = [&](const Observation& seen) {
    troubles += std::holds_alternative<ConsumeTrouble>(seen) ? 1 : 0;
  };
  const auto done = consume(
      shop.opener(), kStream,
      [&](Transaction&, const InboxEvent& event) {
        ConsumeShop::apply(*shop.own, event.position.value());
        if (++calls == 3) shop.own->close();
      },
      options);
  CHECK(done.events == 6);
  CHECK(shop.opened == 2);
  CHECK(troubles == 1);
  CHECK(shop.effects() == Longs{1, 2, 3, 4, 5, 6});
  CHECK(shop.parked().empty());

  CHECK_THROWS_AS(consume([]() -> Session { throw std::logic_error{"no"}; }, kStream,
                          [](Transaction&, const InboxEvent&) {}),
                  std::logic_error);
  shop.fill(7, 8);
  CHECK(code_of([&] {
          std::ignore = consume(shop.opener(), kStream, [](Transaction&, const InboxEvent&) {
            throw Error{ErrorCode::denied, "test", "no privilege"};
          });
        }) == ErrorCode::denied);
}

TEST_CASE("a handler that ends its transaction is refused, or its place is kept") {
  ConsumeShop shop;
  shop.fill(1, 3);
  const auto commit_by = [&](const std::function<void(Transaction&)>& commit) {
    return [&shop, commit](Transaction& tx, const InboxEvent& event) {
      ConsumeShop::apply(*shop.own, event.position.value());
      if (event.position == Position{2}) commit(tx);
    };
  };
  CHECK(
      consume(shop.opener(), kStream, commit_by([](Transaction& tx) { tx.commit(); }), to_the_end())
          .events == 2);
  CHECK(shop.parked() == Lines{"2 parked"});
  CHECK(shop.effects() == Longs{1, 3});
  CHECK(redrive_parked(*shop.session, kStream) == 1);
  const auto by_sql = commit_by([&](Transaction&) { *shop.own << "COMMIT"; });
  if (shop.store->one_writer()) {  // SQLite refuses it.
    CHECK(consume(shop.opener(), kStream, by_sql, to_the_end()).parked == 1);
    CHECK(shop.effects() == Longs{1, 3});
    return;
  }
  CHECK(code_of([&] { consume(shop.opener(), kStream, by_sql, to_the_end()); }) ==
        ErrorCode::foreign_commit);
  CHECK(shop.effects() == Longs{1, 3, 2});
  CHECK(shop.parked().empty());
  shop.fill(4, 4);
  CHECK(Service{shop}.run().events == 1);
  CHECK(shop.effects() == Longs{1, 3, 2, 4});
}

TEST_CASE("bad options of the loop are named together, before anything is opened") {
  ConsumeShop shop;
  ConsumeOptions options{.attempts_max = 0, .poll_min = 5ms, .poll_max = 4ms};
  options.purge_age = -1ms;
  try {
    consume(
        shop.opener(), kStream, [](Transaction&, const InboxEvent&) {}, options);
    FAIL("they were taken");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::invalid_config);
    for (const char* field : {"attempts_max", "poll_min is above", "purge_age"})
      CHECK_MESSAGE(error.message().find(field) != std::string::npos, error.message());
  }
  CHECK(code_of([&] { consume(shop.opener(), "", [](Transaction&, const InboxEvent&) {}); }) ==
        ErrorCode::invalid_argument);
  CHECK(code_of([&] { consume(shop.opener(), kStream, {}); }) == ErrorCode::invalid_argument);
  CHECK(code_of([&] { consume({}, kStream, [](Transaction&, const InboxEvent&) {}); }) ==
        ErrorCode::invalid_argument);
  CHECK(shop.opened == 0);
}

}  // namespace outseal::test
