// A check: one question that the reconciler asks of the database and, for some, of the sinks.
//
// A check only reads. It walks in pages, so that no read transaction lasts long enough to hold back
// the write-ahead log, and it may run beside relays and services at work.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/number_range.h"
#include "model/finding.h"
#include "model/sink.h"
#include "outseal/ids.h"
#include "sql/connection.h"

namespace outseal::reconcile {

/// A subscription as the checks need it.
struct SubscriptionInfo {
  std::string name;
  std::vector<std::string> topics;
  std::string sink;  ///< What the relay was given, without secrets and parameters: to compare.
  std::string event_source;
  bool paused = false;
  Seq acked_seq;  ///< No event up to here waits for its acknowledgement.

  bool matches(std::string_view topic) const;
};

/// When a check speaks, and how much it says.
struct CheckOptions {
  using Range = NumberRange<std::chrono::milliseconds>;
  static constexpr std::chrono::milliseconds kGraceMin{0};
  static constexpr std::chrono::milliseconds kGraceMax = std::chrono::hours{24 * 366};
  static constexpr Range kGraceStuck{std::chrono::minutes{5}, kGraceMin, kGraceMax};
  static constexpr Range kGraceUnpublished{std::chrono::minutes{5}, kGraceMin, kGraceMax};
  static constexpr Range kGraceParked{std::chrono::hours{1}, kGraceMin, kGraceMax};
  static constexpr NumberRange<std::uint32_t> kFindings{100, 1, 10'000};

  /// How long an operation may be open before it counts as stuck.
  std::chrono::milliseconds grace_stuck = kGraceStuck.fallback;
  /// How long a committed event may wait for its acknowledgement.
  std::chrono::milliseconds grace_unpublished = kGraceUnpublished.fallback;
  /// How long an event may be parked before the warning becomes an error.
  std::chrono::milliseconds grace_parked = kGraceParked.fallback;
  /// Findings that a check keeps by name; more are counted. All of them are written in one
  /// transaction, which holds the write lock that long.
  std::size_t findings_max = kFindings.fallback;
  /// Only these subscriptions; empty: all.
  std::vector<std::string> subscriptions = {};

  /// @throws Error{invalid_config} naming every field that is out of range.
  void validate() const;
};

/// The sink of a subscription for reading; open() and deliver() are never called.
struct SinkForReading {
  std::unique_ptr<Sink> sink;  ///< Null if nobody said how it is reached.
  std::string why_not = {};    ///< Then: the reason, and what to do.
};
using SinkMaker = std::function<SinkForReading(const SubscriptionInfo&)>;
/// Told now and then how far a check is: done of about total; total 0: unknown.
using Progress =
    std::function<void(std::string_view check, std::uint64_t done, std::uint64_t total)>;

/// What every check works with.
struct CheckContext {
  sql::Connection& connection;
  const CheckOptions& options;
  std::vector<SubscriptionInfo> subscriptions;  ///< Those asked for.
  std::int64_t now_ms;                          ///< The database's clock when the run began.
  const SinkMaker& make_sink;
  const Progress& progress;
};

/// What a check says at its end.
class Report {
 public:
  struct Count {
    std::string_view what;  ///< Stable snake_case: "batches", "events", "operations", ...
    std::uint64_t count;
  };
  /// A subscription that could not be looked at.
  struct Skip {
    std::string subscription;
    std::string why;
    std::exception_ptr failure = {};  ///< Empty: it is in the nature of the sink.
  };

  explicit Report(std::size_t findings_max) : findings_max_{findings_max} {}

  void found(Finding finding);
  /// More of them that are not worth reading: they are only counted.
  void found_more(std::uint64_t count) { beyond_ += count; }
  void looked_at(std::string_view what, std::uint64_t count);
  void skip(Skip skip) { skips_.push_back(std::move(skip)); }

  const std::vector<Finding>& findings() const { return findings_; }
  /// How many more there were beyond the limit.
  std::uint64_t beyond() const { return beyond_; }
  const std::vector<Count>& counts() const { return counts_; }
  const std::vector<Skip>& skips() const { return skips_; }
  std::int64_t elapsed_ms = 0;

 private:
  std::size_t findings_max_;
  std::vector<Finding> findings_;
  std::set<Subject> subjects_;
  std::uint64_t beyond_ = 0;
  std::vector<Count> counts_;
  std::vector<Skip> skips_;
};

/// One check.
///
/// Threads: Not thread-safe; one thread at a time.
class Check {
 public:
  virtual ~Check() = default;
  /// Stable snake_case name, for --check and outseal_finding.check_name.
  virtual std::string_view name() const = 0;
  /// One line for --help: what it looks at.
  virtual std::string_view summary() const = 0;
  /// What to do about a finding of this kind.
  virtual std::string_view hint(std::string_view kind) const = 0;
  virtual void run(CheckContext& context, Report& report) = 0;
};

/// All checks, in the order in which they run.
std::vector<std::unique_ptr<Check>> all_checks();
/// @throws Error{invalid_argument} naming the known ones. Empty `names`: all.
std::vector<std::unique_ptr<Check>> select_checks(const std::vector<std::string>& names);
/// The hint of a stored finding; empty if its check is unknown to this version.
std::string hint_for(std::string_view check, std::string_view kind);

/// The subscriptions named, or all.
/// @throws Error{invalid_argument} if one does not exist.
std::vector<SubscriptionInfo> load_subscriptions(sql::Connection& connection,
                                                 const std::vector<std::string>& names);

/// Whether the subscription's cursor is of another cluster (PostgreSQL), until a rebase: its
/// numbers of transactions say nothing about this log. A check that compares with the log skips it
/// then.
bool is_of_another_cluster(sql::Connection& connection, const SubscriptionInfo& subscription);
inline constexpr const char* kAnotherCluster =
    "its cursor belongs to another cluster: outseal-relay rebase";

// The checks; see check.cc for their order.
std::unique_ptr<Check> make_stuck_operations_check();
std::unique_ptr<Check> make_unpublished_events_check();
std::unique_ptr<Check> make_passed_over_events_check();
std::unique_ptr<Check> make_untaken_topics_check();
std::unique_ptr<Check> make_journal_sink_check();
std::unique_ptr<Check> make_duplicate_outcomes_check();
std::unique_ptr<Check> make_parked_events_check();
std::unique_ptr<Check> make_audit_chain_check();

}  // namespace outseal::reconcile
