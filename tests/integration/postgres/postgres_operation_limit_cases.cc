// Operations with effects by SQL functions: what they refuse.
#include <string>

#include "integration/postgres/postgres_operation_fixture.h"

using namespace outseal;
using namespace outseal::test;

TEST_CASE("what would bend the rules by a NULL, a sign or a month is refused") {
  const Site site;
  const Client client{site};
  CHECK(client.field("answer", begin("a")) == "begun");
  const Charge charge{.key = "a"};
  const std::string key = key_of("a");
  const std::string before = records(site);
  const auto refused = [&](const std::string& call) {
    INFO(call);
    const std::string code = client.ask("SELECT outseal." + call + "::text");
    CHECK((code == "22023" || code == "22004"));
  };
  for (const std::string idle : {"NULL", "'-1 day'", "'1000 mons -2999999 days'"})
    refused("take_over_operation(" + key + ", 1, 'x', '1 minute', " + idle + ")");
  for (const std::string lease :
       {"'100000 mons -2999999 days'", "'-24000 mons 720000 days'", "NULL", "'26 hours'"})
    refused("hold_operation(" + key + ", 1, 'x', " + lease + ")");
  for (const std::string more : {", response_retention => '0'", ", key_retention => '-1 day'",
                                 ", key_retention => NULL", ", key_retention => '6 days'"})
    refused("finish_operation(" + key + ", 1, 'succeeded', 201, 'done'" + more + ")");
  for (const std::string more :
       {", max_in_flight => NULL", ", max_in_flight => '-1 hour'", ", margin => '-1 hour'",
        ", lease_margin => '-1 hour'", ", lease => '5 seconds'", ", tried => NULL"})
    refused(Charge{.key = "a", .more = more}.begin());
  refused("begin_operation('payments', 'shop', 'a', NULL, 'host/1', '1 minute')");
  refused("begin_operation('payments', 'shop', 'a', sha256('x'), 'host/1', '1 minute', NULL)");
  CHECK(records(site) == before);
  CHECK(client.field("step", charge.begin()) == "call");
  refused(charge.answer("ask", "not_found_yet", ", asked_at => 'infinity'"));
  refused(charge.answer("ask", "not_found_yet", ", asked_at => now(), absence_after => '-1 day'"));
  CHECK(client.field("state", charge.answer("call", "applied", ", 'ch_1', 500, NULL")) ==
        "disputed");
}

TEST_CASE("a record that the library could not read, or a browser not bear, is refused") {
  const Site site;
  const Client client{site};
  CHECK(client.field("answer", begin("a")) == "begun");
  const auto finish = [&](const std::string& reply) {
    return client.field("finish_operation",
                        "finish_operation(" + key_of("a") + ", 1, 'succeeded', " + reply + ")");
  };
  CHECK(finish("1000, 'x'") == "idempotency_status_range");
  CHECK(finish("200, convert_to(repeat('x', 16777217), 'UTF8')") == "idempotency_body_length");
  CHECK(finish("200, 'x', E'a\\r\\nSet-Cookie: b'") == "idempotency_content_type_printable");
  CHECK(finish("200, 'x', 'text/plain', 'no json'") == "22P02");
  for (const std::string headers : {"[]", "{\"a\": 1}"})
    CHECK(finish("200, 'x', 'text/plain', '" + headers + "'") ==
          "idempotency_reply_headers_are_texts");
  CHECK(finish("200, 'x', 'text/plain', '{\"etag\": \"1\"}'").empty());
  // A producer begins nothing by itself: it could hide what it begins.
  CHECK(client.ask("INSERT INTO outseal.idempotency (key_hash, scope, fingerprint, state,"
                   " created_at) VALUES (" +
                   key_of("b") + ", 'payments', sha256('x'), 'in_progress', '9999-12-31')") ==
        "idempotency_open_has_fence");
}

TEST_CASE("who does not know the fence locks no record") {
  const Site site;
  const Client client{site};
  const Client neighbour{site};
  CHECK(client.field("answer", begin("a")) == "begun");
  neighbour.ask("BEGIN");
  neighbour.ask("SELECT outseal.take_over_operation(" + key_of("a") +
                ", 99, 'x', '1 minute')::text");
  client.ask("SET lock_timeout = '1s'");
  CHECK(client.ask("SELECT outseal.hold_operation(" + key_of("a") + ", 1, 'h', '1 minute')::text")
            .starts_with("2"));
  neighbour.ask("ROLLBACK");
}
