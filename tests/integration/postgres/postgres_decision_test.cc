// What a person decides about an effect by SQL, as a user who is a reconciler and nothing else.
#include <doctest/doctest.h>

#include <memory>
#include <string>

#include "integration/postgres/postgres_fixture.h"
#include "integration/postgres/postgres_site.h"
#include "sql/connection.h"
#include "store/audit.h"

using namespace outseal;
using namespace outseal::test;

namespace {

constexpr const char* kOperation = "outseal.key_hash('payments', 'shop', 'a')";

/// A charge that its service has handed over.
struct Desk {
  Site site;
  std::unique_ptr<sql::Connection> service = open("the_producer");
  std::unique_ptr<sql::Connection> person = open("the_reconciler");

  Desk() {
    CHECK(begin() == "begun");
    CHECK(step() == "call");
  }

  std::unique_ptr<sql::Connection> open(const std::string& user) const {
    return sql::open(Url::parse("--db", site.url(user)));
  }
  /// The first field as text, or what the server refused it by: a constraint, or an SQLSTATE.
  static std::string ask(sql::Connection& connection, const std::string& sql) {
    try {
      const auto statement = connection.prepare(sql);
      return statement->step() ? std::string{statement->text(0)} : "nothing";
    } catch (const Error& error) {
      return error.constraint().empty() ? error.detail_code() : error.constraint();
    }
  }
  std::string begin() const {
    return ask(*service,
               "SELECT answer FROM outseal.begin_operation('payments', 'shop', 'a', sha256('r'),"
               " 'host/1')");
  }
  std::string step(int fence = 1) const {
    return ask(*service, std::string{"SELECT step FROM outseal.begin_effect("} + kOperation + ", " +
                             std::to_string(fence) +
                             ", 'host/1', 'charge', sha256('r'), 'stripe', amount_minor => 500,"
                             " currency => 'EUR')");
  }
  /// Its request left long ago.
  void hand_over() const {
    site.ask("UPDATE outseal.effect SET last_sent_at = first_sent_at - interval '1 hour'");
    CHECK(step() == "handed_over");
  }
  void let_lease_end() const {
    site.ask("UPDATE outseal.idempotency SET lease_until = now() - interval '1 s'");
  }
  std::string decide(const std::string& words) const {
    return ask(*person,
               "SELECT outseal.decide_effect((SELECT operation FROM outseal.effect), 'charge', " +
                   words + ")::text");
  }
  std::string version() const { return site.ask("SELECT version FROM outseal.effect"); }
};

}  // namespace

TEST_CASE("a decision by SQL sets the operation free, and is noted with it") {
  if (skipped_without_postgres()) return;
  const Desk desk;
  desk.hand_over();
  CHECK(desk.begin() == "unknown");
  const std::string seen = desk.version();
  CHECK(desk.decide(seen + ", 'applied', 'called them', 'ch_7', 400, 'EUR', 'ann'") ==
        std::to_string(std::stoi(seen) + 1));
  CHECK(desk.site.ask("SELECT actor || ' ' || act || ' ' || (subject = 'operation ' ||"
                      " encode(operation, 'hex')) || ' ' || (detail::json ->> 'user') || ' ' ||"
                      " (detail::json ->> 'was') || ' ' || (detail::json ->> 'reason')"
                      " FROM outseal.audit_pending, outseal.effect") ==
        "ann effect.applied true the_reconciler unknown called them");
  CHECK(store::seal_audit(*desk.person) == 1);
  CHECK_FALSE(store::verify_audit(*desk.person).has_value());
  CHECK(desk.site.ask("SELECT decided_by || '; ' || evidence || '; ' || external_ref || '; ' ||"
                      " amount_minor || '; ' || applied_minor FROM outseal.effect") ==
        "ann; no policy is left; called them; ch_7; 500; 400");
  CHECK(Desk::ask(*desk.service, std::string{"SELECT effects -> 0 ->> 'amount_minor' FROM"
                                             " outseal.operation_status("} +
                                     kOperation + ")") == "400");
  CHECK(desk.begin() == "resumed");
  CHECK(desk.step(2) == "recorded");
}

