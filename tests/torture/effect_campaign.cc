#include "torture/effect_campaign.h"

#include <signal.h>
#include <soci/soci.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <utility>

#include "outseal/outseal.h"
#include "support/scale.h"
#include "support/temp_folder.h"

namespace outseal::test {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

std::vector<EffectPlan> all_plans() {
  using enum ProviderModel::Delivery;
  std::vector<EffectPlan> plans;
  for (const int effects : {1, 2})
    for (const auto& policies : std::vector<std::vector<Policy>>{{Policy::rerun},
                                                                 {Policy::ask},
                                                                 {Policy::cancel_by_key},
                                                                 {Policy::rerun, Policy::ask},
                                                                 {Policy::hand_over}})
      for (const bool honours : {true, false})
        for (const auto& [delivery, name] :
             {std::pair{prompt, "prompt"}, {lost, "lost"}, {late, "late"}})
          plans.push_back(
              {effects,
               policies,
               {std::string{honours ? "honours-" : "ignores-"} + name, honours, delivery}});
  return plans;
}

/// A place where a process can be killed: the N-th time that it passes a failpoint.
struct Point {
  std::string name;
  int hit = 1;
};

/// How a process ended: as the operation's outcome, by an exception, or by the kill.
enum class End { finished, unknown, in_progress, threw, killed };

class Plan {
 public:
  Plan(const StoreUnderTest& store, const EffectPlan& plan, std::mt19937_64& random,
       EffectTally& tally)
      : store_{store}, plan_{plan}, random_{random}, tally_{tally} {}

  void run(std::uint64_t rounds) {
    const std::vector<Point> points = find_points();
    // Scaled down for slow builds: every n-th point, not the same ones in each plan.
    const std::size_t stride = std::max<std::size_t>(1, 100 / scaled(100));
    for (std::uint64_t round = 0; round < rounds; ++round)
      for (std::size_t at = random_() % stride; at < points.size(); at += stride)
        run_operation(&points[at]);
  }

 private:
  // --- Parent ------------------------------------------------------------------------------------

  /// Of a first attempt, in order; those of resumed ones go to resume_points_.
  std::vector<Point> find_points() {
    trace_ = folder_.file("trace");
    run_operation(nullptr);
    trace_.clear();
    std::vector<Point> points;
    std::map<std::string, int> hits;
    for (const std::string& name : first_trace_) points.push_back({name, ++hits[name]});
    return points;
  }

  void run_operation(const Point* point) {
    key_ = plan_.text() + " " + std::to_string(tally_.operations++);
    const std::int64_t before =
        number(*store_.session(), "SELECT coalesce(max(id), 0) FROM outseal_effect");
    End end = fork_attempt(point, false);
    if (point == nullptr) first_trace_ = read_trace();
    if (end == End::finished && point != nullptr) violation("the process was not killed");
    for (int attempts = 0; end != End::finished && end != End::unknown; ++attempts) {
      if (attempts == 30) return violation("it does not end");
      pass(std::vector<milliseconds>{2s, 20s, 61s, 150s}[random_() % 4]);
      Point next;
      const bool dies = point != nullptr && attempts < 3 && random_() % 2 == 0;
      if (dies) next = resume_points_[random_() % resume_points_.size()];
      end = fork_attempt(dies ? &next : nullptr, random_() % 2 == 0);
      if (end == End::threw) return violation("an attempt threw");
    }
    if (point == nullptr) keep_resume_points();
    pass(600s);  // Whatever is on its way arrives.
    (end == End::finished ? tally_.finished : tally_.unknown) += 1;
    check(end, before);
  }

