// The writing half: intent, acknowledgement, settlement. Every write is one short transaction that
// begins with a compare-and-set on (epoch, version), so that a relay that lost its lease changes
// nothing.
#include "store/subscription.h"

#include <utility>

#include "base/failpoint.h"
#include "base/hash.h"
#include "model/chain.h"
#include "outseal/error.h"

namespace outseal::store {
namespace {

/// Thrown inside a transaction to roll it back and report `written`.
struct Abandon {
  Written written;
};

std::string_view text_of(BatchKind kind) { return kind == BatchKind::log ? "log" : "redrive"; }

void bind_snapshot(const sql::Use& statement, int index, const std::string& snapshot) {
  snapshot.empty() ? statement->bind_null(index) : statement->bind_text(index, snapshot);
}

}  // namespace

SubscriptionLog::SubscriptionLog(sql::Connection& connection, std::string name, Sink& sink,
                                 OpenConnection open_second)
    : connection_{connection},
      name_{std::move(name)},
      sink_{sink},
      reader_{make_log_reader(connection, std::move(open_second))} {}

// --- Intent, acknowledgement, settlement ---------------------------------------------------------

SubscriptionLog::Fence SubscriptionLog::fence() {
  if (mutant("no_epoch_check")) {
    const sql::Use read{connection_.statement(sql::Query::read_subscription)};
    read->bind_text(0, name_);
    read->step();
    return {read->integer(5), read->integer(6)};
  }
  return {static_cast<std::int64_t>(epoch_.value()), static_cast<std::int64_t>(next_version_)};
}

/// Runs an update whose first parameters are name, epoch and version.
void SubscriptionLog::compare_and_set(sql::Use& update) {
  const Fence now = fence();
  update->bind_text(0, name_);
  update->bind(1, now.epoch);
  update->bind(2, now.version);
  update->step();
  if (connection_.changes() != 1) throw Abandon{Written::fenced};
  ++next_version_;
}

template <typename Body>
Written SubscriptionLog::write(Body&& body) {
  next_version_ = version_;
  try {
    sql::transact(connection_, kWriteWait, std::forward<Body>(body));
  } catch (const Abandon& abandon) {
    return abandon.written;
  }
  version_ = next_version_;
  return Written::done;
}

Written SubscriptionLog::bind(const Batch& batch, const std::optional<Ack>& ack,
                              std::chrono::milliseconds lease) {
  const bool empty = batch.entries.empty();
  const std::string chain =
      empty ? chain_ : chain_hash(chain_, batch.hash, batch.first, batch.size());
  failpoint("relay.before_intent");
  const bool plain = !empty && batch.parked.empty() && batch.kind == BatchKind::log;
  const Written written =
      plain && connection_.pipelines() && !mutant("no_intent")
          ? bind_at_once(batch, ack, lease, chain)
          : write([&] {
              if (ack) write_ack(*ack, lease);
              sql::Use update{connection_.statement(sql::Query::advance_subscription)};
              bind_advance(update, batch, lease, chain);
              compare_and_set(update);
              write_parked(batch);
              if (!empty && !mutant("no_intent")) write_journal(batch, chain);
              failpoint("relay.in_intent");
            });
  failpoint("relay.after_intent");
  if (written == Written::done) chain_ = chain;
  return written;
}

/// The intent of a plain batch as one statement.
Written SubscriptionLog::bind_at_once(const Batch& batch, const std::optional<Ack>& ack,
                                      std::chrono::milliseconds lease, const std::string& chain) {
  next_version_ = version_;
  const Fence now = fence();
  const std::string last_id = batch.entries.back().id.to_string();
  const std::string acked_id = ack ? ack->tail.event_id.to_string() : "";
  sql::Use bind{connection_.statement(sql::Query::bind_batch)};
  bind->bind_text(0, name_);
  bind->bind(1, now.epoch);
  bind->bind(2, now.version);
  bind_advance(bind, batch, lease, chain);
  ack ? bind->bind(13, static_cast<std::int64_t>(ack->tail.position.value())) : bind->bind_null(13);
  ack ? bind->bind_text(14, acked_id) : bind->bind_null(14);
  ack ? bind->bind(15, static_cast<std::int64_t>(ack->first.value())) : bind->bind_null(15);
  ack ? bind->bind_text(16, ack->mark) : bind->bind_null(16);
  bind->bind(17, static_cast<std::int64_t>(batch.first.value()));
  bind->bind(18, static_cast<std::int64_t>(batch.size()));
  bind->bind_text(19, last_id);
  bind->bind_blob(20, batch.hash);
  bind->bind(21, batch.from.is_inside() ? batch.from.after_seq.value() : 0);
  bind_snapshot(bind, 22, batch.from.snap_from);
  bind_snapshot(bind, 23, batch.to.window_end());
  failpoint("relay.in_intent");
  bind->step();
  if (connection_.changes() != 1) return Written::fenced;
  version_ = static_cast<std::uint64_t>(now.version) + 1;
  return Written::done;
}

/// Parameters 3 to 12 of what moves the cursor behind `batch`.
void SubscriptionLog::bind_advance(const sql::Use& update, const Batch& batch,
                                   std::chrono::milliseconds lease, const std::string& chain) {
  const bool empty = batch.entries.empty();
  const Position bound = empty ? batch.prior.position : batch.last();
  const Cursor& done = empty ? batch.to : batch.from;
  update->bind(3, batch.to.after_seq.value());
  update->bind(4, static_cast<std::int64_t>(bound.value()));
  update->bind_blob(5, chain);
  update->bind(6, lease_until(lease));
  update->bind(7, connection_.now_ms());
  update->bind(8, done.is_inside() ? done.after_seq.value() : 0);
  bind_snapshot(update, 9, batch.to.snap_from);
  bind_snapshot(update, 10, batch.to.snap_to);
  bind_snapshot(update, 11, done.snap_from);
  update->bind_text(12, mutant("no_incarnation_check") ? std::string_view{""}
                                                       : std::string_view{reader_->incarnation()});
}

void SubscriptionLog::write_parked(const Batch& batch) {
  const bool log = batch.kind == BatchKind::log;
  for (const ParkedEntry& parked : batch.parked) {
    const sql::Use park{
        connection_.statement(log ? sql::Query::park_event : sql::Query::park_again)};
    park->bind_text(0, name_);
    park->bind(1, parked.seq.value());
    park->bind_text(2, parked.behind ? "behind" : "refused");
    park->bind_text(3, parked.reason);
    park->bind(4, connection_.now_ms());
    park->step();
    if (connection_.changes() != 1) throw Abandon{Written::stale};
  }
  if (log) return;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const sql::Use redrive{connection_.statement(sql::Query::redrive_event)};
    redrive->bind_text(0, name_);
    redrive->bind(1, batch.entries[i].seq.value());
    redrive->bind(2, static_cast<std::int64_t>(batch.first.value() + i));
    redrive->step();
    if (connection_.changes() != 1) throw Abandon{Written::stale};
  }
}

