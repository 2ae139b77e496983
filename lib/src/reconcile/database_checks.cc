// The checks that need nothing but the database.
#include <algorithm>
#include <optional>

#include "base/hash.h"
#include "base/text.h"
#include "reconcile/check.h"
#include "sql/check.h"
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
  std::string_view hint(std::string_view kind) const override {
    if (kind == kUndecided)
      return "Ask the provider about its key, then: outseal-reconcile effects decide OPERATION "
             "EFFECT; a retry with the same key goes on from there.";
    return "Retry with the same key, or let its service complete it: what its effects have done is "
           "recorded.";
  }

  void run(CheckContext& context, Report& report) override {
    const sql::OpenSince since{
        .now_ms = context.now_ms,
        .created_until_ms = context.now_ms - context.options.grace_stuck.count()};
    const auto operations = sql::list_open_operations(
        context.connection, since, static_cast<std::int64_t>(context.options.findings_max));
    for (const sql::OpenOperation& operation : operations)
      report.found({.subject = {.scope = {},
                                .locator = to_hex(operation.key_hash).substr(0, kSubjectDigits),
                                .kind = operation.undecided.name.empty() ? "" : kUndecided},
                    .severity = Severity::error,
                    .detail = describe(operation, context.now_ms)});
    std::uint64_t looked_at = operations.size();
    if (looked_at == context.options.findings_max) {
      const std::uint64_t all = sql::count_open_operations(context.connection, since);
      report.found_more(all - std::min(all, looked_at));
      looked_at = std::max(all, looked_at);
    }
    report.looked_at("operations", looked_at);
  }

 private:
  /// 128 bits of the key's hash name an operation well enough.
  static constexpr std::size_t kSubjectDigits = 32;
  /// The kind of one that goes on only when somebody has decided about its effects.
  static constexpr const char* kUndecided = "undecided";

  static std::string describe(const sql::OpenOperation& operation, std::int64_t now_ms) {
    std::string text = "an operation of scope '" + operation.scope + "' " +
                       (operation.unknown ? "has an unknown outcome" : "is in progress") +
                       ", begun " + age(now_ms, operation.created_at_ms) + " ago, " +
                       std::to_string(operation.attempts) +
                       (operation.attempts == 1 ? " attempt" : " attempts");
    const std::string& owner = operation.lease_owner;
    if (!operation.unknown && operation.lease_until_ms)
      text += (owner.empty() ? ", given back " : ", lease of " + owner + " ended ") +
              age(now_ms, *operation.lease_until_ms) + " ago";
    const sql::UndecidedEffect& effect = operation.undecided;
    if (!effect.name.empty())
      text += "; effect '" + effect.name + "' at '" + effect.provider + "' is " + effect.state +
              ", provider key " + effect.provider_key +
              (effect.external_ref.empty() ? "" : ", reference " + effect.external_ref);
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
    sql::Effect last;
    while (true) {
      const auto page = sql::list_effects(context.connection, last, kPageRows);
      if (page.empty()) break;
      for (const sql::Effect& effect : page) {
        if (effect.provider != last.provider || effect.provider_key != last.provider_key) {
          report_group(group, last, report);
          group = {};
        }
        last = effect;
        group.take(effect);
      }
      looked_at += page.size();
    }
    report_group(group, last, report);
    report.looked_at("effects", looked_at);
  }

 private:
  /// The effects of one provider key.
  struct Group {
    std::uint64_t confirmed = 0;
    std::string first_reference;
    bool references_differ = false;
    std::string effects;

    void take(const sql::Effect& effect) {
      if (effect.confirmed) ++confirmed;
      const std::string& reference = effect.external_ref;
      if (!reference.empty()) {
        if (first_reference.empty()) first_reference = reference;
        references_differ |= first_reference != reference;
      }
      if (!effect.confirmed && reference.empty()) return;
      if (effects.size() > kEffectsBytesMax) return;
      effects += (effects.empty() ? "" : ", ") + std::to_string(effect.id);
      if (!reference.empty()) effects += " (" + reference + ")";
    }
  };
  static constexpr std::size_t kEffectsBytesMax = 200;

  /// `of`: any effect of the group.
  static void report_group(const Group& group, const sql::Effect& of, Report& report) {
    if (group.confirmed < 2 && !group.references_differ) return;
    // The provider key is an idempotency key in the clear: only its hash may be shown.
    report.found(
        {.subject = {.scope = {},
                     .locator = of.provider + "/" + to_hex(sha256(of.provider_key)).substr(0, 16),
                     .kind = {}},
         .severity = Severity::critical,
         .detail = std::to_string(group.confirmed) + " confirmed outcomes" +
                   (group.references_differ ? " with different references" : "") +
                   " for one key of provider '" + of.provider + "': effects " + group.effects});
  }
};

