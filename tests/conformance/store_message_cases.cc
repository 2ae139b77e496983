// consume_message(): a message of another transport takes effect once, by id or by position, and
// one that always fails is set aside.
#include <stdexcept>
#include <thread>
#include <tuple>

#include "conformance/consume_shop.h"
#include "sql/connection.h"
#include "store/migrations.h"

namespace outseal::test {
namespace {

using namespace std::chrono_literals;

constexpr const char* kQueue = "a queue";

StreamEvent in_order(std::uint64_t position) {
  return {Position{position}, id_of(position), position == 1 ? EventId{} : id_of(position - 1)};
}

/// What a receiver of messages does, on a session of its own.
struct Receiver {
  ConsumeShop& shop;
  std::unique_ptr<soci::session> session = shop.store->session();
  bool fails = false;
  int called = 0;

  MessageHandler handler(std::uint64_t event) {
    return [this, event](Transaction&) {
      ++called;
      ConsumeShop::apply(*session, event);
      if (fails) throw std::runtime_error{"cannot read it"};
    };
  }
  Arrival by_id(std::uint64_t event) {
    return consume_message(*session, kStream, id_of(event), handler(event)).arrival;
  }
  /// "fresh 1" and so on.
  std::string by_position(const StreamEvent& event) {
    const Receipt receipt =
        consume_message(*session, kStream, event, handler(event.position.value()));
    return std::string{name_of(receipt.arrival)} + " " + std::to_string(receipt.last.value());
  }
};

}  // namespace

TEST_CASE("a message takes effect once by its id, and leaves no attempt behind") {
  ConsumeShop shop;
  Receiver receiver{shop};
  CHECK(receiver.by_id(1) == Arrival::fresh);
  CHECK(receiver.by_id(1) == Arrival::duplicate);
  CHECK(receiver.by_id(2) == Arrival::fresh);
  CHECK(consume_message(*receiver.session, kQueue, id_of(1), receiver.handler(1)).arrival ==
        Arrival::fresh);
  CHECK(shop.effects() == Longs{1, 2, 1});
  CHECK(count(*shop.session, "outseal_inbox_attempt") == 0);
  CHECK(count(*shop.session, "outseal_inbox") == 3);
}

TEST_CASE("a message takes effect once by its position: new, duplicate, gap, refused") {
  ConsumeShop shop;
  Receiver receiver{shop};
  CHECK(receiver.by_position(in_order(2)) == "gap 0");
  CHECK(receiver.by_position(in_order(1)) == "fresh 1");
  CHECK(receiver.by_position(in_order(1)) == "duplicate 1");
  CHECK(receiver.by_position(in_order(3)) == "gap 1");
  CHECK(receiver.by_position(in_order(2)) == "fresh 2");
  CHECK(code_of([&] {
          receiver.by_position({Position{3}, id_of(3), id_of(9)});
        }) == ErrorCode::refused);
  CHECK(code_of([&] {
          receiver.by_position({Position{2}, id_of(7), id_of(1)});
        }) == ErrorCode::refused);
  CHECK(shop.effects() == Longs{1, 2});
  CHECK(count(*shop.session, "outseal_inbox_attempt") == 0);
}

TEST_CASE("a message that fails is tried as often as it may be, then set aside and not tried") {
  ConsumeShop shop;
  Receiver receiver{shop, shop.store->session(), true};
  for (int i = 0; i < 5; ++i) CHECK_THROWS_AS(receiver.by_id(1), std::runtime_error);
  CHECK(receiver.by_id(1) == Arrival::parked);
  CHECK(receiver.by_id(1) == Arrival::parked);
  CHECK(receiver.called == 5);
  CHECK(shop.parked() == Lines{"1 parked"});
  const auto parked = list_parked(*shop.session, kStream);
  CHECK(parked.front().reason.find("cannot read it") != std::string::npos);
  CHECK(parked.front().position == Position{});
  CHECK(purge_received(*shop.session, 0ms) == 0);
  CHECK(shop.parked().size() == 1);
  CHECK(shop.effects().empty());
  receiver.fails = false;
  SUBCASE("and redriven") {
    CHECK(redrive_parked(*shop.session, kStream, id_of(1)) == 1);
    CHECK(receiver.by_id(1) == Arrival::fresh);
    CHECK(receiver.by_id(1) == Arrival::duplicate);
    CHECK(shop.effects() == Longs{1});
  }
  SUBCASE("and discarded") {
    CHECK(discard_parked(*shop.session, kStream, id_of(1), "a test order") == 0);
    CHECK(receiver.by_id(1) == Arrival::duplicate);
    CHECK(shop.effects().empty());
    CHECK(count(*shop.session, "outseal_inbox") == 1);
  }
  CHECK(shop.parked().empty());
}

TEST_CASE("a parked message by position does not move the stream: the next one takes its place") {
  ConsumeShop shop;
  Receiver receiver{shop};
  CHECK(receiver.by_position(in_order(1)) == "fresh 1");
  receiver.fails = true;
  for (int i = 0; i < 5; ++i)
    CHECK_THROWS_AS(receiver.by_position(in_order(2)), std::runtime_error);
  CHECK(receiver.by_position(in_order(2)) == "parked 1");
  CHECK(receiver.by_position(in_order(3)) == "gap 1");
  receiver.fails = false;
  SUBCASE("refused by the relay, which numbers anew") {
    CHECK(receiver.by_position({Position{2}, id_of(3), id_of(1)}) == "fresh 2");
  }
  SUBCASE("discarded here") {
    discard_parked(*shop.session, kStream, id_of(2), "a test order");
    CHECK(receiver.by_position(in_order(2)) == "duplicate 2");
    CHECK(receiver.by_position(in_order(3)) == "fresh 3");
    CHECK(shop.effects() == Longs{1, 3});
  }
}

TEST_CASE("a conflict does not count against a message") {
  ConsumeShop shop;
  const auto session = shop.store->session();
  for (int i = 0; i < 8; ++i)
    CHECK(code_of([&] {
            std::ignore = consume_message(*session, kQueue, id_of(1), [](Transaction&) {
              throw Error{ErrorCode::conflict, "test", "again"};
            });
          }) == ErrorCode::conflict);
  CHECK(shop.number("SELECT attempts FROM outseal_inbox_attempt") == 0);
  CHECK(consume_message(*session, kQueue, id_of(1), [](Transaction&) {}).arrival == Arrival::fresh);
}

TEST_CASE("a message that many are given at once takes effect once") {
  ConsumeShop shop;
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      Receiver receiver{shop};
      for (std::uint64_t n = 1; n <= 20;) {
        try {
          receiver.by_id(n);
          ++n;
        } catch (const Error& error) {
          if (error.recovery() != Recovery::retry_transaction) throw;
        }
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(shop.number("SELECT count(*) FROM effect_of") == 20);
  CHECK(shop.number("SELECT count(DISTINCT event) FROM effect_of") == 20);
  CHECK(count(*shop.session, "outseal_inbox_attempt") == 0);
}

TEST_CASE("attempts of messages that never come again are forgotten with the ids") {
  ConsumeShop shop;
  Receiver receiver{shop, shop.store->session(), true};
  CHECK_THROWS_AS(receiver.by_id(1), std::runtime_error);
  CHECK(purge_received(*shop.session, 1h) == 0);
  CHECK(count(*shop.session, "outseal_inbox_attempt") == 1);
  shop.execute("UPDATE outseal_inbox_attempt SET changed_at = {long_ago}");
  purge_received(*shop.session, 1h);
  CHECK(count(*shop.session, "outseal_inbox_attempt") == 0);
}

TEST_CASE("a parked message is not dropped by a migration, unless it is forced") {
  ConsumeShop shop;
  const auto connection = sql::open(shop.store->url());
  Receiver receiver{shop, shop.store->session(), true};
  CHECK_THROWS_AS(receiver.by_id(1), std::runtime_error);
  CHECK(consume_message(*receiver.session, kStream, id_of(1), receiver.handler(1),
                        {.attempts_max = 1})
            .arrival == Arrival::parked);
  receiver.session.reset();
  CHECK(code_of([&] { store::migrate_down(*connection, 3, false, {}); }) == ErrorCode::refused);
  CHECK(store::migrate_down(*connection, 3, true, {}) > 0);
}

TEST_CASE("a message with a bad argument writes nothing") {
  const ConsumeShop shop;
  const auto refused = [](const std::function<void()>& call) {
    return code_of(call) == ErrorCode::invalid_argument;
  };
  const auto nothing = [](Transaction&) { FAIL("it was called"); };
  CHECK(refused([&] { consume_message(*shop.session, "", id_of(1), nothing); }));
  CHECK(refused([&] { consume_message(*shop.session, kQueue, EventId{}, nothing); }));
  CHECK(refused([&] { consume_message(*shop.session, kQueue, id_of(1), {}); }));
  CHECK(refused([&] {
    consume_message(*shop.session, kQueue, StreamEvent{Position{}, id_of(1)}, nothing);
  }));
  CHECK(refused([&] {
    consume_message(*shop.session, kQueue, StreamEvent{Position{1}, id_of(1), id_of(2)}, nothing);
  }));
  CHECK(code_of([&] {
          consume_message(*shop.session, kQueue, id_of(1), nothing, {.attempts_max = 0});
        }) == ErrorCode::invalid_config);
  CHECK(count(*shop.session, "outseal_inbox_attempt") == 0);
}

}  // namespace outseal::test