void SubscriptionLog::write_journal(const Batch& batch, const std::string& chain) {
  const std::string last_id = batch.entries.back().id.to_string();
  const sql::Use insert{connection_.statement(sql::Query::insert_journal)};
  insert->bind_text(0, name_);
  insert->bind(1, static_cast<std::int64_t>(batch.first.value()));
  insert->bind(2, static_cast<std::int64_t>(batch.size()));
  insert->bind_text(3, text_of(batch.kind));
  insert->bind(4, batch.from.is_inside() ? batch.from.after_seq.value() : 0);
  insert->bind(5, batch.to.after_seq.value());
  insert->bind_text(6, last_id);
  insert->bind_blob(7, batch.hash);
  insert->bind_blob(8, chain);
  insert->bind(9, static_cast<std::int64_t>(epoch_.value()));
  insert->bind(10, connection_.now_ms());
  bind_snapshot(insert, 11, batch.from.snap_from);
  bind_snapshot(insert, 12, batch.to.window_end());
  insert->step();
}

void SubscriptionLog::write_ack(const Ack& ack, std::chrono::milliseconds lease) {
  const std::string id = ack.tail.event_id.to_string();
  sql::Use update{connection_.statement(sql::Query::acknowledge_subscription)};
  update->bind(3, static_cast<std::int64_t>(ack.tail.position.value()));
  update->bind_text(4, id);
  update->bind(5, lease_until(lease));
  update->bind(6, connection_.now_ms());
  compare_and_set(update);
  const sql::Use journal{connection_.statement(sql::Query::acknowledge_journal)};
  journal->bind_text(0, name_);
  journal->bind(1, static_cast<std::int64_t>(ack.first.value()));
  journal->bind_text(2, ack.mark);
  journal->bind(3, connection_.now_ms());
  journal->step();
}