class UnpublishedEvents final : public Check {
 public:
  std::string_view name() const override { return "unpublished_events"; }
  std::string_view summary() const override {
    return "committed events that no sink has acknowledged in time";
  }
  std::string_view hint(std::string_view kind) const override {
    if (kind == kNoSubscription) return "Start a relay: outseal-relay run --db URL --sink URL.";
    return "See whether its relay runs and what it logs: outseal-relay status.";
  }

  void run(CheckContext& context, Report& report) override {
    const std::int64_t until = context.now_ms - context.options.grace_unpublished.count();
    std::uint64_t subscriptions = 0;
    for (const SubscriptionInfo& subscription : context.subscriptions) {
      const Waiting waiting = count(context, subscription, until);
      ++subscriptions;
      if (waiting.count == 0) continue;
      report.found({.subject = {.scope = Scope::of(subscription.name), .locator = {}, .kind = {}},
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
        report.found({.subject = {.scope = {}, .locator = {}, .kind = std::string{kNoSubscription}},
                      .severity = Severity::error,
                      .detail = describe(waiting, context.now_ms) +
                                ", and no relay has ever run on this database"});
    }
    report.looked_at("subscriptions", subscriptions);
  }

 private:
  static constexpr std::string_view kNoSubscription = "no_subscription";

  struct Waiting {
    std::uint64_t count = 0;
    Seq lowest;
    std::int64_t oldest_ms = 0;
  };

  static std::string describe(const Waiting& waiting, std::int64_t now_ms) {
    return events(waiting.count) + " not acknowledged, from seq " +
           std::to_string(waiting.lowest.value()) + " on, the oldest committed " +
           age(now_ms, waiting.oldest_ms) + " ago";
  }

  // A relay that acknowledges meanwhile only makes the count too high by what it does during the
  // walk, and none of that is counted unless it was overdue when the run began.
  static Waiting count(CheckContext& context, const SubscriptionInfo& subscription,
                       std::int64_t until) {
    Waiting waiting;
    Seq after = subscription.acked_seq;
    while (const auto end = sql::find_page_end(context.connection, after, kWaitingPageRows)) {
      for (const sql::WaitingTopic& topic :
           sql::count_waiting(context.connection, subscription.name,
                              {.after = after, .to = *end, .created_until_ms = until})) {
        if (!subscription.matches(topic.topic)) continue;
        if (waiting.count == 0 || topic.lowest < waiting.lowest) waiting.lowest = topic.lowest;
        if (waiting.count == 0 || topic.oldest_ms < waiting.oldest_ms)
          waiting.oldest_ms = topic.oldest_ms;
        waiting.count += topic.events;
      }
      after = *end;
    }
    return waiting;
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
    std::optional<std::string> after;
    while (true) {
      const auto page =
          sql::list_parked_keys(context.connection, subscription.name, after, kPageRows);
      if (page.empty()) return;
      for (const sql::ParkedKey& key : page) {
        if (!key.key.empty()) ++keys;
        parked += key.events;
        report.found(finding(subscription, key, context));
      }
      after = page.back().key;
    }
  }

  static Finding finding(const SubscriptionInfo& subscription, const sql::ParkedKey& parked,
                         const CheckContext& context) {
    const bool overdue =
        parked.parked_at_ms < context.now_ms - context.options.grace_parked.count();
    std::string detail = events(parked.events) + " parked";
    if (parked.queued != 0) detail += ", " + std::to_string(parked.queued) + " of them queued";
    detail += ", the first at seq " + std::to_string(parked.oldest.value()) + ", since " +
              age(context.now_ms, parked.parked_at_ms);
    if (!parked.key.empty()) detail += "; the key is blocked";
    return {.subject = {.scope = Scope::of(subscription.name),
                        .locator = parked.key.empty() ? "no-key" : "key:" + parked.key,
                        .kind = {}},
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
      report.found({.subject = {.scope = {}, .locator = "audit", .kind = {}},
                    .severity = Severity::critical,
                    .detail = *broken});
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
