// The receiver's side: by id, by position, and out of the inbox.
#include <array>
#include <chrono>
#include <cstdio>
#include <map>
#include <set>
#include <thread>
#include <tuple>

#include "conformance/store_helpers.h"
#include "store/migrations.h"

namespace outseal::test {
namespace {

using namespace std::chrono_literals;

constexpr const char* kStream = "/outseal/shop#main";
constexpr int kThreads = 4;

EventId id_of(std::uint64_t number) {
  std::array<char, 40> text{};
  std::snprintf(text.data(), text.size(), "00000000-0000-7000-8000-%012llu",
                static_cast<unsigned long long>(number));
  return EventId::parse(text.data()).value();
}

/// A store with a table of effects, which would show an event that took effect twice.
struct Shop {
  std::unique_ptr<StoreUnderTest> store = make_store();
  std::unique_ptr<soci::session> session = store->session();

  Shop() { execute("CREATE TABLE effect_of (event bigint, n bigint)"); }

  void execute(const std::string& sql) const { change(*session, sql); }
  long number(const std::string& sql) const {
    long value = 0;
    *session << in_dialect(*session, sql), soci::into(value);
    return value;
  }
  static void apply(soci::session& session, std::uint64_t event) {
    session << "INSERT INTO effect_of VALUES (" + std::to_string(event) +
                   ", (SELECT count(*) FROM effect_of))";
  }
  /// As the relay's sink does it.
  void fill(std::uint64_t first, std::uint64_t last, const std::string& stream = kStream) const {
    for (std::uint64_t n = first; n <= last; ++n)
      execute(
          "INSERT INTO outseal_inbox_event (stream, position, event_id, topic, key, type,"
          " content_type, headers, created_at, received_at, payload) VALUES ('" +
          stream + "', " + std::to_string(n) + ", '" + id_of(n).to_string() +
          "', 'orders', 'k', 'paid', 'text/plain', '{\"a\": \"b\"}', {long_ago}, {long_ago},"
          " 'body " +
          std::to_string(n) + "')");
  }
  /// What is left to take, and takes it.
  std::vector<InboxEvent> take_all(std::size_t events_max = TakeOptions::kEventsDefault) const {
    Transaction tx{*session};
    auto events = take(tx, kStream, {.events_max = events_max});
    tx.commit();
    return events;
  }
};

/// Runs `body` with a session of its own, set up by SQL, in each of some threads.
void at_once(const StoreUnderTest& store, const std::string& setup,
             const std::function<void(soci::session&, int)>& body) {
  std::vector<std::thread> threads;
  for (int number = 0; number < kThreads; ++number)
    threads.emplace_back([&, number] {
      const auto session = store.session();
      if (!setup.empty()) *session << setup;
      body(*session, number);
    });
  for (std::thread& thread : threads) thread.join();
}

/// True once `transaction` has committed; false to run it again.
bool try_once(const std::function<void()>& transaction) {
  try {
    transaction();
    return true;
  } catch (const Error& error) {
    if (error.recovery() != Recovery::retry_transaction) throw;
  } catch (const soci::soci_error& error) {  // The service's own statement.
    if (std::string{error.what()}.find("could not serialize") == std::string::npos) throw;
  }
  std::this_thread::yield();
  return false;
}

/// Isolation levels under which duplicates must be seen, as SQL for a session; "" is the default.
std::vector<std::string> isolation_levels(const StoreUnderTest& store) {
  if (store.one_writer()) return {""};
  const std::string set = "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL ";
  return {"", set + "REPEATABLE READ", set + "SERIALIZABLE"};
}

}  // namespace

TEST_CASE("an id is received once a stream, and forgotten by a rollback") {
  const Shop shop;
  {
    Transaction tx{*shop.session};
    CHECK(receive(tx, kStream, id_of(1)));
    CHECK_FALSE(receive(tx, kStream, id_of(1)));
    CHECK(receive(tx, "another", id_of(1)));
  }
  {
    Transaction tx{*shop.session};
    CHECK(receive(tx, kStream, id_of(1)));
    tx.commit();
  }
  Transaction tx{*shop.session};
  CHECK_FALSE(receive(tx, kStream, id_of(1)));
  CHECK(receive(tx, kStream, id_of(2)));
}

TEST_CASE("an id that many receive at once takes effect once, at every isolation level") {
  const Shop shop;
  constexpr std::uint64_t kEvents = 25;
  std::uint64_t base = 0;
  for (const std::string& level : isolation_levels(*shop.store)) {
    at_once(*shop.store, level, [&](soci::session& session, int number) {
      for (std::uint64_t i = 0; i < kEvents; ++i) {
        // Each in an order of its own.
        const std::uint64_t n = base + (number % 2 == 0 ? i : kEvents - 1 - i);
        while (!try_once([&] {
          Transaction tx{session};
          if (receive(tx, kStream, id_of(n))) Shop::apply(session, n);
          tx.commit();
        })) {
        }
      }
    });
    base += kEvents;
    CHECK(shop.number("SELECT count(*) FROM effect_of") == static_cast<long>(base));
    CHECK(shop.number("SELECT count(DISTINCT event) FROM effect_of") == static_cast<long>(base));
  }
}

namespace {

StreamEvent in_order(std::uint64_t position) {
  return {Position{position}, id_of(position), position == 1 ? EventId{} : id_of(position - 1)};
}

}  // namespace

TEST_CASE("by position an event is fresh, a duplicate, or beyond a gap, and the row stays one") {
  const Shop shop;
  Transaction tx{*shop.session};
  const auto arrive = [&](std::uint64_t position) {
    const Receipt receipt = receive_in_order(tx, kStream, in_order(position));
    return std::string{name_of(receipt.arrival)} + " " + std::to_string(receipt.last.value());
  };
  CHECK(arrive(2) == "gap 0");
  CHECK(arrive(1) == "fresh 1");
  CHECK(arrive(1) == "duplicate 1");
  CHECK(arrive(3) == "gap 1");
  CHECK(arrive(2) == "fresh 2");
  CHECK(arrive(3) == "fresh 3");
  CHECK(arrive(1) == "duplicate 3");
  CHECK(arrive(9) == "gap 3");
  CHECK(receive_in_order(tx, "another", in_order(1)).arrival == Arrival::fresh);
  tx.commit();
  CHECK(count(*shop.session, "outseal_inbox_position") == 2);
  CHECK(count(*shop.session, "outseal_inbox") == 0);
}

TEST_CASE("another event at the last position is refused, not taken for a duplicate") {
  const Shop shop;
  Transaction tx{*shop.session};
  std::ignore = receive_in_order(tx, kStream, in_order(1));
  CHECK(code_of([&] {
          return receive_in_order(tx, kStream, {Position{1}, id_of(7)});
        }) == ErrorCode::refused);
  CHECK(receive_in_order(tx, kStream, in_order(2)).arrival == Arrival::fresh);
}

TEST_CASE(
    "an old numbering is refused: a relay that slept sends what is one place further by now") {
  const Shop shop;
  Transaction tx{*shop.session};
  // Bound as 1, 2, 3; then 1 was refused for good, and 2 and 3 were bound to its place and the
  // next.
  REQUIRE(receive_in_order(tx, kStream, {Position{1}, id_of(2)}).arrival == Arrival::fresh);
  const auto old = [&] { return receive_in_order(tx, kStream, {Position{2}, id_of(2), id_of(1)}); };
  CHECK(code_of(old) == ErrorCode::refused);
  CHECK(receive_in_order(tx, kStream, {Position{2}, id_of(3), id_of(2)}).arrival == Arrival::fresh);
}

TEST_CASE("positions that many receive at once take effect once and in order, at every level") {
  const Shop shop;
  constexpr std::uint64_t kEvents = 25;
  int streams = 0;
  for (const std::string& level : isolation_levels(*shop.store)) {
    const std::string stream = "stream " + std::to_string(++streams);
    at_once(*shop.store, level, [&](soci::session& session, int) {
      for (std::uint64_t n = 1; n <= kEvents;) {
        Receipt receipt{Arrival::gap, {}};
        while (!try_once([&] {
          Transaction tx{session};
          receipt = receive_in_order(tx, stream, in_order(n));
          if (receipt.arrival == Arrival::fresh) Shop::apply(session, n);
          tx.commit();
        })) {
        }
        // A sender that is told of a gap goes on where the receiver is.
        n = receipt.last.value() + 1;
      }
    });
    CHECK(shop.number("SELECT count(*) FROM effect_of") == static_cast<long>(kEvents));
    CHECK(shop.number("SELECT count(*) FROM effect_of WHERE event = n + 1") ==
          static_cast<long>(kEvents));
    shop.execute("DELETE FROM effect_of");
  }
}

TEST_CASE("events are taken in order with all that they have, and a rollback gives them back") {
  const Shop shop;
  shop.fill(1, 5);
  shop.fill(1, 2, "another");
  {
    Transaction tx{*shop.session};
    CHECK(take(tx, kStream, {.events_max = 3}).size() == 3);
    CHECK(take(tx, kStream, {.events_max = 3}).size() == 2);
    CHECK(take(tx, kStream, {.events_max = 3}).empty());
  }
  const auto events = shop.take_all(2);
  REQUIRE(events.size() == 2);
  CHECK(events[1].position == Position{2});
  CHECK(events[1].id == id_of(2));
  CHECK(events[1].topic == "orders");
  CHECK(events[1].key == "k");
  CHECK(events[1].type == "paid");
  CHECK(events[1].payload == "body 2");
  CHECK(events[1].content_type == "text/plain");
  CHECK(events[1].headers == "{\"a\": \"b\"}");
  CHECK(events[1].created_at.time_since_epoch().count() > 0);
  CHECK(shop.take_all().size() == 3);
  CHECK(shop.take_all().empty());
  shop.fill(6, 6);
  CHECK(shop.take_all().front().position == Position{6});
}

TEST_CASE("workers that take at once share the events without one too many or out of turn") {
  const Shop shop;
  constexpr std::uint64_t kEvents = 60;
  const auto levels = isolation_levels(*shop.store);
  for (std::size_t round = 0; round < levels.size(); ++round) {
    const std::uint64_t last = kEvents * (round + 1);
    shop.fill(last - kEvents + 1, last);
    at_once(*shop.store, levels[round], [&](soci::session& session, int number) {
      bool left = true;
      for (unsigned tries = static_cast<unsigned>(number); left; ++tries)
        try_once([&] {
          Transaction tx{session};
          const auto events = take(tx, kStream, {.events_max = 1 + tries % 4});
          for (const InboxEvent& event : events) Shop::apply(session, event.position.value());
          if (tries % 5 != 4) tx.commit();  // Now and then it gives them back.
          left = !events.empty();
        });
    });
    CHECK(shop.take_all().empty());
    CHECK(shop.number("SELECT count(*) FROM effect_of") == static_cast<long>(last));
    CHECK(shop.number("SELECT count(*) FROM effect_of WHERE event = n + 1") ==
          static_cast<long>(last));
  }
}

TEST_CASE("events that somebody deleted before they were taken are missed") {
  const Shop shop;
  shop.fill(1, 5);
  CHECK(shop.take_all(2).size() == 2);
  shop.execute("DELETE FROM outseal_inbox_event WHERE position = 3");
  CHECK(code_of([&] { shop.take_all(); }) == ErrorCode::refused);
  shop.fill(3, 3);
  shop.execute("INSERT INTO outseal_inbox_tail (stream, position, updated_at) VALUES ('" +
               std::string{kStream} + "', 6, {long_ago})");  // And nothing follows the last one.
  CHECK(shop.take_all(3).size() == 3);
  CHECK(code_of([&] { shop.take_all(); }) == ErrorCode::refused);
  shop.fill(6, 6);
  CHECK(shop.take_all().size() == 1);
}

TEST_CASE("only what was taken, and long ago, is purged, and never by one stream for another") {
  const Shop shop;
  shop.fill(1, 10);
  shop.fill(1, 10, "another");
  CHECK(purge_taken(*shop.session, kStream, 0ms) == 0);
  CHECK(shop.take_all(7).size() == 7);
  shop.execute(
      "UPDATE outseal_inbox_event SET received_at = received_at + 100 * {day} * 365"
      " WHERE position >= 6");  // In the future.
  CHECK(purge_taken(*shop.session, kStream, 0ms, {.step_rows = 2, .steps_max = 1}) == 2);
  CHECK(purge_taken(*shop.session, kStream, 0ms, {.step_rows = 2}) == 3);
  CHECK(count(*shop.session, "outseal_inbox_event") == 15);
  CHECK(shop.take_all().size() == 3);
}

TEST_CASE("ids are forgotten when they are old enough, in small steps") {
  const Shop shop;
  Transaction tx{*shop.session};
  for (std::uint64_t n = 1; n <= 10; ++n)
    std::ignore = receive(tx, n % 2 == 0 ? kStream : "another", id_of(n));
  tx.commit();
  CHECK(purge_received(*shop.session, 1h) == 0);
  CHECK(purge_received(*shop.session, std::chrono::milliseconds::max()) == 0);
  CHECK(purge_taken(*shop.session, kStream, std::chrono::milliseconds::max()) == 0);
  shop.execute("UPDATE outseal_inbox SET received_at = {long_ago} WHERE event_id < '" +
               id_of(8).to_string() + "'");
  CHECK(purge_received(*shop.session, 1h, {.step_rows = 3, .steps_max = 1}) == 3);
  CHECK(purge_received(*shop.session, 1h, {.step_rows = 3}) == 4);
  CHECK(count(*shop.session, "outseal_inbox") == 3);
}

TEST_CASE("an inbox call with a bad argument, or outside of a transaction, writes nothing") {
  const Shop shop;
  Transaction tx{*shop.session};
  const auto refused = [&](const std::function<void()>& call) {
    return code_of(call) == ErrorCode::invalid_argument;
  };
  for (const std::string& stream :
       {std::string{}, std::string(1'025, 's'), std::string{"a\0b", 3}, std::string{"\xff"}}) {
    CHECK(refused([&] { return receive(tx, stream, id_of(1)); }));
    CHECK(refused([&] { return receive_in_order(tx, stream, in_order(1)); }));
    CHECK(refused([&] { return take(tx, stream); }));
    CHECK(refused([&] { purge_taken(*shop.session, stream, 0ms); }));
  }
  CHECK(refused([&] { return receive(tx, kStream, EventId{}); }));
  CHECK(refused([&] { return receive_in_order(tx, kStream, {Position{1}, EventId{}}); }));
  CHECK(refused([&] { return receive_in_order(tx, kStream, {Position{1}, id_of(2), id_of(1)}); }));
  CHECK(refused([&] { return receive_in_order(tx, kStream, {Position{2}, id_of(2)}); }));
  CHECK(refused([&] { return receive_in_order(tx, kStream, {Position{}, id_of(1)}); }));
  for (const TakeOptions& options :
       {TakeOptions{.events_max = 0}, TakeOptions{.events_max = TakeOptions::kEventsMax + 1},
        TakeOptions{.bytes_max = 0}, TakeOptions{.bytes_max = TakeOptions::kBytesMax + 1}})
    CHECK(code_of([&] { return take(tx, kStream, options); }) == ErrorCode::invalid_config);
  CHECK(refused([&] { purge_received(*shop.session, -1ms); }));
  CHECK(receive(tx, std::string(1'024, 's'), id_of(1)));
  tx.commit();
  CHECK(refused([&] { return receive(tx, kStream, id_of(2)); }));
  CHECK(refused([&] { return take(tx, kStream); }));
  CHECK(count(*shop.session, "outseal_inbox") == 1);
}

TEST_CASE("a stream that no relay has connected to is refused where there are others") {
  const Shop shop;
  const auto connect = [&shop](const std::string& stream) {  // As the relay's sink does it.
    shop.execute("INSERT INTO outseal_inbox_tail (stream, updated_at) VALUES ('" + stream +
                 "', {long_ago})");
  };
  const auto fault = [&shop](const std::string& stream) -> std::string {
    Transaction tx{*shop.session};
    try {
      const auto events = take(tx, stream);
      CHECK(events.empty());
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::invalid_argument);
      return error.message() + "; " + error.hint();
    }
    return {};
  };
  CHECK(fault("/outseal/mian#main").empty());  // There may be a relay some day.
  connect("/outseal/main#main");
  connect("/outseal/mails#mails");
  CHECK(fault("/outseal/main#main").empty());
  const std::string said = fault("/outseal/mian#main");
  CHECK_MESSAGE(said.find("/outseal/mails#mails, /outseal/main#main") != std::string::npos, said);
  CHECK_MESSAGE(said.find("'/outseal/mian#main'") != std::string::npos, said);
}

TEST_CASE("what the inbox remembers is not dropped by a migration, unless it is forced") {
  const Shop shop;
  const auto connection = sql::open(shop.store->url());
  CHECK(store::migrate_down(*connection, 3, false, {}) > 0);
  store::migrate_up(*connection, store::newest_version(connection->dialect()), {});
  {
    Transaction tx{*shop.session};
    SUBCASE("by id") { std::ignore = receive(tx, kStream, id_of(1)); }
    SUBCASE("by position") { std::ignore = receive_in_order(tx, kStream, in_order(1)); }
    tx.commit();
  }
  CHECK(code_of([&] { store::migrate_down(*connection, 3, false, {}); }) == ErrorCode::refused);
  CHECK(store::migrate_down(*connection, 4, false, {}) > 0);
  CHECK(store::migrate_down(*connection, 3, true, {}) == 1);
}

}  // namespace outseal::test
