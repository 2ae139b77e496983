// The writing half: intent, acknowledgement, settlement. Every write is one short transaction that
// begins with a compare-and-set on (epoch, version), so that a relay that lost its lease changes
// nothing.
#include "store/subscription.h"

#include <utility>

#include "base/failpoint.h"
#include "base/hash.h"
#include "model/chain.h"
#include "model/stop_budget.h"
#include "outseal/error.h"
#include "sql/parked.h"

namespace outseal::store {
namespace {

/// Thrown inside a transaction to roll it back and report `written`.
struct Abandon {
  WriteOutcome written;
};

}  // namespace

SubscriptionLog::SubscriptionLog(sql::Connection& connection, std::string name,
                                 SinkEncoder& encoder, OpenConnection open_second)
    : connection_{connection},
      name_{std::move(name)},
      encoder_{encoder},
      reader_{make_log_reader(connection, std::move(open_second))},
      payload_bytes_max_{encoder.payload_bytes_max()} {
  // Beside the payload a row has less than this.
  constexpr std::uint64_t kRestBytesMax = 1U << 20U;
  connection.limit_values(payload_bytes_max_ + kRestBytesMax);
}

// --- Intent, acknowledgement, settlement ---------------------------------------------------------

sql::Fence SubscriptionLog::fence(std::chrono::milliseconds lease) {
  sql::Fence known{.subscription = name_,
                   .epoch = epoch_,
                   .version = next_version_,
                   .lease_until_ms = lease_until(lease),
                   .now_ms = connection_.now_ms()};
  if (mutant("no_epoch_check")) {
    const auto row = sql::read_subscription(connection_, name_).value();
    known.epoch = row.epoch;
    known.version = row.version;
  }
  return known;
}

/// After each write under a fence: `is_done` is what it returned.
void SubscriptionLog::require(bool is_done) {
  if (!is_done) throw Abandon{WriteOutcome::fenced};
  ++next_version_;
}

template <typename Body>
WriteOutcome SubscriptionLog::write(Body&& body) {
  next_version_ = version_;
  try {
    sql::transact(connection_, StopBudget::kWrite, std::forward<Body>(body));
  } catch (const Abandon& abandon) {
    return abandon.written;
  }
  version_ = next_version_;
  return WriteOutcome::done;
}

WriteOutcome SubscriptionLog::bind(const Batch& batch, const std::optional<Ack>& ack,
                                   std::chrono::milliseconds lease) {
  const bool empty = batch.entries.empty();
  const std::string chain =
      empty ? chain_ : chain_hash(chain_, batch.hash, batch.first, batch.size());
  failpoint("relay.before_intent");
  const bool plain = !empty && batch.parked.empty() && batch.kind == BatchKind::log;
  const auto in_steps = [&] {
    if (ack) write_ack(*ack, lease);
    require(sql::advance_subscription(connection_, fence(lease), batch, chain, incarnation()));
    write_parked(batch);
    if (!empty && !mutant("no_intent")) write_journal(batch, chain);
    failpoint("relay.in_intent");
  };
  const WriteOutcome written = plain && connection_.pipelines() && !mutant("no_intent")
                                   ? bind_at_once(batch, ack, lease, chain)
                                   : write(in_steps);
  failpoint("relay.after_intent");
  if (written == WriteOutcome::done) chain_ = chain;
  return written;
}

/// The intent of a plain batch as one statement.
WriteOutcome SubscriptionLog::bind_at_once(const Batch& batch, const std::optional<Ack>& ack,
                                           std::chrono::milliseconds lease,
                                           const std::string& chain) {
  next_version_ = version_;
  const sql::Fence now = fence(lease);
  failpoint("relay.in_intent");
  if (!sql::bind_batch(connection_, now, batch, chain, ack, incarnation()))
    return WriteOutcome::fenced;
  version_ = now.version + 1;
  return WriteOutcome::done;
}

/// The run of the server that the page was read from.
std::string_view SubscriptionLog::incarnation() const {
  return mutant("no_incarnation_check") ? std::string_view{} : reader_->incarnation();
}

void SubscriptionLog::write_parked(const Batch& batch) {
  for (const ParkedEntry& parked : batch.parked)
    if (!sql::park_event(connection_, name_, batch.kind, parked, connection_.now_ms()))
      throw Abandon{WriteOutcome::stale};
  if (batch.kind == BatchKind::log) return;
  for (std::size_t i = 0; i < batch.size(); ++i)
    if (!sql::redrive_event(connection_, name_, batch.entries[i].seq, advance(batch.first, i)))
      throw Abandon{WriteOutcome::stale};
}

void SubscriptionLog::write_journal(const Batch& batch, const std::string& chain) {
  sql::insert_journal(connection_, name_,
                      {.kind = batch.kind,
                       .first = batch.first,
                       .count = batch.size(),
                       .from = batch.from,
                       .to = batch.to,
                       .last_event_id = batch.entries.back().id,
                       .hash = batch.hash,
                       .chain_hash = chain,
                       .bound_at_ms = connection_.now_ms()},
                      epoch_);
}

void SubscriptionLog::write_ack(const Ack& ack, std::chrono::milliseconds lease) {
  require(sql::acknowledge_subscription(connection_, fence(lease), ack.tail));
  sql::acknowledge_journal(connection_, name_, ack, connection_.now_ms());
}

WriteOutcome SubscriptionLog::acknowledge(const Ack& ack, std::chrono::milliseconds lease) {
  failpoint("relay.before_ack");
  const WriteOutcome written = write([&] { write_ack(ack, lease); });
  failpoint("relay.after_ack");
  return written;
}

WriteOutcome SubscriptionLog::settle(const Batch& batch, std::size_t done, std::string_view reason,
                                     Cursor& cursor, std::chrono::milliseconds lease) {
  const Tail tail = batch.tail_after(done);
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
  const WriteOutcome written = write([&] {
    require(sql::settle_subscription(connection_, fence(lease), next, tail, chain));
    if (done > 0)
      sql::trim_journal(connection_, name_,
                        {.first = batch.first,
                         .count = done,
                         .to = {.after_seq = log ? batch.entries[done - 1].seq : next.after_seq},
                         .last_event_id = tail.event_id,
                         .hash = hash,
                         .chain_hash = chain},
                        connection_.now_ms());
    else
      sql::delete_journal(connection_, name_, batch.first);
    write_settled(batch, done, reason);
  });
  failpoint("relay.after_settle");
  if (written == WriteOutcome::done) {
    chain_ = chain;
    cursor = std::move(next);
  }
  return written;
}

/// Parks the refused event; what was redriven behind it goes back to where it was.
void SubscriptionLog::write_settled(const Batch& batch, std::size_t done, std::string_view reason) {
  sql::park_event(connection_, name_, batch.kind,
                  {.seq = batch.entries[done].seq, .behind = false, .reason = std::string{reason}},
                  connection_.now_ms());
  if (batch.kind == BatchKind::log) return;
  sql::undo_redrive(connection_, name_, advance(batch.first, done));
}

}  // namespace outseal::store
