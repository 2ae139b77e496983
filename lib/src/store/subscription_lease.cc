// The lease: who leads a subscription, and since which epoch.
#include "base/failpoint.h"
#include "base/owner.h"
#include "outseal/error.h"
#include "store/subscription.h"

namespace outseal::store {
namespace {

/// No lease is longer (tools/option_table.cc). One that seems to be was written before the clock
/// was set back, and must not lock everybody out for that long.
constexpr std::chrono::milliseconds kLeaseMax = std::chrono::hours{1};

}  // namespace

Acquisition SubscriptionLog::acquire(std::string_view owner, std::chrono::milliseconds lease) {
  return sql::transact(connection_, kWriteWait, [&]() -> Acquisition {
    const sql::Use read{connection_.statement(sql::Query::read_subscription)};
    read->bind_text(0, name_);
    if (!read->step())
      throw Error{ErrorCode::refused,
                  "acquire",
                  "there is no subscription " + name_,
                  {.hint = "declare it with: outseal-relay run"}};
    const Cursor cursor{.after_seq = Seq{read->integer(1)},
                        .snap_from = std::string{read->text(9)},
                        .snap_to = std::string{read->text(10)}};
    std::optional<SourceIdentity> known;
    if (!read->is_null(11))
      known = {.system = std::string{read->text(11)}, .timeline = read->integer(12)};
    // Before the lease: that of a copied database means nothing, and who stands by retains as well.
    const SourceIdentity source = reader_->identify(cursor, known);

    if (read->text(13) == "paused")
      return {.granted = false, .paused = true, .state = {}, .holder = {}};

    const std::int64_t now = connection_.now_ms();
    const std::string holder{read->text(7)};
    const std::int64_t until = read->integer(8);
    const bool lasts = until > now && until - now <= kLeaseMax.count();
    if (!read->is_null(7) && holder != owner && lasts && !is_certainly_gone(holder))
      return {.granted = false,
              .paused = false,
              .state = {},
              .holder = holder,
              .remaining = std::chrono::milliseconds{until - now}};

    Acquisition acquisition{.granted = true, .paused = false, .state = {}, .holder = {}};
    SubscriptionState& state = acquisition.state;
    state.cursor = cursor;
    const sql::Use take{connection_.statement(sql::Query::acquire_lease)};
    take->bind_text(0, name_);
    take->bind_text(1, owner);
    take->bind(2, now + lease.count());
    take->bind(3, now);
    source.system.empty() ? take->bind_null(4) : take->bind_text(4, source.system);
    source.system.empty() ? take->bind_null(5) : take->bind(5, source.timeline);
    take->step();
    failpoint("relay.acquire");

    topics_ = topics_from_json(read->text(0));
    state.bound = Position{static_cast<std::uint64_t>(read->integer(2))};
    state.acked.position = Position{static_cast<std::uint64_t>(read->integer(3))};
    state.acked.event_id = read->event_id(4);
    state.epoch = epoch_ = Epoch{static_cast<std::uint64_t>(read->integer(5)) + 1};
    version_ = static_cast<std::uint64_t>(read->integer(6)) + 1;
    chain_ = chain_before(connection_, name_, advance(state.bound));
    if (auto acked = batch_before(connection_, name_, advance(state.acked.position)))
      state.mark = std::move(acked->mark);
    return acquisition;
  });
}

std::int64_t SubscriptionLog::lease_until(std::chrono::milliseconds lease) {
  return connection_.now_ms() + lease.count();
}

Written SubscriptionLog::renew(std::chrono::milliseconds lease) {
  return sql::transact(connection_, kWriteWait, [&] {
    const sql::Use update{connection_.statement(sql::Query::renew_lease)};
    update->bind_text(0, name_);
    update->bind(1, static_cast<std::int64_t>(epoch_.value()));
    update->bind(2, lease_until(lease));
    update->bind(3, connection_.now_ms());
    update->step();
    return connection_.changes() == 1 ? Written::done : Written::fenced;
  });
}

void SubscriptionLog::release() {
  sql::transact(connection_, kWriteWait, [&] {
    const sql::Use update{connection_.statement(sql::Query::release_lease)};
    update->bind_text(0, name_);
    update->bind(1, static_cast<std::int64_t>(epoch_.value()));
    update->bind(2, connection_.now_ms());
    update->step();
  });
}

}  // namespace outseal::store