TEST_CASE("who decides by SQL without a name is the session's user") {
  if (skipped_without_postgres()) return;
  const Desk desk;
  desk.hand_over();
  desk.decide(desk.version() + ", 'abandoned', 'nobody knows'");
  CHECK(desk.site.ask("SELECT decided_by || (detail LIKE '%user%') FROM outseal.effect,"
                      " outseal.audit_pending") == "the_reconcilerfalse");
}

TEST_CASE("SQL refuses a decision about what is at work, settled, changed or absent") {
  if (skipped_without_postgres()) return;
  const Desk desk;
  const auto now = [&](const std::string& more) { return desk.decide(desk.version() + more); };
  CHECK(now(", 'not_applied', 'r'") == "operation_is_left");
  desk.let_lease_end();
  CHECK(desk.decide("77, 'not_applied', 'r'") == "effect_is_as_seen");
  CHECK(desk.decide("NULL, 'not_applied', 'r'") == "effect_is_as_seen");
  for (const char* wrong :
       {", 'confirmed', 'r'", ", NULL, 'r'", ", 'applied', ''", ", 'applied', NULL",
        ", 'applied', repeat('x', 4097)", ", 'abandoned', 'r', 'ch_7'",
        ", 'not_applied', 'r', NULL, 5, 'EUR'", ", 'applied', 'r', NULL, 5"})
    CHECK_MESSAGE(now(wrong) == "22023", wrong);
  CHECK(now(", 'applied', 'r', NULL, -5, 'EUR'") == "effect_applied_is_amount");
  CHECK(Desk::ask(*desk.person,
                  "SELECT outseal.decide_effect('', 'charge', 1, 'applied', 'r')"
                  "::text") == "effect_is_as_seen");
  CHECK(desk.site.ask("SELECT count(*) FROM outseal.audit_pending") == "0");
  CHECK(now(", 'not_applied', 'r'") != "effect_is_as_seen");
  CHECK(now(", 'abandoned', 'r'") == "effect_is_as_seen");
  CHECK(desk.site.ask("SELECT count(*) FROM outseal.audit_pending") == "1");
  // The attempt that still thinks to hold it is fenced.
  CHECK(desk.step() == "operation_fence");
  CHECK(desk.begin() == "resumed");
}

TEST_CASE("services and relays decide about no effect, and the reconciler's program does") {
  if (skipped_without_postgres()) return;
  const Desk desk;
  desk.hand_over();
  for (const char* user : {"the_producer", "the_relay", "the_sink", "nobody"})
    CHECK(Desk::ask(*desk.open(user),
                    "SELECT outseal.decide_effect(sha256(''), 'charge', 1,"
                    " 'applied', 'r')::text") == "42501");
  const auto run = [&](const std::vector<std::string>& words) {
    std::vector<std::string> all{"outseal-reconcile", "effects"};
    all.insert(all.end(), words.begin(), words.end());
    all.insert(all.end(), {"--db", desk.site.url("the_reconciler")});
    return run_program(all, desk.site.drill.log()).code;
  };
  CHECK(run({"list"}) == 1);
  const std::string operation =
      desk.site.ask("SELECT left(encode(operation, 'hex'), 32) FROM outseal.effect");
  const auto decide = [&](const std::string& version) {
    return run({"decide", operation, "charge", "--as", "not_applied", "--seen-version", version,
                "--reason", "they have no such charge", "--actor", "ann"});
  };
  const std::string seen = desk.version();
  CHECK(decide("77") == 5);
  CHECK(decide(seen) == 0);
  CHECK(decide(seen) == 5);
  CHECK(run({"list"}) == 0);
  CHECK(desk.site.ask("SELECT actor || act FROM outseal.audit") == "anneffect.not_applied");
  CHECK_FALSE(store::verify_audit(*desk.person).has_value());
  CHECK(desk.begin() == "resumed");
}