  End fork_attempt(const Point* point, bool resumes) {
    const pid_t child = ::fork();
    if (child == 0) {
      if (point != nullptr)
        ::setenv("OUTSEAL_FAILPOINT", (point->name + ":" + std::to_string(point->hit)).c_str(), 1);
      if (!trace_.empty()) ::setenv("OUTSEAL_FAILPOINT_TRACE", trace_.c_str(), 1);
      ::_exit(static_cast<int>(attempt(resumes)));
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    if (WIFEXITED(status)) return static_cast<End>(WEXITSTATUS(status));
    if (WTERMSIG(status) != SIGKILL) violation("signal " + std::to_string(WTERMSIG(status)));
    ++tally_.kills;
    return End::killed;
  }

  std::vector<std::string> read_trace() const {
    std::ifstream file{folder_.file("trace")};
    std::vector<std::string> names;
    for (std::string name; std::getline(file, name);) names.push_back(name);
    return names;
  }

  void keep_resume_points() {
    std::set<std::string> names;
    for (const std::string& name : read_trace()) names.insert(name);
    for (const char* name : {"effect.before_take_over", "effect.after_take_over"})
      names.insert(name);
    for (const std::string& name : names)
      for (const int hit : {1, 2}) resume_points_.push_back({name, hit});
  }

  /// For everything that is not final, and for the provider.
  void pass(milliseconds time) {
    const auto session = store_.session();
    const bool sqlite = session->get_backend_name() == "sqlite3";
    const std::string less =
        " - " + std::to_string(time.count()) + (sqlite ? "" : " * interval '1 ms'");
    *session << in_dialect(sqlite ? "sqlite" : "postgresql",
                           "UPDATE outseal_idempotency SET lease_until = lease_until" + less +
                               " WHERE state = 'in_progress'");
    *session << in_dialect(sqlite ? "sqlite" : "postgresql",
                           "UPDATE outseal_effect SET first_sent_at = first_sent_at" + less +
                               ", last_sent_at = last_sent_at" + less +
                               " WHERE state = 'intended'");
    Ledger{folder_.file("ledger"), plan_.model}.pass(time);
  }

  void check(End end, std::int64_t before) {
    Ledger ledger{folder_.file("ledger"), plan_.model};
    const auto session = store_.session();
    const std::string sql = in_dialect(
        session->get_backend_name() == "sqlite3" ? "sqlite" : "postgresql",
        "SELECT state, provider_key FROM outseal_effect WHERE id > " + std::to_string(before));
    int effects = 0;
    int unknown = 0;
    const soci::rowset<soci::row> rows = (session->prepare << sql);
    for (const soci::row& row : rows) {
      ++effects;
      const auto state = row.get<std::string>(0);
      const auto key = row.get<std::string>(1);
      const auto charges = ledger.charges(key);
      unknown += state == "unknown" ? 1 : 0;
      if (charges > 1) violation("charged " + std::to_string(charges) + " times");
      if (state == "confirmed" && charges != 1) violation("confirmed, but not charged");
      if (state == "not_applied" && charges != 0) violation("not applied, but charged");
      if (state == "intended") violation("left intended");
      if (plan_.policies.front() == Policy::hand_over && ledger.requests(key) > 1)
        violation("sent again, although its policy is to hand over");
    }
    if (end == End::finished && (effects != plan_.effects || unknown > 0))
      violation("finished with " + std::to_string(effects) + " effects");
    if (end == End::unknown && unknown != 1) violation("unknown, but no effect is");
    const auto listed = number(
        *session,
        "SELECT count(*) FROM outseal_idempotency WHERE state IN ('in_progress', 'unknown')");
    if (listed != static_cast<std::int64_t>(tally_.unknown)) violation("a leftover is not listed");
    if (number(*session, "SELECT count(*) FROM outseal_outbox") !=
        static_cast<std::int64_t>(tally_.finished))
      violation("finished operations and events differ");
  }

  static std::int64_t number(soci::session& session, const std::string& sql) {
    long long value = 0;
    session << in_dialect(session.get_backend_name() == "sqlite3" ? "sqlite" : "postgresql", sql),
        soci::into(value);
    return value;
  }

  void violation(const std::string& what) { tally_.violations.push_back(key_ + ": " + what); }

  // --- Child -------------------------------------------------------------------------------------

  End attempt(bool resumes) const {
    try {
      const auto session = store_.session();
      if (session->get_backend_name() == "sqlite3") *session << "PRAGMA synchronous = OFF";
      Ledger ledger{folder_.file("ledger"), plan_.model};
      return end_of(resumes ? resume_one(*session, ledger) : execute_one(*session, ledger));
    } catch (const std::exception&) {
      return End::threw;
    }
  }

  ExecuteResult execute_one(soci::session& session, Ledger& ledger) const {
    Attempt attempt{session,
                    {.scope = "payments", .key = key_, .fingerprint = fingerprint("amount=5")}};
    if (auto known = attempt.begin()) return *known;
    return go_on(attempt, ledger);
  }

  ExecuteResult resume_one(soci::session& session, Ledger& ledger) const {
    auto attempt = resume(session, "payments");
    if (!attempt) return {Outcome::in_progress};
    return go_on(*attempt, ledger);
  }

  ExecuteResult go_on(Attempt& attempt, Ledger& ledger) const {
    for (int i = 0; i < plan_.effects; ++i) {
      const auto outcome = attempt.effect(
          {.name = "charge-" + std::to_string(i),
           .request = "amount=5",
           .provider = plan_.model.profile(),
           .policies = plan_.policies,
           .amount = Amount{500, "EUR"},
           .call = [&](EffectCall& call) { return ledger.request(call.provider_key()); },
           .ask = [&](EffectCall& call) { return ledger.ask(call.provider_key()); },
           .cancel = [&](EffectCall& call) { return ledger.cancel(call.provider_key()); }});
      if (!outcome.settled()) return attempt.leave();
    }
    return attempt.finish([](Transaction& tx) {
      append(tx, {.topic = "payments", .type = "paid"});
      return Reply{};
    });
  }

  static End end_of(const ExecuteResult& result) {
    if (result.outcome == Outcome::unknown) return End::unknown;
    return result.reply ? End::finished : End::in_progress;
  }

  const StoreUnderTest& store_;
  const EffectPlan& plan_;
  std::mt19937_64& random_;
  EffectTally& tally_;
  TempFolder folder_;  ///< Of the provider, whose commits wait for no disk.
  std::string trace_;
  std::vector<std::string> first_trace_;
  std::vector<Point> resume_points_;
  std::string key_;
};

}  // namespace

std::string EffectPlan::text() const {
  std::string all = std::to_string(effects) + " effect(s), " + model.name;
  for (const Policy policy : policies) all.append(", ").append(name_of(policy));
  return all;
}

EffectTally run_effect_campaign(std::uint64_t seed, std::uint64_t rounds) {
  EffectTally tally;
  std::mt19937_64 random{seed};
  const auto store = make_store();
  for (const EffectPlan& plan : all_plans()) {
    Plan{*store, plan, random, tally}.run(rounds);
    if (!tally.violations.empty()) break;
  }
  return tally;
}

}  // namespace outseal::test
