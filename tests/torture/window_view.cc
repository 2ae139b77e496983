#include "torture/window_view.h"

#include <doctest/doctest.h>

#include <chrono>
#include <sstream>
#include <utility>

namespace outseal::test {
namespace {

constexpr std::chrono::seconds kLease{60};

StoredEvent parse(std::string_view line) {
  std::istringstream fields{std::string{line}};
  std::uint64_t position = 0;
  std::string id;
  std::string key;
  fields >> position >> id >> key;
  return {Position{position}, EventId::parse(id).value_or(EventId{}), key == "-" ? "" : key};
}

}  // namespace

std::optional<std::string> LineSink::encode(const EventRow& row, Position position,
                                            std::string& out) {
  out += std::to_string(position.value()) + ' ' + row.id.to_string() + ' ';
  out.append(row.key.empty() ? "-" : row.key).append(" ").append(row.payload).append("\n");
  return std::nullopt;
}

LogView::LogView(sql::Connection& connection, const std::vector<std::string>& topics,
                 std::uint64_t seed, store::OpenConnection open_second)
    : connection_{connection}, open_second_{std::move(open_second)}, random_{seed} {
  log_.emplace(connection_, "main", sink_);
  log_->declare({.name = "main", .topics = topics, .sink = "file:x", .event_source = {}});
  start();
}

/// Knows nothing but what the database says.
void LogView::start() {
  log_.emplace(connection_, "main", sink_, open_second_);
  const Acquisition acquisition = log_->acquire("test", kLease);
  REQUIRE(acquisition.granted);
  const SubscriptionState& state = acquisition.state;
  cursor_ = state.cursor;
  tail_ = state.acked;
  ack_.reset();
  if (state.bound == state.acked.position) return;
  REQUIRE_FALSE(batches_.empty());
  const Batch& pending = batches_.back();
  REQUIRE(state.bound == pending.last());
  REQUIRE(advance(state.acked.position) == pending.first);
  read_again(pending);
  tail_ = pending.tail_after(pending.size());
  ack_ = Ack{tail_, pending.first, "mark"};
}

void LogView::read_again(const Batch& bound) {
  const Batch again = log_->read_journal(bound.first);
  REQUIRE(again.bytes == bound.bytes);
  REQUIRE(again.hash == bound.hash);
  REQUIRE(again.first == bound.first);
  REQUIRE(again.prior == bound.prior);
  REQUIRE(again.size() == bound.size());
}

void LogView::read_all_again() {
  for (const Batch& bound : batches_) read_again(bound);
}

store::PageLimits LogView::limits() {
  static constexpr std::size_t kBytes[] = {1, 60, 1U << 20U};
  return {.events_max = random_.between(1, 5), .bytes_max = kBytes[random_.below(3)]};
}

bool LogView::step() {
  if (random_.percent(8)) {
    start();
    ++restarts_;
  }
  const Batch batch = log_->read_page(cursor_, tail_, limits());
  if (batch.entries.empty() && batch.to == batch.from) return false;
  if (random_.percent(8)) {  // It dies with a page in its hands.
    start();
    ++restarts_;
    return true;
  }
  bind(batch);
  return true;
}

void LogView::bind(const Batch& batch) {
  if (ack_ && random_.percent(30)) {
    REQUIRE(log_->acknowledge(*ack_, kLease) == WriteOutcome::done);
    ack_.reset();
  }
  REQUIRE(log_->bind(batch, ack_, kLease) == WriteOutcome::done);
  ack_.reset();
  cursor_ = batch.to;
  const std::string& to = batch.to.snap_to.empty() ? batch.to.snap_from : batch.to.snap_to;
  if (windows_.empty() || windows_.back().from != batch.from.snap_from || windows_.back().to != to)
    windows_.push_back({batch.from.snap_from, to, {}});
  if (batch.entries.empty()) return;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    windows_.back().seqs.push_back(batch.entries[i].seq.value());
    read_.push_back(parse(batch.encoded(i)));
  }
  tail_ = batch.tail_after(batch.size());
  ack_ = Ack{tail_, batch.first, "mark"};
  batches_.push_back(batch);
}

void LogView::catch_up() {
  while (step()) {
  }
}

}  // namespace outseal::test
