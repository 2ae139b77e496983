// The lease: who leads a subscription, and since which epoch.
#include <utility>

#include "base/failpoint.h"
#include "base/owner.h"
#include "model/stop_budget.h"
#include "outseal/error.h"
#include "sql/lease.h"
#include "store/passage.h"
#include "store/subscription.h"

namespace outseal::store {
namespace {}  // namespace

Acquisition SubscriptionLog::acquire(std::string_view owner, std::chrono::milliseconds lease) {
  return sql::transact(connection_, StopBudget::kWrite, [&]() -> Acquisition {
    auto row = sql::read_subscription(connection_, name_);
    if (!row)
      throw Error{ErrorCode::refused,
                  "acquire",
                  "there is no subscription " + name_,
                  {.hint = "declare it with: outseal-relay run"}};
    // Before the lease: that of a copied database means nothing, and who stands by retains as well.
    const SourceIdentity source = reader_->identify(row->cursor, row->source);
    refuse_passed_over(connection_, row->cursor);

    if (row->paused) return {.granted = false, .paused = true, .state = {}, .holder = {}};

    const std::int64_t now = connection_.now_ms();
    const bool lasts = row->lease_until_ms > now && row->lease_until_ms - now <= kLease.max.count();
    if (row->lease_owner && *row->lease_owner != owner && lasts &&
        !is_certainly_gone(*row->lease_owner))
      return {.granted = false,
              .paused = false,
              .state = {},
              .holder = *row->lease_owner,
              .remaining = std::chrono::milliseconds{row->lease_until_ms - now}};

    sql::acquire_lease(connection_, name_,
                       {.owner = owner, .until_ms = now + lease.count(), .now_ms = now}, source);
    failpoint("relay.acquire");

    Acquisition acquisition{.granted = true, .paused = false, .state = {}, .holder = {}};
    SubscriptionState& state = acquisition.state;
    state.cursor = std::move(row->cursor);
    topics_ = std::move(row->topics);
    state.bound = row->bound;
    state.acked = row->acked;
    state.epoch = epoch_ = Epoch{row->epoch.value() + 1};
    version_ = row->version + 1;
    chain_ = chain_before(connection_, name_, advance(state.bound));
    if (auto acked = sql::find_batch_before(connection_, name_, advance(state.acked.position)))
      state.mark = std::move(acked->mark);
    return acquisition;
  });
}

std::int64_t SubscriptionLog::lease_until(std::chrono::milliseconds lease) {
  return connection_.now_ms() + lease.count();
}

WriteOutcome SubscriptionLog::renew(std::chrono::milliseconds lease) {
  return sql::transact(connection_, StopBudget::kWrite, [&] {
    const bool renewed =
        sql::renew_lease(connection_, name_, epoch_, lease_until(lease), connection_.now_ms());
    return renewed ? WriteOutcome::done : WriteOutcome::fenced;
  });
}

void SubscriptionLog::release() {
  sql::transact(connection_, StopBudget::kWrite,
                [&] { sql::release_lease(connection_, name_, epoch_, connection_.now_ms()); });
}

}  // namespace outseal::store
