// outseal-relay status: how far each subscription is.
#include <algorithm>
#include <string>
#include <vector>

#include "base/text.h"
#include "cli/console.h"
#include "cli/database.h"
#include "relay_commands.h"
#include "store/status.h"

namespace outseal::tools {

namespace {

bool led(const store::SubscriptionStatus& status) {
  return !status.lease_owner.empty() && status.lease_remaining_ms > 0;
}

std::string lease_of(const store::SubscriptionStatus& status) {
  if (status.lease_owner.empty()) return "free";
  if (!led(status)) return "expired, " + printable(status.lease_owner);
  return printable(status.lease_owner) + ", " + format_duration_ms(status.lease_remaining_ms) +
         " left";
}

void print_json(const store::SubscriptionStatus& status) {
  JsonObject object;
  object.add("subscription", status.name).add("sink", status.sink).add("state", status.state);
  object.add("bound_position", status.bound.value()).add("acked_position", status.acked.value());
  object.add("waiting", status.waiting);
  object.add("waiting_is_minimum", status.waiting >= store::kWaitingCountMax);
  if (status.oldest_waiting_ms)
    object.add("oldest_waiting_ms", *status.oldest_waiting_ms);
  else
    object.add_null("oldest_waiting_ms");
  object.add("epoch", status.epoch.value());
  if (led(status))
    object.add("leader", status.lease_owner).add("lease_remaining_ms", status.lease_remaining_ms);
  else
    object.add_null("leader").add("lease_remaining_ms", 0);
  object.add("parked", status.parked).add("queued", status.queued);
  object.add("blocked_keys", status.blocked_keys);
  if (status.last_halt)
    object.add_raw("last_error", JsonObject{}
                                     .add("error", status.last_halt->error)
                                     .add("message", status.last_halt->message)
                                     .add("hint", status.last_halt->hint)
                                     .add("at", to_rfc3339(status.last_halt->at_ms))
                                     .text());
  else
    object.add_null("last_error");
  if (status.retention_note.empty())
    object.add_null("retention");
  else
    object.add("retention", status.retention_note);
  print_line(object.text());
}

void print_human(const store::SubscriptionStatus& status) {
  const bool many = status.waiting >= store::kWaitingCountMax;
  std::string waiting = std::to_string(status.waiting) + (many ? "+" : "");
  if (status.oldest_waiting_ms)
    waiting += ", oldest " + format_duration_ms(*status.oldest_waiting_ms);
  print_line(printable(status.name) +
             (status.sink.empty() ? ", not made yet" : " -> " + printable(status.sink)));
  print_line("  state         " + status.state);
  if (status.last_halt) {
    print_line("  last error    " + format_duration_ms(status.halted_ms) + " ago, " +
               printable(status.last_halt->error) + ": " + printable(status.last_halt->message));
    print_line("  hint          " + printable(status.last_halt->hint));
  }
  print_line("  published     position " + std::to_string(status.acked.value()) +
             (status.bound == status.acked
                  ? ""
                  : ", bound up to " + std::to_string(status.bound.value())));
  print_line("  waiting       " + waiting);
  print_line("  leader        " + lease_of(status) + ", epoch " +
             std::to_string(status.epoch.value()));
  print_line("  parked        " + std::to_string(status.parked) + ", queued " +
             std::to_string(status.queued) + ", blocked keys " +
             std::to_string(status.blocked_keys));
  if (!status.retention_note.empty())
    print_line("  retention     " + printable(status.retention_note));
}

}  // namespace

int relay_status(const Settings& settings) {
  const auto connection = open_database(settings);
  const auto all = store::read_status(*connection);
  const bool json = settings.toggle(Option::json);
  for (const store::SubscriptionStatus& status : all)
    json ? print_json(status) : print_human(status);
  if (all.empty() && !json) print_line("no subscription yet: outseal-relay run makes it");
  const bool any_halted =
      std::any_of(all.begin(), all.end(),
                  [](const store::SubscriptionStatus& status) { return status.state == "halted"; });
  return any_halted ? kExitFindings : kExitFine;
}

}  // namespace outseal::tools
