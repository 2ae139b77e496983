// Operations with effects by SQL functions: what they do. See also
// postgres_operation_limit_cases.cc.
#include <doctest/doctest.h>

#include <atomic>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/hash.h"
#include "integration/postgres/postgres_fixture.h"
#include "integration/postgres/postgres_operation_fixture.h"
#include "operation/record.h"
#include "support/mutant.h"

using namespace outseal;
using namespace outseal::test;

TEST_CASE("a key's hash is the library's, in every language") {
  const Site site;
  const Client client{site};
  const std::vector<std::string> keys{"order 7",
                                      "",
                                      "0189dc1a-5b6e-7cc2-8f43-2f1d6c5a0b11",
                                      "0189DC1A-5B6E-7CC2-8F43-2F1D6C5A0B11",
                                      "0189dc1a-5b6e-4cc2-8f43-2f1d6c5a0b11",
                                      "0189dc1a-5b6e-7cc2-cf43-2f1d6c5a0b11",
                                      "01ARZ3NDEKTSV4RRFFQ69G5FAV",
                                      "01arz3ndektsv4rrffq69g5fav",
                                      "81ARZ3NDEKTSV4RRFFQ69G5FAV",
                                      "7ZZZZZZZZZZZZZZZZZZZZZZZZZ",
                                      "01ARZ3NDEKTSV4RRFFQ69G5FAI",
                                      "ключ"};
  for (const std::string& key : keys) {
    INFO(key);
    const Operation same{.scope = "payments", .principal = "shöp", .key = key, .fingerprint = {}};
    CHECK(client.ask("SELECT encode(outseal.key_hash('payments', 'shöp', '" + key + "'), 'hex')") ==
          to_hex(operation::key_hash(same)));
  }
}

TEST_CASE("one charge: begun, called, answered, finished, replayed, and shown") {
  const Site site;
  const Client client{site};
  const Charge charge{.key = "a"};
  CHECK(client.field("answer || fence", begin("a")) == "begun1");
  CHECK(client.field("answer", begin("a")) == "in_progress");
  CHECK(client.field("answer", begin("a", "1 minute", "amount=6")) == "mismatch");
  CHECK(client.field("step || attempts || call_for", charge.begin()) == "call100:00:55");
  CHECK(client.field("state", "operation_status(" + key_of("a") + ")") == "in_progress");
  CHECK(client.ask("SELECT " + charge.finish()) == "42883");  // Of the path's own schemas: none.
  CHECK(client.field("finish_operation", charge.finish()) == "operation_effects_are_settled");
  CHECK(client.field("state", charge.answer("call", "applied", ", 'ch_1', 500, 'EUR'")) ==
        "confirmed");
  CHECK(client.field("step || reference", charge.begin()) == "recordedch_1");
  CHECK(client.field("finish_operation", charge.finish()).empty());
  CHECK(client.field("answer || status || encode(body, 'escape')", begin("a")) ==
        "replayed201done");
  CHECK(client.field("effects -> 0 ->> 'reference'", "operation_status(" + key_of("a") + ")") ==
        "ch_1");
  const std::string handle = client.field("handle", "operation_status(" + key_of("a") + ")");
  CHECK(client.ask("SELECT (outseal.operation_of('" + handle + "') = " + key_of("a") + ")::text") ==
        "true");
  CHECK(client.ask("SELECT outseal.operation_of('" + std::string(64, 'A') + "') IS NULL ||''") ==
        "true");
  CHECK(client.field("state", "operation_status(" + key_of("other") + ")") == "absent");
  // After the response's retention, the key's is left; after that, it begins anew.
  age(site, "8 days");
  CHECK(client.field("answer || status", begin("a")) == "expired201");
  age(site, "400 days");
  CHECK(client.field("answer || fence", begin("a")) == "begun1");
  CHECK(client.field("effects", "operation_status(" + key_of("a") + ")") == "[]");
}

