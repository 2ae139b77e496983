#include "store/subscription_acts.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "base/owner.h"
#include "base/text.h"
#include "outseal/error.h"
#include "sql/halt.h"
#include "store/audit.h"
#include "store/status.h"
#include "store/subscription.h"
#include "store/turns.h"

namespace outseal::store {
namespace {

constexpr std::chrono::milliseconds kWait{5'000};

[[noreturn]] void refuse_unknown(const std::string& operation, std::string_view subscription) {
  throw Error{ErrorCode::invalid_argument,
              operation,
              "there is no subscription '" + std::string{subscription} + "'",
              {.hint = "see the names with: outseal-relay status"}};
}

[[noreturn]] void refuse(const std::string& operation, const std::string& message,
                         const std::string& hint) {
  throw Error{ErrorCode::refused, operation, message, {.hint = hint}};
}

std::string as_json(std::string_view text) {
  std::string json;
  append_json_string(json, text);
  return json;
}

struct Ends {
  Position bound;
  Tail acked;
};

/// Where the subscription stands; its row is locked, and nobody leads it.
Ends lock_unled(sql::Connection& connection, const std::string& operation,
                std::string_view subscription) {
  const auto row = sql::read_subscription(connection, subscription);
  if (!row) refuse_unknown(operation, subscription);
  const std::string holder = row->lease_owner.value_or("");
  if (!holder.empty() && row->lease_until_ms > connection.now_ms() && !is_certainly_gone(holder))
    refuse(operation, "a relay leads the subscription (" + holder + ")",
           "stop its relays first, or outseal-relay pause it; who leads: outseal-relay status");
  return {.bound = row->bound, .acked = row->acked};
}

/// What the new sink shows; closed again, so that the next relay can lock it.
OpenResult look_at(SinkSession& sink, const Tail& acked, const std::string& mark) {
  sink.resume_from(acked, mark);
  const OpenResult opened = sink.open();
  sink.close();
  if (opened.status == OpenResult::Status::refused)
    throw Error{ErrorCode::refused, "move", opened.detail, {.hint = opened.hint}};
  if (opened.status != OpenResult::Status::opened)
    throw Error{ErrorCode::sink_unreachable, "move", opened.detail, {.hint = opened.hint}};
  return opened;
}

void compare(const Ends& ends, const Tail& tail) {
  const bool is_end = tail == ends.acked;
  if (is_end || (tail.position > ends.acked.position && tail.position <= ends.bound)) return;
  const auto text = [](const Tail& of) {
    return of.position == Position{} ? std::string{"no event"}
                                     : "event " + of.event_id.to_string() + " at position " +
                                           std::to_string(of.position.value());
  };
  refuse("move",
         "the new sink ends with " + text(tail) + ", the subscription has acknowledged " +
             text(ends.acked),
         "copy the old sink, or begin a subscription of its own for the new one: outseal-relay run"
         " --subscription NAME");
}

}  // namespace

Moved move_subscription(sql::Connection& connection, std::string_view subscription,
                        const NewSink& target, const Act& act) {
  check_act("move", act);
  const auto known = sql::find_subscription(connection, subscription);
  if (!known) refuse_unknown("move", subscription);
  Moved moved{.from = known->sink, .tail = {}};
  const Ends before = sql::transact(connection, kWait,
                                    [&] { return lock_unled(connection, "move", subscription); });
  const auto batch =
      sql::find_batch_before(connection, subscription, advance(before.acked.position));
  // No transaction is open meanwhile: it may take its time.
  const OpenResult opened = look_at(target.sink, before.acked, batch ? batch->mark : "");
  moved.is_verified = opened.tail.has_value();
  moved.tail = opened.tail.value_or(before.acked);
  sql::transact(connection, kWait, [&] {
    const Ends ends = lock_unled(connection, "move", subscription);
    if (moved.is_verified) compare(ends, moved.tail);
    sql::fence_subscription(connection, subscription);
    sql::set_sink(connection, subscription, target.address, opened.identity);
    append_audit(connection,
                 {act.actor, "subscription.move", subscription,
                  "{\"from\":" + as_json(moved.from) + ",\"to\":" + as_json(target.address) +
                      ",\"position\":" + std::to_string(moved.tail.position.value()) +
                      ",\"verified\":" + (moved.is_verified ? "true" : "false") +
                      ",\"reason\":" + as_json(act.reason) + "}"});
  });
  return moved;
}

Removed remove_subscription(sql::Connection& connection, std::string_view subscription, bool force,
                            const Act& act) {
  check_act("remove", act);
  require_reason("remove", act);
  return sql::transact(connection, kWait, [&] {
    lock_unled(connection, "remove", subscription);
    const std::vector<SubscriptionStatus> all = read_status(connection);
    const auto status = std::find_if(all.begin(), all.end(), [&](const SubscriptionStatus& each) {
      return each.name == subscription && !each.sink.empty();
    });
    if (status == all.end()) refuse_unknown("remove", subscription);
    const Removed removed{.unpublished = status->waiting,
                          .parked = status->parked + status->queued};
    if (!force && (removed.unpublished > 0 || removed.parked > 0))
      refuse("remove",
             std::to_string(removed.unpublished) + " events are unpublished, and " +
                 std::to_string(removed.parked) + " parked or queued",
             "publish them with outseal-relay run --drain, decide about the parked ones; or give"
             " them up with --yes");
    as_owner("remove", [&] {
      sql::delete_journal_of(connection, subscription);
      sql::delete_parked_of(connection, subscription);
      sql::delete_subscription(connection, subscription);
      sql::clear_halt(connection, subscription);
    });
    append_audit(connection, {act.actor, "subscription.remove", subscription,
                              "{\"sink\":" + as_json(status->sink) +
                                  ",\"acked\":" + std::to_string(status->acked.value()) +
                                  ",\"unpublished\":" + std::to_string(removed.unpublished) +
                                  ",\"parked\":" + std::to_string(removed.parked) +
                                  ",\"reason\":" + as_json(act.reason) + "}"});
    return removed;
  });
}

}  // namespace outseal::store
