// The loop around an operation.
#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "conformance/store_helpers.h"
#include "conformance/store_suite.h"
#include "outseal/run.h"

using namespace outseal;
using namespace outseal::test;
using namespace std::chrono_literals;

namespace {

/// A service whose connections are opened by run().
struct Service {
  std::unique_ptr<StoreUnderTest> store = make_store();
  std::unique_ptr<soci::session> session = {};
  int opened = 0;
  int attempts = 0;
  std::vector<std::string> retries = {};

  SessionOpener opener(int broken = 0) {
    return [this, broken]() -> Session {
      if (++opened <= broken) throw std::runtime_error{"no route"};
      session = store->session();
      return *session;
    };
  }
  RetryPolicy policy() {
    return {
        .attempts_max = 4,
        .backoff = 1ms,
        .backoff_max = 2ms,
        .observer = [this](const auto& seen) {
          if (const auto* retry = std::get_if<RetryCall>(&seen))
            retries.push_back(
                std::to_string(retry->attempt) + " " +
                (retry->error != nullptr ? std::string{name_of(retry->error->code())} : "other"));
        }};
  }
  /// Charges, after it has failed by each of `codes` in turn.
  Handler failing(std::vector<ErrorCode> codes) {
    return [this, codes](Transaction& tx) {
      *session << "UPDATE account SET balance = balance - 5 WHERE id = 1";
      const auto attempt = static_cast<std::size_t>(attempts++);
      if (attempt < codes.size()) throw Error{codes[attempt], "handler", "fails"};
      append(tx, paid());
      return Reply{.status = 201};
    };
  }
  ExecuteResult pay(const std::vector<ErrorCode>& codes, int broken = 0) {
    return run(opener(broken), charge("k1"), failing(codes), policy());
  }
  long charged() const { return 100 - balance(*store->session(), 1); }
};

}  // namespace

TEST_CASE("an operation is tried again as its error says, and takes effect once") {
  Service service;
  const auto result =
      service.pay({ErrorCode::conflict, ErrorCode::unreachable, ErrorCode::conflict});
  CHECK(result.outcome == Outcome::executed);
  CHECK(result.reply->status == 201);
  CHECK(service.attempts == 4);
  CHECK(service.opened == 2);  // A conflict keeps the connection.
  CHECK(service.charged() == 5);
  CHECK(service.retries == std::vector<std::string>{"1 conflict", "2 unreachable", "3 conflict"});
  CHECK(service.pay({}).outcome == Outcome::replayed);
}

TEST_CASE("what opens connections may fail as well") {
  Service service;
  CHECK(service.pay({}, 3).outcome == Outcome::executed);
  CHECK(service.opened == 4);
  CHECK(service.retries == std::vector<std::string>{"1 other", "2 other", "3 other"});
  Service never;
  CHECK_THROWS_AS(never.pay({}, 100), std::runtime_error);
  CHECK(never.opened == 4);
  CHECK(never.attempts == 0);
}

TEST_CASE("an error that must be fixed passes through at once, and so does any other exception") {
  for (const ErrorCode code :
       {ErrorCode::invalid_argument, ErrorCode::denied, ErrorCode::internal}) {
    Service service;
    CHECK(code_of([&] { return service.pay({code}); }) == code);
    CHECK(service.attempts == 1);
    CHECK(service.charged() == 0);
  }
  Service overtaken;  // The next attempt finds out by whom.
  CHECK(overtaken.pay({ErrorCode::lease_lost}).outcome == Outcome::executed);
  CHECK(overtaken.opened == 1);
  Service service;
  CHECK_THROWS_AS(
      std::ignore = run(
          service.opener(), charge("k1"), [](Transaction&) -> Reply { throw 7; }, service.policy()),
      int);
  CHECK(service.opened == 1);
}

TEST_CASE("attempts, time and a stop token end the loop with the last error") {
  Service service;
  const std::vector<ErrorCode> always(100, ErrorCode::conflict);
  CHECK(code_of([&] { return service.pay(always); }) == ErrorCode::conflict);
  CHECK(service.attempts == 4);
  RetryPolicy once = service.policy();
  once.longest = 0ms;
  CHECK(code_of([&] {
          return run(service.opener(), charge("k1"), service.failing(always), once);
        }) == ErrorCode::conflict);
  CHECK(service.attempts == 5);
  std::stop_source stop;
  stop.request_stop();
  RetryPolicy stopped = service.policy();
  stopped.stop = stop.get_token();
  CHECK(code_of([&] {
          return run(service.opener(), charge("k1"), service.failing(always), stopped);
        }) == ErrorCode::conflict);
  CHECK(service.attempts == 6);
  // A pause ends with it, too.
  RetryPolicy patient{.attempts_max = 2, .backoff = 1h, .backoff_max = 1h, .longest = 24h};
  std::stop_source later;
  patient.stop = later.get_token();
  patient.observer = [&](const Observation&) { later.request_stop(); };
  CHECK(code_of([&] {
          return run(service.opener(), charge("k1"), service.failing(always), patient);
        }) == ErrorCode::conflict);
}

TEST_CASE("a commit in doubt is not forgotten when what comes after it fails") {
  Service service;
  int calls = 0;
  const SessionWork work = [&](Session) -> ExecuteResult {
    if (++calls == 1) throw Error{ErrorCode::commit_in_doubt, "commit", "lost"};
    throw Error{ErrorCode::unreachable, "begin", "gone"};
  };
  CHECK(code_of([&] { return run(service.opener(), work, service.policy()); }) ==
        ErrorCode::commit_in_doubt);
  CHECK(calls == 4);
  calls = 0;
  const SessionWork broken = [&](Session) -> ExecuteResult {
    if (++calls == 1) throw Error{ErrorCode::commit_in_doubt, "commit", "lost"};
    throw Error{ErrorCode::schema_missing, "begin", "gone"};
  };
  CHECK(code_of([&] { return run(service.opener(), broken, service.policy()); }) ==
        ErrorCode::commit_in_doubt);
  CHECK(calls == 2);
  calls = 0;
  const SessionWork found = [&](Session session) -> ExecuteResult {
    if (++calls == 1) {
      std::ignore = execute(session, charge("k1"), charging(*service.session, {}));
      throw Error{ErrorCode::commit_in_doubt, "commit", "lost"};
    }
    return execute(session, charge("k1"), charging(*service.session, {}));
  };
  CHECK(run(service.opener(), found, service.policy()).outcome == Outcome::replayed);
  CHECK(service.charged() == 5);
}

TEST_CASE("results are not retried, and bad options are named") {
  Service service;
  const Handler busy = [&](Transaction&) {
    ++service.attempts;
    return Reply{.verdict = Verdict::retryable_failure, .status = 503};
  };
  CHECK(run(service.opener(), charge("k1"), busy, service.policy()).outcome == Outcome::released);
  CHECK(service.attempts == 1);
  CHECK(code_of([&] { return run(service.opener(), charge("k1"), busy, {.attempts_max = 0}); }) ==
        ErrorCode::invalid_config);
  CHECK(code_of([&] {
          return run(service.opener(), charge("k1"), busy, {.backoff = 10ms, .backoff_max = 5ms});
        }) == ErrorCode::invalid_config);
  CHECK(code_of([&] { return run({}, charge("k1"), busy); }) == ErrorCode::invalid_argument);
}