TEST_CASE("a lease is left alone until it ends, and then taken over once") {
  const Site site;
  const Client client{site};
  CHECK(client.field("answer", begin("a")) == "begun");
  age(site, "59 seconds");
  CHECK(client.field("answer", begin("a")) == "in_progress");
  CHECK(client.ask("SELECT (outseal.take_over_operation(" + key_of("a") +
                   ", 1, 'x', '1 minute') IS NULL)::text") == "true");
  age(site, "2 seconds");
  CHECK(client.ask("SELECT (outseal.take_over_operation(" + key_of("a") +
                   ", 1, 'x', '1 minute', idle => '1 minute') IS NULL)::text") == "true");
  CHECK(client.field("answer || fence", begin("a")) == "resumed2");
  CHECK(client.field("answer", begin("a")) == "in_progress");
  const std::string hold = "SELECT outseal.hold_operation(" + key_of("a") + ", ";
  CHECK(client.ask(hold + "2, 'host/1', '1 hour')::text").starts_with("2"));
  age(site, "30 minutes");
  CHECK(client.field("answer", begin("a")) == "in_progress");
  // Given back.
  client.ask(hold + "2, NULL, '0')::text");
  CHECK(client.field("answer || fence", begin("a")) == "resumed3");
  CHECK(client.ask(hold + "2, 'host/1', '1 hour')::text") == "operation_fence");
  for (const std::string lease : {"-1 second", "2 days"})
    CHECK(client.ask(hold + "3, 'host/1', '" + lease + "')::text") == "22023");
}

TEST_CASE("what an old fence, or another operation's, would write is refused") {
  const Site site;
  const Client client{site};
  for (const std::string key : {"a", "b"}) {
    client.field("answer", begin(key));
    CHECK(client.field("step", Charge{.key = key}.begin()) == "call");
  }
  age(site, "2 minutes");
  CHECK(client.field("answer || fence", begin("a")) == "resumed2");
  age(site, "2 minutes");
  CHECK(client.field("answer || fence", begin("a")) == "resumed3");
  const std::string before = records(site);
  for (const int fence : {-1, 0, 1, 2, 4}) {
    const Charge charge{.key = "a", .fence = fence};
    const std::string held = key_of("a") + ", " + std::to_string(fence);
    for (const std::string& call :
         {charge.begin(), charge.answer("call", "applied"), charge.answer("ask", "not_found_yet"),
          charge.finish(), "hold_operation(" + held + ", 'x', '1 hour')",
          "hold_operation(" + held + ", NULL, '0', 'charge')", "hand_over_operation(" + held + ")",
          "send_effect(" + held +
              ", 'charge', sha256('amount=5'), 'stripe', 'k', 'rerun', '9 days')",
          "send_effect(" + held + ", 'other', sha256('amount=5'), 'stripe', 'k', 'rerun')",
          "settle_effect(" + held + ", 'charge', 'confirmed')"}) {
      INFO(call);
      CHECK(client.ask("SELECT 1::text FROM outseal." + call) == "operation_fence");
    }
    CHECK(client.ask("SELECT (outseal.take_over_operation(" + held +
                     ", 'x', '1 minute') IS NULL)::text") == "true");
  }
  CHECK(client.ask("SELECT 1::text FROM outseal.settle_effect(" + key_of("nobody") +
                   ", 1, 'charge', 'confirmed')") == "operation_fence");
  CHECK(records(site) == before);
}

