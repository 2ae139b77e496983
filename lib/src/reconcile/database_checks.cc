// The checks that need nothing but the database.
#include <algorithm>
#include <optional>

#include "base/hash.h"
#include "base/text.h"
#include "reconcile/check.h"
#include "store/audit.h"

namespace outseal::reconcile {
namespace {

constexpr std::int64_t kPageRows = 1'000;
constexpr std::int64_t kWaitingPageRows = 20'000;

std::string age(std::int64_t now_ms, std::int64_t since_ms) {
  const std::int64_t seconds = std::max<std::int64_t>(0, now_ms - since_ms) / 1'000;
  if (seconds < 120) return std::to_string(seconds) + " s";
  if (seconds < 7'200) return std::to_string(seconds / 60) + " min";
  if (seconds < 172'800) return std::to_string(seconds / 3'600) + " h";
  return std::to_string(seconds / 86'400) + " d";
}

std::string events(std::uint64_t count) {
  return std::to_string(count) + (count == 1 ? " event" : " events");
}

class StuckOperations final : public Check {
 public:
  std::string_view name() const override { return "stuck_operations"; }
  std::string_view summary() const override {
    return "idempotency records in progress without a live lease, or unknown";
  }
  std::string_view hint(std::string_view) const override {
    return "Find out by the business rows whether it took effect, then retry with the same key.";
  }

  void run(CheckContext& context, Report& report) override {
    const std::int64_t until = context.now_ms - context.options.grace_stuck.count();
    std::int64_t after_created = -1;
    std::string after_hash;
    std::uint64_t looked_at = 0;
    for (bool more = true; more;) {
      more = false;
      const sql::Use use{context.connection.statement(sql::Query::list_open_operations)};
      use->bind(0, context.now_ms);
      use->bind(1, until);
      use->bind(2, after_created);
      const std::string after = after_hash;
      use->bind_blob(3, after);
      use->bind(4, kPageRows);
      while (use->step()) {
        more = true;
        ++looked_at;
        after_hash = use->blob(0);
        after_created = use->integer(3);
        report.found({.subject = to_hex(use->blob(0)).substr(0, kSubjectDigits),
                      .severity = Severity::error,
                      .detail = describe(*use.operator->(), context.now_ms)});
      }
    }
    report.looked_at("operations", looked_at);
  }

 private:
  /// 128 bits of the key's hash name an operation well enough.
  static constexpr std::size_t kSubjectDigits = 32;

  static std::string describe(const sql::Statement& row, std::int64_t now_ms) {
    const bool unknown = row.text(2) == "unknown";
    std::string text = "an operation of scope '" + std::string{row.text(1)} + "' " +
                       (unknown ? "has an unknown outcome" : "is in progress") + ", begun " +
                       age(now_ms, row.integer(3)) + " ago, " + std::to_string(row.integer(4)) +
                       (row.integer(4) == 1 ? " attempt" : " attempts");
    if (!unknown && !row.is_null(6))
      text += ", lease of " + std::string{row.text(5)} + " ended " + age(now_ms, row.integer(6)) +
              " ago";
    return text;
  }
};

class DuplicateOutcomes final : public Check {
 public:
  std::string_view name() const override { return "duplicate_outcomes"; }
  std::string_view summary() const override {
    return "external effects with more than one outcome for one provider key";
  }
  std::string_view hint(std::string_view) const override {
    return "Compare the external references at the provider and reverse the surplus one.";
  }

  void run(CheckContext& context, Report& report) override {
    std::uint64_t looked_at = 0;
    Group group;
    std::string provider;
    std::string provider_key;
    std::int64_t id = 0;
    for (bool more = true; more;) {
      more = false;
      const std::string after_provider = provider;
      const std::string after_key = provider_key;
      const sql::Use use{context.connection.statement(sql::Query::list_outcomes)};
      use->bind_text(0, after_provider);
      use->bind_text(1, after_key);
      use->bind(2, id);
      use->bind(3, kPageRows);
      while (use->step()) {
        more = true;
        ++looked_at;
        if (use->text(0) != provider || use->text(1) != provider_key) {
          report_group(group, provider, provider_key, report);
          group = {};
          provider = use->text(0);
          provider_key = use->text(1);
        }
        id = use->integer(2);
        group.take(*use.operator->());
      }
    }
    report_group(group, provider, provider_key, report);
    report.looked_at("effects", looked_at);
  }

 private:
  /// The effects of one provider key.
  struct Group {
    std::uint64_t confirmed = 0;
    std::string first_reference;
    bool references_differ = false;
    std::string effects;

    void take(const sql::Statement& row) {
      if (row.text(3) == "confirmed") ++confirmed;
      const std::string_view reference = row.text(4);
      if (!reference.empty()) {
        if (first_reference.empty()) first_reference = reference;
        references_differ |= first_reference != reference;
      }
      if (row.text(3) != "confirmed" && reference.empty()) return;
      if (effects.size() > kEffectsBytesMax) return;
      effects += (effects.empty() ? "" : ", ") + std::to_string(row.integer(2));
      if (!reference.empty()) effects += " (" + std::string{reference} + ")";
    }
  };
  static constexpr std::size_t kEffectsBytesMax = 200;

  static void report_group(const Group& group, const std::string& provider,
                           const std::string& provider_key, Report& report) {
    if (group.confirmed < 2 && !group.references_differ) return;
    // The provider key is an idempotency key in the clear: only its hash may be shown.
    report.found({.subject = provider + "/" + to_hex(sha256(provider_key)).substr(0, 16),
                  .severity = Severity::critical,
                  .detail = std::to_string(group.confirmed) + " confirmed outcomes" +
                            (group.references_differ ? " with different references" : "") +
                            " for one key of provider '" + provider + "': effects " +
                            group.effects});
  }
};

class UnpublishedEvents final : public Check {
 public:
  std::string_view name() const override { return "unpublished_events"; }
  std::string_view summary() const override {
    return "committed events that no sink has acknowledged in time";
  }
  std::string_view hint(std::string_view subject) const override {
    if (subject == kNoSubscription) return "Start a relay: outseal-relay run --db URL --sink URL.";
    return "See whether its relay runs and what it logs: outseal-relay status.";
  }

  void run(CheckContext& context, Report& report) override {
    const std::int64_t until = context.now_ms - context.options.grace_unpublished.count();
    std::uint64_t subscriptions = 0;
    for (const SubscriptionInfo& subscription : context.subscriptions) {
      const Waiting waiting = count(context, subscription, until);
      ++subscriptions;
      if (waiting.count == 0) continue;
      report.found({.subject = subscription.name,
                    .severity = Severity::error,
                    .detail = describe(waiting, context.now_ms) +
                              (subscription.paused ? "; the subscription is paused" : "")});
    }
    if (subscriptions == 0 && context.options.subscriptions.empty()) {
      const SubscriptionInfo everything{.name = "",
                                        .topics = {"*"},
                                        .sink = {},
                                        .event_source = {},
                                        .paused = false,
                                        .acked_seq = {}};
      const Waiting waiting = count(context, everything, until);
      if (waiting.count != 0)
        report.found({.subject = std::string{kNoSubscription},
                      .severity = Severity::error,
                      .detail = describe(waiting, context.now_ms) +
                                ", and no relay has ever run on this database"});
    }
    report.looked_at("subscriptions", subscriptions);
  }

 private:
  /// No name of a subscription: those have no parentheses.
  static constexpr std::string_view kNoSubscription = "(no subscription)";

  struct Waiting {
    std::uint64_t count = 0;
    std::int64_t lowest_seq = 0;
    std::int64_t oldest_ms = 0;
  };

  static std::string describe(const Waiting& waiting, std::int64_t now_ms) {
    return events(waiting.count) + " not acknowledged, from seq " +
           std::to_string(waiting.lowest_seq) + " on, the oldest committed " +
           age(now_ms, waiting.oldest_ms) + " ago";
  }

  // A relay that acknowledges meanwhile only makes the count too high by what it does during the
  // walk, and none of that is counted unless it was overdue when the run began.
  static Waiting count(CheckContext& context, const SubscriptionInfo& subscription,
                       std::int64_t until) {
    Waiting waiting;
    std::int64_t after = subscription.acked_seq.value();
    while (const std::optional<std::int64_t> end = end_of_page(context.connection, after)) {
      const sql::Use use{context.connection.statement(sql::Query::count_waiting)};
      use->bind_text(0, subscription.name);
      use->bind(1, after);
      use->bind(2, *end);
      use->bind(3, until);
      while (use->step()) {
        if (!subscription.matches(use->text(0))) continue;
        if (waiting.count == 0 || use->integer(2) < waiting.lowest_seq)
          waiting.lowest_seq = use->integer(2);
        if (waiting.count == 0 || use->integer(3) < waiting.oldest_ms)
          waiting.oldest_ms = use->integer(3);
        waiting.count += static_cast<std::uint64_t>(use->integer(1));
      }
      after = *end;
    }
    return waiting;
  }

  static std::optional<std::int64_t> end_of_page(sql::Connection& connection, std::int64_t after) {
    const sql::Use use{connection.statement(sql::Query::end_of_page)};
    use->bind(0, after);
    use->bind(1, kWaitingPageRows);
    if (!use->step() || use->is_null(0)) return std::nullopt;
    return use->integer(0);
  }
};

class ParkedEvents final : public Check {
 public:
  std::string_view name() const override { return "parked_events"; }
  std::string_view summary() const override {
    return "events that were set aside, and the keys that wait behind them";
  }
  std::string_view hint(std::string_view) const override {
    return "Read why with outseal-relay parked list, then decide: parked redrive or parked "
           "discard.";
  }

  void run(CheckContext& context, Report& report) override {
    std::uint64_t keys = 0;
    std::uint64_t parked = 0;
    for (const SubscriptionInfo& subscription : context.subscriptions)
      walk(context, subscription, report, keys, parked);
    report.looked_at("parked_events", parked);
    report.looked_at("blocked_keys", keys);
  }

 private:
  static void walk(CheckContext& context, const SubscriptionInfo& subscription, Report& report,
                   std::uint64_t& keys, std::uint64_t& parked) {
    std::string key;
    bool first_page = true;
    for (bool more = true; more;) {
      more = false;
      const std::string after = key;
      const sql::Use use{context.connection.statement(sql::Query::list_parked_keys)};
      use->bind_text(0, subscription.name);
      use->bind_text(1, after);
      use->bind(2, first_page ? 1 : 0);
      use->bind(3, kPageRows);
      first_page = false;
      while (use->step()) {
        more = true;
        key = use->text(0);
        if (!key.empty()) ++keys;
        parked += static_cast<std::uint64_t>(use->integer(1));
        report.found(finding(subscription, *use.operator->(), context));
      }
    }
  }

  static Finding finding(const SubscriptionInfo& subscription, const sql::Statement& row,
                         const CheckContext& context) {
    const std::string key{row.text(0)};
    const std::int64_t parked_at = row.integer(4);
    const bool overdue = parked_at < context.now_ms - context.options.grace_parked.count();
    std::string detail = events(static_cast<std::uint64_t>(row.integer(1))) + " parked";
    if (row.integer(2) != 0) detail += ", " + std::to_string(row.integer(2)) + " of them queued";
    detail += ", the first at seq " + std::to_string(row.integer(3)) + ", since " +
              age(context.now_ms, parked_at);
    if (!key.empty()) detail += "; the key is blocked";
    return {.subject = subscription.name + (key.empty() ? "@no-key" : "@key:" + key),
            .severity = overdue ? Severity::error : Severity::warning,
            .detail = detail};
  }
};

class AuditChain final : public Check {
 public:
  std::string_view name() const override { return "audit_chain"; }
  std::string_view summary() const override { return "the hash chain of the audit trail"; }
  std::string_view hint(std::string_view) const override {
    return "Somebody edited the audit trail: compare it with a backup.";
  }

  void run(CheckContext& context, Report& report) override {
    if (const auto broken = store::verify_audit(context.connection))
      report.found({.subject = "audit", .severity = Severity::critical, .detail = *broken});
    report.looked_at("trails", 1);
  }
};

}  // namespace

std::unique_ptr<Check> make_stuck_operations_check() { return std::make_unique<StuckOperations>(); }
std::unique_ptr<Check> make_duplicate_outcomes_check() {
  return std::make_unique<DuplicateOutcomes>();
}
std::unique_ptr<Check> make_unpublished_events_check() {
  return std::make_unique<UnpublishedEvents>();
}
std::unique_ptr<Check> make_parked_events_check() { return std::make_unique<ParkedEvents>(); }
std::unique_ptr<Check> make_audit_chain_check() { return std::make_unique<AuditChain>(); }

}  // namespace outseal::reconcile
