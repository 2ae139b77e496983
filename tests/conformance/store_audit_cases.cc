// The rows that operations leave in the audit trail.
#include <memory>
#include <string>
#include <tuple>

#include "base/hash.h"
#include "conformance/effect_helpers.h"
#include "conformance/store_helpers.h"
#include "conformance/store_suite.h"
#include "operation/record.h"
#include "store/audit.h"

using namespace outseal;
using namespace outseal::test;

namespace {

struct Trail {
  std::unique_ptr<StoreUnderTest> store = make_store();
  std::unique_ptr<soci::session> session = store->session();
  std::unique_ptr<sql::Connection> connection = sql::open(store->url());

  ExecuteResult pay(const std::string& key, const Reply& reply = {}) const {
    return execute(*session, charge(key), charging(*session, reply), {.audit = true});
  }
  /// What a reconciler's run does before its checks.
  long sealed(const std::string& act) const {
    store::seal_audit(*connection);
    CHECK_FALSE(store::verify_audit(*connection).has_value());
    return count(*session, "outseal_audit WHERE act = '" + act + "'");
  }
};

}  // namespace

TEST_CASE("an operation of a scope that asks for it leaves one row in the audit trail") {
  const Trail trail;
  std::ignore = trail.pay("k1", {.status = 201});
  CHECK(trail.pay("k1").outcome == Outcome::replayed);
  std::ignore = trail.pay("k2", {.verdict = Verdict::final_failure, .status = 402});
  std::ignore = execute(*trail.session, charge("k3"), charging(*trail.session, {}));
  CHECK(trail.sealed("operation.succeeded") == 1);
  CHECK(trail.sealed("operation.failed") == 1);
  CHECK(count(*trail.session, "outseal_audit") == 2);
  CHECK(count(*trail.session,
              "outseal_audit WHERE detail = '{\"scope\":\"payments\",\"status\":201}'"
              " AND subject = 'operation " +
                  to_hex(operation::key_hash(charge("k1"))) + "' AND actor <> ''") == 1);
}

TEST_CASE("what is rolled back leaves none") {
  const Trail trail;
  const Reply later{.verdict = Verdict::retryable_failure};
  CHECK(trail.pay("k1", later).outcome == Outcome::released);
  CHECK_THROWS_AS(std::ignore = execute(*trail.session, charge("k1"),
                                        [](Transaction&) -> Reply { throw 1; }, {.audit = true}),
                  int);
  store::seal_audit(*trail.connection);
  CHECK(count(*trail.session, "outseal_audit") == 0);
}

TEST_CASE("an operation with an effect leaves its row with the outcome") {
  EffectFixture f;
  f.options.execute.audit = true;
  CHECK(f.execute(f.provider.effect()).outcome == Outcome::executed);
  const auto connection = sql::open(f.store->url());
  store::seal_audit(*connection);
  CHECK(count(*f.session, "outseal_audit WHERE act = 'operation.succeeded'") == 1);
}