TEST_CASE("a request is sent again only inside of its window, whoever decides") {
  const Site site;
  const Client client{site};
  const Charge charge{.key = "a"};
  const std::string send =
      "send_effect(" + key_of("a") + ", 1, 'charge', sha256('amount=5'), 'stripe', 'k', 'rerun', ";
  client.field("answer", begin("a"));
  CHECK(client.field("step", charge.begin()) == "call");
  CHECK(client.field("state || retry_after", charge.answer("call", "uncertain")) ==
        "intended00:00:01");
  CHECK(client.field("step || attempts", charge.begin()) == "rerun2");
  age(site, "23 hours 54 minutes");
  CHECK(client.field("step || (call_for BETWEEN '50 seconds' AND '55 seconds')", charge.begin()) ==
        "reruntrue");
  age(site, "30 seconds");
  CHECK(client.field("step || (call_for < '30 seconds')", charge.begin()) == "reruntrue");
  age(site, "30 seconds");
  CHECK(client.field("step", charge.begin()) == "ask");
  CHECK(client.ask("SELECT outseal." + send + "'23 hours 55 minutes')::text") ==
        "effect_may_be_sent");
  CHECK(client.ask("SELECT outseal." + send + "NULL)::text") == "effect_may_be_sent");
  // No answer, and then one that is no proof yet.
  Charge asked = charge;
  asked.more += ", tried => '{ask}'";
  CHECK(client.field("state", charge.answer("ask", "not_found_yet", ", asked_at => now()")) ==
        "intended");
  CHECK(client.field("step", charge.begin()) == "ask");
  age(site, "11 minutes");
  CHECK(client.field("state || coalesce(retry_after::text, '')",
                     charge.answer("ask", "not_found_yet", ", asked_at => now()")) == "intended");
  CHECK(client.field("step || attempts", charge.begin()) == "call5");
  // It was a new one, but the provider's window has begun with the first.
  CHECK(client.field("step", charge.begin()) == "ask");
  CHECK(client.field("step || state", asked.begin()) == "handed_overunknown");
  CHECK(client.field("answer", begin("a")) == "unknown");
  age(site, "1 day");
  CHECK(client.field("answer", begin("a")) == "unknown");
  // An operator decides, and the operation may be resumed.
  site.ask("UPDATE outseal.effect SET state = 'applied', decided_by = 'ann'");
  CHECK(client.field("answer || fence", begin("a")) == "resumed2");
  CHECK(client.field("step || state", Charge{.key = "a", .fence = 2}.begin()) == "recordedapplied");
}

TEST_CASE("a provider that ignores keys is left alone while a request may be on its way") {
  const Site site;
  const Client client{site};
  Charge charge{.key = "a", .policies = "ask", .more = ""};
  client.field("answer", begin("a"));
  CHECK(client.field("step", charge.begin()) == "call");
  CHECK(client.field("step || (wait_until - decided_at > '2 minutes 55 seconds')",
                     charge.begin()) == "waittrue");
  // Until the lease of whoever has sent it ends, and two minutes longer.
  age(site, "61 seconds");
  CHECK(client.field("answer", begin("a")) == "resumed");
  charge.fence = 2;
  CHECK(client.field("step", charge.begin()) == "wait");
  age(site, "2 minutes");
  CHECK(client.field("step", charge.begin()) == "ask");
  CHECK(client.field("state", charge.answer("ask", "not_applied_proven")) == "intended");
  CHECK(client.field("step", charge.begin()) == "call");
  CHECK(client.field("state", charge.answer("call", "not_sent")) == "intended");
  CHECK(client.field("step", charge.begin()) == "call");
}

TEST_CASE("a cancellation, a refusal and a dispute are settled as what they are") {
  const Site site;
  const Client client{site};
  const std::string cancels = ", cancels_by_key => true, max_in_flight => '0'";
  Charge charge{.key = "a", .policies = "cancel_by_key", .more = cancels};
  client.field("answer", begin("a"));
  client.field("step", charge.begin());
  client.field("state", charge.answer("call", "uncertain"));
  CHECK(client.field("step", charge.begin()) == "cancel");
  CHECK(client.field("state", charge.answer("cancel", "cancelled")) == "not_applied");
  CHECK(client.field("state", charge.answer("cancel", "cancelled")) == "effect_is_intended");
  for (const std::string key : {"b", "c"}) {
    charge.key = key;
    client.field("answer", begin(key));
    client.field("step", charge.begin());
  }
  charge.key = "b";
  CHECK(client.field("state", charge.answer("call", "refused")) == "failed");
  CHECK(client.field("finish_operation", charge.finish()).empty());
  charge.key = "c";
  CHECK(client.field("state", charge.answer("call", "applied", ", 'ch', 501, 'EUR'")) ==
        "disputed");
  CHECK(client.field("answer", begin("c")) == "unknown");
  CHECK(site.ask("SELECT evidence FROM outseal.effect WHERE state = 'disputed'") ==
        "asked for 500 minor units of EUR, the provider says 501 minor units of EUR");
}