Written SubscriptionLog::acknowledge(const Ack& ack, std::chrono::milliseconds lease) {
  failpoint("relay.before_ack");
  const Written written = write([&] { write_ack(ack, lease); });
  failpoint("relay.after_ack");
  return written;
}

Written SubscriptionLog::settle(const Batch& batch, std::size_t done, std::string_view reason,
                                Cursor& cursor, std::chrono::milliseconds lease) {
  const Tail tail = batch.tail_after(done);
  const std::string tail_id = tail.event_id.is_nil() ? "" : tail.event_id.to_string();
  const bool log = batch.kind == BatchKind::log;
  Cursor next = batch.to;
  if (log)
    next = {.after_seq = batch.entries[done].seq,
            .snap_from = batch.from.snap_from,
            .snap_to = batch.to.window_end()};
  std::string chain = chain_before(connection_, name_, batch.first);
  const std::string hash =
      sha256(std::string_view{batch.bytes}.substr(0, done == 0 ? 0 : batch.entries[done - 1].end));
  if (done > 0) chain = chain_hash(chain, hash, batch.first, done);
  failpoint("relay.before_settle");
  const Written written = write([&] {
    sql::Use update{connection_.statement(sql::Query::settle_subscription)};
    update->bind(3, next.after_seq.value());
    update->bind(4, static_cast<std::int64_t>(tail.position.value()));
    update->bind_text(5, tail_id);
    update->bind_blob(6, chain);
    update->bind(7, lease_until(lease));
    update->bind(8, connection_.now_ms());
    bind_snapshot(update, 9, next.snap_from);
    bind_snapshot(update, 10, next.snap_to);
    compare_and_set(update);
    const sql::Use journal{
        connection_.statement(done > 0 ? sql::Query::trim_journal : sql::Query::delete_journal)};
    journal->bind_text(0, name_);
    journal->bind(1, static_cast<std::int64_t>(batch.first.value()));
    if (done > 0) {
      journal->bind(2, static_cast<std::int64_t>(done));
      journal->bind(3, (log ? batch.entries[done - 1].seq : next.after_seq).value());
      journal->bind_text(4, tail_id);
      journal->bind_blob(5, hash);
      journal->bind_blob(6, chain);
      journal->bind(7, connection_.now_ms());
    }
    journal->step();
    write_settled(batch, done, reason);
  });
  failpoint("relay.after_settle");
  if (written == Written::done) {
    chain_ = chain;
    cursor = std::move(next);
  }
  return written;
}

/// Parks the refused event; what was redriven behind it goes back to where it was.
void SubscriptionLog::write_settled(const Batch& batch, std::size_t done, std::string_view reason) {
  const bool log = batch.kind == BatchKind::log;
  {
    const sql::Use park{
        connection_.statement(log ? sql::Query::park_event : sql::Query::park_again)};
    park->bind_text(0, name_);
    park->bind(1, batch.entries[done].seq.value());
    park->bind_text(2, "refused");
    park->bind_text(3, reason);
    park->bind(4, connection_.now_ms());
    park->step();
  }
  if (log) return;
  const sql::Use undo{connection_.statement(sql::Query::undo_redrive)};
  undo->bind_text(0, name_);
  undo->bind(1, static_cast<std::int64_t>(batch.first.value() + done));
  undo->step();
}

}  // namespace outseal::store
