// The check that proves it: what the sinks hold is what the journal bound and the outbox committed.
#include <array>

#include "outseal/error.h"
#include "reconcile/sink_comparison.h"

namespace outseal::reconcile {
namespace {

/// What to do about each kind of finding.
struct KindHint {
  std::string_view kind;
  std::string_view hint;
};
constexpr std::array kHints{
    KindHint{
        "missing",
        "Restore the sink from a copy; if only its end is gone, outseal-relay run --rebuild sends "
        "it again."},
    KindHint{"duplicate",
             "Somebody else wrote to the sink: remove the surplus one, or accept the finding."},
    KindHint{"order", "Somebody rearranged the sink or its database: restore one of them."},
    KindHint{"ghost",
             "Somebody else wrote to the sink, or the database lost history: compare backups."},
    KindHint{"foreign", "Find out who else writes to the sink, and give outseal one of its own."},
    KindHint{"altered", "Somebody edited the sink or the outbox: restore the event from a backup."},
    KindHint{"lost", "Somebody edited the cursor or the journal: append the event once more."},
    KindHint{"journal", "Somebody edited the database: compare it with a backup."},
    KindHint{"chain", "Somebody edited the database: compare it with a backup."},
};

class JournalSink final : public Check {
 public:
  std::string_view name() const override { return "journal_sink"; }
  std::string_view summary() const override {
    return "the journal against the sink: count and hash of each batch, duplicates, ghosts, gaps, "
           "order of keys";
  }
  std::string_view hint(std::string_view kind) const override {
    for (const KindHint& known : kHints)
      if (known.kind == kind) return known.hint;
    return {};
  }

  void run(CheckContext& context, Report& report) override {
    for (const SubscriptionInfo& subscription : context.subscriptions) {
      try {
        compare(context, subscription, report);
      } catch (const Error& error) {
        if (error.code() != ErrorCode::sink_unreachable) throw;
        report.skip({subscription.name, error.message(), std::current_exception()});
      }
    }
  }

 private:
  static void compare(CheckContext& context, const SubscriptionInfo& subscription, Report& report) {
    if (is_of_another_cluster(context.connection, subscription))
      return report.skip({subscription.name, kAnotherCluster});
    const auto [sink, why_not] = context.make_sink(subscription);
    if (sink == nullptr) return report.skip({subscription.name, why_not});
    if (!sink->features().readable) {
      report.skip({subscription.name, "its sink " + subscription.sink + " cannot be read back"});
      return;
    }
    SinkComparison{context, subscription, *sink, report}.run();
    report.looked_at("subscriptions", 1);
  }
};

}  // namespace

std::unique_ptr<Check> make_journal_sink_check() { return std::make_unique<JournalSink>(); }

}  // namespace outseal::reconcile