TEST_CASE("bad input is refused by name, and changes nothing") {
  const Site site;
  const Client client{site};
  const Charge charge{.key = "a"};
  client.field("answer", begin("a"));
  client.field("step", charge.begin());
  const std::string before = records(site);
  Charge wrong = charge;
  wrong.request = "amount=6";
  CHECK(client.field("step", wrong.begin()) == "effect_request_is_same");
  wrong = charge;
  wrong.policies = "retry";
  CHECK(client.field("step", wrong.begin()) == "22023");
  wrong = charge;
  wrong.more = ", replays => 'some'";
  CHECK(client.field("step", wrong.begin()) == "22023");
  CHECK(client.field("state", charge.answer("call", "cannot_tell")) == "22023");
  CHECK(client.field("state", charge.answer("recorded", "applied")) == "22023");
  CHECK(client.ask("SELECT outseal.settle_effect(" + key_of("a") +
                   ", 1, 'charge', 'applied')::text") == "22023");
  const std::string other = "SELECT outseal.send_effect(" + key_of("a") +
                            ", 1, 'other', sha256('x'), 'stripe', 'k', 'ask', NULL, ";
  CHECK(client.ask(other + "5)::text") == "effect_amount_has_currency");
  CHECK(client.ask(other + "-5, 'EUR')::text") == "effect_amount_not_negative");
  CHECK(client.ask(other + "5, 'EUR', '[]')::text") == "effect_attributes_is_object");
  CHECK(client.field("finish_operation", "finish_operation(" + key_of("a") + ", 1, 'done', 200)") ==
        "22023");
  CHECK(records(site) == before);
}

TEST_CASE("of 8 clients that begin a key at once, one has it") {
  const Site site;
  constexpr int kKeys = 25;
  std::atomic<int> begun = 0;
  std::atomic<int> others = 0;
  std::vector<std::thread> clients;
  for (int i = 0; i < 8; ++i)
    clients.emplace_back([&] {
      const Client client{site};
      for (int key = 0; key < 2 * kKeys; ++key) {
        // Each key is begun, and then, given back, taken over.
        const std::string name = "k" + std::to_string(key / 2);
        const std::string answer = client.field("answer", begin(name));
        if (answer == "begun" || answer == "resumed") {
          ++begun;
          if (key % 2 == 0)
            client.ask("SELECT outseal.hold_operation(" + key_of(name) + ", 1, NULL, '0')::text");
        } else {
          others += answer == "in_progress" ? 1 : 1'000'000;
        }
      }
    });
  for (std::thread& client : clients) client.join();
  CHECK(begun + others == 8 * 2 * kKeys);
  CHECK(site.ask("SELECT sum(fence) FROM outseal.idempotency") == std::to_string(begun.load()));
  CHECK(site.ask("SELECT count(*) FROM outseal.idempotency") == std::to_string(kKeys));
}

TEST_CASE("a row policy keeps services apart: no answer, hash or fence of another one is shown") {
  const Site site;
  const Client client{site};
  CHECK(client.field("answer", begin("a")) == "begun");
  client.field("step", Charge{.key = "a"}.begin());
  site.ask(
      "ALTER TABLE outseal.idempotency ENABLE ROW LEVEL SECURITY;"
      "CREATE POLICY other ON outseal.idempotency TO the_producer USING (scope = 'other');"
      "ALTER TABLE outseal.effect ENABLE ROW LEVEL SECURITY;"
      "CREATE POLICY other ON outseal.effect TO the_producer USING (EXISTS"
      " (SELECT FROM outseal.idempotency i WHERE i.key_hash = operation))");
  const std::string before = records(site);
  // Not by a connection of outseal's own, which takes what is hidden for an error.
  const auto session = site.session("the_producer");
  const auto ask = [&](const std::string& sql) {
    std::string value;
    *session << sql, soci::into(value);
    return value;
  };
  CHECK(ask("SELECT answer || coalesce(fence::text, '') FROM outseal." + begin("a")) ==
        "in_progress");
  CHECK(ask("SELECT state FROM outseal.operation_status(" + key_of("a") + ")") == "absent");
  CHECK(ask("SELECT count(*)::text FROM outseal.effect") == "0");
  CHECK(records(site) == before);
}
