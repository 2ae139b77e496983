// Models of what an operation with effects meets: its database and its provider.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "operation/effect_core.h"
#include "sim/random.h"

namespace outseal::sim {

using Milliseconds = std::chrono::milliseconds;

/// The record of one key, as a database keeps it; every call is one commit.
class OperationDatabase {
 public:
  explicit OperationDatabase(const Operation& operation) {
    record_.fingerprint = operation.fingerprint;
  }

  /// What its clock shows beside the true time.
  void set_clock(Milliseconds off) { off_ = off; }

  OperationView load(Milliseconds now) const;
  std::optional<OperationView> take_over(std::int64_t fence, Milliseconds lease, Milliseconds now);
  bool advance(const Advance& advance, Milliseconds now);
  /// @returns whether it is final from now on, by this call.
  bool finish(std::optional<std::int64_t> fence, const std::vector<Settle>& settled,
              const Reply& reply, Milliseconds now);
  /// An operator's word on an effect that waits for it.
  void decide(const std::string& effect, EffectState state);
  void drop_reply() { record_.reply.reset(); }

  OperationView::State state() const { return record_.state; }
  const std::vector<EffectRow>& effects() const { return record_.effects; }
  int finishes() const { return finishes_; }

 private:
  struct Times {
    std::optional<Milliseconds> first_sent;
    std::optional<Milliseconds> last_sent;
  };

  bool may_begin_or_write(std::optional<std::int64_t> fence) const;
  void settle(const std::vector<Settle>& settled, Milliseconds clock);
  void send(const Send& send, Milliseconds lease, Milliseconds clock);
  EffectRow* find(const std::string& name);

  OperationView record_;  ///< Its times are of the clock, and stand below.
  Milliseconds lease_until_{};
  std::map<std::string, Times> times_;
  Milliseconds off_{};
  int finishes_ = 0;
};

/// How a provider treats requests, as its profile promises, and how bad its network is.
struct ProviderPlan {
  ProviderProfile profile;
  std::uint64_t lost_percent = 0;     ///< Of the answers.
  std::uint64_t refused_percent = 0;  ///< Of the requests that are no repetitions.
  Milliseconds way_max{};             ///< Of a request; below ProviderProfile::max_in_flight.
  Milliseconds lag_max{};             ///< Of the look-up; below ProviderProfile::absence_after.
};

/// Threads: Not thread-safe; one thread at a time.
class Provider {
 public:
  explicit Provider(ProviderPlan plan) : plan_{std::move(plan)} {}

  const ProviderPlan& plan() const { return plan_; }

  /// A request leaves. @returns its number.
  std::size_t send(const std::string& key, Milliseconds now, Random& random);
  /// Lets everything arrive that does by `now`.
  void arrive(Milliseconds now, Random& random);
  /// The answer to a request, if it is there.
  std::optional<CallResult> answer(std::size_t request, Milliseconds now) const;
  AskResult ask(const std::string& key, Milliseconds now, Random& random) const;
  CancelResult cancel(const std::string& key, Random& random);

  /// How often the key has had its effect, without what was cancelled.
  int effects(const std::string& key) const;
  int requests(const std::string& key) const;
  /// How many of its requests were executed, be it to be refused, and not answered by what is kept.
  int executions(const std::string& key) const;
  bool is_quiet() const { return on_their_way_ == 0; }

 private:
  struct Request {
    std::string key;
    Milliseconds arrives;
    std::optional<CallResult> result = {};
    std::optional<Milliseconds> answered = {};  ///< None while it is on its way, or lost.
    bool has_arrived = false;
  };
  struct Known {
    int applied = 0;
    int requests = 0;
    int executions = 0;
    bool is_cancelled = false;
    std::optional<Milliseconds> first = {};  ///< When a key that is kept began its window.
    std::optional<CallResult> kept = {};
    Milliseconds visible{};  ///< To those who ask.
  };

  CallResult take(Known& known, const std::string& key, Milliseconds now, Random& random);

  ProviderPlan plan_;
  std::vector<Request> requests_;
  std::size_t on_their_way_ = 0;
  std::map<std::string, Known> known_;
};

}  // namespace outseal::sim
