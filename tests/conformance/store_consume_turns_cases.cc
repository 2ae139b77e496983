// Workers that consume one stream take turns.
#include <algorithm>
#include <chrono>
#include <set>
#include <stdexcept>
#include <thread>
#include <tuple>
#include <vector>

#include "conformance/consume_shop.h"

namespace outseal::test {

using namespace std::chrono_literals;

TEST_CASE("workers that consume at once share the events, each once and in order") {
  ConsumeShop shop;
  shop.fill(1, 120);
  std::vector<std::thread> workers;
  workers.reserve(3);
  for (int i = 0; i < 3; ++i)
    workers.emplace_back([&, i] {
      std::unique_ptr<soci::session> own;
      ConsumeOptions options{.until_empty = true, .backoff_min = 1ms, .backoff_max = 2ms};
      options.take.events_max = 1 + static_cast<std::size_t>(i) * 4;
      std::ignore = consume(
          [&]() -> Session {
            own = shop.store->session();
            return *own;
          },
          kStream,
          [&](Transaction&, const InboxEvent& event) {
            ConsumeShop::apply(*own, event.position.value());
            if (event.position == Position{50}) throw std::runtime_error{"poison"};
          },
          options);
    });
  for (std::thread& worker : workers) worker.join();
  const auto effects = shop.effects();
  std::set<long> seen{effects.begin(), effects.end()};
  CHECK(seen.size() == effects.size());
  // Behind event 50: all later ones of its key.
  std::size_t behind = 0;
  for (std::uint64_t n = 51; n <= 120; ++n)
    behind += ConsumeShop::key_of(n) == ConsumeShop::key_of(50) ? 1 : 0;
  CHECK(effects.size() == 120 - 1 - behind);
  CHECK(shop.parked().size() == 1 + behind);
  CHECK(std::is_sorted(effects.begin(), effects.end()));
  CHECK(shop.number("SELECT count(*) FROM outseal_inbox_attempt WHERE state = 'trying'") == 0);
}

TEST_CASE("a worker that waited for its turn sees what was set aside meanwhile") {
  ConsumeShop shop;
  shop.fill(1, 4);  // Event 4 is of the same key as event 1.
  REQUIRE(ConsumeShop::key_of(4) == ConsumeShop::key_of(1));
  std::vector<std::uint64_t> taken;
  std::thread other;
  {
    Transaction tx{*shop.session};
    REQUIRE(take(tx, kStream, {.events_max = 1}).size() == 1);
    shop.execute(
        "INSERT INTO outseal_inbox_attempt (stream, event_id, position, key, state, changed_at)"
        " SELECT stream, event_id, position, key, 'parked', {long_ago} FROM outseal_inbox_event"
        " WHERE position = 1");
    other = std::thread{[&] {
      const auto own = shop.store->session();
      Transaction theirs{*own};
      for (const InboxEvent& event : take(theirs, kStream)) taken.push_back(event.position.value());
      theirs.commit();
    }};
    // On PostgreSQL until it waits for the cursor; on SQLite it waits to begin.
    if (!shop.store->one_writer())
      while (shop.number("SELECT count(*) FROM pg_locks WHERE NOT granted") == 0)
        std::this_thread::yield();
    tx.commit();
  }
  other.join();
  CHECK(taken == std::vector<std::uint64_t>{2, 3});
  CHECK(shop.parked() == Lines{"1 parked", "4 parked behind"});
}

}  // namespace outseal::test
