#include "torture/sink_stage.h"

#include <cstdlib>
#include <random>
#include <stdexcept>
#include <thread>
#include <unordered_set>

namespace outseal::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

const std::vector<std::string> kRelayFlags{
    "--lease-ms",       std::to_string(kSinkStageLease.count()),
    "--poll-min-ms",    "1",
    "--poll-max-ms",    "5",
    "--backoff-min-ms", "5",
    "--backoff-max-ms", "40",
    "--batch-events",   "25"};

constexpr const char* kAcknowledged =
    "SELECT coalesce(max(acked_seq), 0) FROM outseal_subscription";

}  // namespace

SinkStage::SinkStage() : sink_{make_sink_server()}, traits_{sink_->traits()} {
  if (run(stage_.start_migrate()) != Exit{})
    throw std::runtime_error{"migration failed\n" + log_tail()};
}

void SinkStage::produce(std::uint64_t seed, std::uint64_t transactions) {
  if (run(stage_.start_producer(seed, 1, transactions)) != Exit{})
    throw std::runtime_error{"the producer failed\n" + log_tail()};
}

std::unique_ptr<Process> SinkStage::start_relay(const std::vector<std::string>& flags,
                                                const Environment& environment) const {
  std::vector<std::string> all = kRelayFlags;
  all.insert(all.end(), flags.begin(), flags.end());
  return stage_.start_relay_to(sink_->url(), all, environment);
}

Exit SinkStage::drain(const std::vector<std::string>& flags, const Environment& environment) const {
  std::vector<std::string> all{"--drain"};
  all.insert(all.end(), flags.begin(), flags.end());
  return run(start_relay(all, environment));
}

std::int64_t SinkStage::backlog() const {
  return stage_.number("SELECT coalesce(max(seq), 0) FROM outseal_outbox") -
         stage_.number(kAcknowledged);
}

bool SinkStage::database_is_locked() const {
  try {
    stage_.execute("PRAGMA busy_timeout = 300; BEGIN IMMEDIATE; ROLLBACK");
    return false;
  } catch (const std::runtime_error&) {
    return true;
  }
}

void SinkStage::wait_for_progress(std::int64_t count) const {
  const auto end = steady_clock::now() + std::chrono::seconds{30};
  const std::int64_t before = stage_.number(kAcknowledged);
  while (stage_.number(kAcknowledged) < before + count && backlog() > 0 &&
         steady_clock::now() < end)
    std::this_thread::sleep_for(milliseconds{3});
}

SinkStage::Balance SinkStage::balance() {
  std::unordered_set<std::string> ids;
  const std::vector<StoredEvent> stored = sink_->stored();
  for (const StoredEvent& event : stored) ids.insert(event.id.to_string());
  Balance balance{.committed = committed(),
                  .parked = stage_.number("SELECT count(*) FROM outseal_parked"
                                          " WHERE state IN ('parked', 'queued', 'discarded')"),
                  .stored = static_cast<std::int64_t>(stored.size())};
  const auto distinct = static_cast<std::int64_t>(ids.size());
  balance.lost = balance.committed - balance.parked - distinct;
  balance.duplicated = balance.stored - distinct;
  return balance;
}

std::int64_t SinkStage::refused_by_server() const {
  if (traits_.refusal.empty()) return 0;
  return stage_.number(
      "SELECT count(*) FROM outseal_parked WHERE cause = 'refused'"
      " AND instr(reason, '" +
      traits_.refusal + "') > 0");
}

std::vector<std::string> SinkStage::violations(Extent extent) {
  std::vector<StoredEvent> stored = sink_->stored();
  // Effects have no common order over all keys: what counts is that of each key.
  if (!traits_.has_positions)
    for (std::size_t at = 0; at < stored.size(); ++at) stored[at].position = Position{at + 1};
  return stage_.violations(extent, stored);
}

std::uint64_t seed_of_run() {
  const char* text = std::getenv("OUTSEAL_SEED");
  return text == nullptr ? std::random_device{}() : std::strtoull(text, nullptr, 10);
}

}  // namespace outseal::test
