#include "operation/front/limits.h"

#include <algorithm>
#include <utility>

#include "base/failpoint.h"

namespace outseal::front {
namespace {

VersionedFingerprint fingerprint_of(const Operation& operation) {
  return {operation.fingerprint_version, operation.fingerprint};
}

/// Whether `operation` is the same request; nothing if only the store can tell.
std::optional<bool> is_same(const Operation& operation, const VersionedFingerprint& known) {
  if (operation.fingerprint_version == known.version)
    return operation.fingerprint == known.fingerprint;
  for (const VersionedFingerprint& older : operation.older_fingerprints)
    if (older.version == known.version) return older.fingerprint == known.fingerprint;
  return std::nullopt;
}

/// What another request of the key gets, after this one got `result`; nothing if it has to try.
std::optional<ExecuteResult> as_repetition(const ExecuteResult& result) {
  switch (result.outcome) {
    case Outcome::executed:
    case Outcome::replayed: {
      ExecuteResult again = result;
      again.outcome = Outcome::replayed;
      return again;
    }
    case Outcome::expired:
    case Outcome::unknown:
      return result;
    default:
      return std::nullopt;
  }
}

}  // namespace

KeyRate::KeyRate(const HttpFrontOptions& options)
    : per_ms_{options.new_keys_per_minute / 60'000.0},
      burst_{static_cast<double>(options.new_keys_burst)},
      principals_max_{options.principals_max} {}

std::optional<std::chrono::milliseconds> KeyRate::take(const std::string& principal,
                                                       Clock::time_point now) {
  if (per_ms_ == 0 || mutant("front_no_rate")) return std::nullopt;
  const std::lock_guard lock{mutex_};
  const auto known = by_principal_.find(principal);
  if (known != by_principal_.end()) {
    buckets_.splice(buckets_.begin(), buckets_, known->second);
  } else {
    buckets_.push_front({principal, burst_, now});
    by_principal_.emplace(buckets_.front().principal, buckets_.begin());
    if (buckets_.size() > principals_max_) {
      by_principal_.erase(buckets_.back().principal);
      buckets_.pop_back();
    }
  }
  Bucket& bucket = buckets_.front();
  const std::chrono::duration<double, std::milli> passed = now - bucket.filled;
  bucket.tokens = std::min(burst_, bucket.tokens + std::max(0.0, passed.count()) * per_ms_);
  bucket.filled = std::max(bucket.filled, now);
  if (bucket.tokens < 1)
    return std::chrono::milliseconds{static_cast<std::int64_t>((1 - bucket.tokens) / per_ms_) + 1};
  bucket.tokens -= 1;
  return std::nullopt;
}

void KeyRate::give_back(const std::string& principal) {
  const std::lock_guard lock{mutex_};
  const auto known = by_principal_.find(principal);
  if (known != by_principal_.end())
    known->second->tokens = std::min(burst_, known->second->tokens + 1);
}

ReplyCache::ReplyCache(const HttpFrontOptions& options)
    : bytes_max_{options.cache_bytes_max},
      entries_max_{options.cache_entries_max},
      ttl_{options.cache_ttl} {}

void ReplyCache::drop(List::iterator kept) {
  bytes_ -= kept->bytes;
  by_hash_.erase(kept->key_hash);
  kept_.erase(kept);
}

std::optional<ExecuteResult> ReplyCache::find(const std::string& key_hash,
                                              const Operation& operation, Clock::time_point now) {
  if (!is_on()) return std::nullopt;
  const std::lock_guard lock{mutex_};
  const auto known = by_hash_.find(key_hash);
  if (known == by_hash_.end()) return std::nullopt;
  const List::iterator kept = known->second;
  if (now >= kept->until && !mutant("front_cache_forever")) {
    drop(kept);
    return std::nullopt;
  }
  const std::optional<bool> same = is_same(operation, kept->fingerprint);
  if (!same) return std::nullopt;
  if (!*same) return ExecuteResult{Outcome::mismatch};
  kept_.splice(kept_.begin(), kept_, kept);
  return kept->result;
}

void ReplyCache::keep(const std::string& key_hash, const Operation& operation,
                      const ExecuteResult& result, Clock::time_point now) {
  if (!is_on() || result.outcome != Outcome::executed || !result.reply) return;
  constexpr std::size_t kOverhead = 512;  // Of lists, hashes and empty strings.
  std::size_t bytes = kOverhead + result.reply->body.size() + result.reply->content_type.size();
  for (const auto& [name, value] : result.reply->headers)
    bytes += name.size() + value.size() + 2 * sizeof(std::string);
  if (bytes > bytes_max_) return;
  const std::lock_guard lock{mutex_};
  if (const auto known = by_hash_.find(key_hash); known != by_hash_.end()) drop(known->second);
  kept_.push_front(
      {key_hash, fingerprint_of(operation), *as_repetition(result), bytes, now + ttl_});
  by_hash_.emplace(kept_.front().key_hash, kept_.begin());
  bytes_ += bytes;
  while (bytes_ > bytes_max_ || kept_.size() > entries_max_) drop(std::prev(kept_.end()));
}

std::optional<Flights::Lead> Flights::lead(const std::string& key_hash,
                                           const Operation& operation) {
  const std::lock_guard lock{mutex_};
  const auto [place, is_new] = flights_.try_emplace(key_hash);
  if (!is_new) return std::nullopt;
  place->second = std::make_shared<Flight>();
  place->second->fingerprint = fingerprint_of(operation);
  return std::optional<Lead>{std::in_place, *this, key_hash};
}

Flights::Lead::~Lead() {
  if (flights_ == nullptr) return;
  const std::lock_guard lock{flights_->mutex_};
  const auto place = flights_->flights_.find(key_hash_);
  Flight& flight = *place->second;
  flight.has_landed = true;
  flight.result = std::move(result_);
  flight.landed.notify_all();
  flights_->flights_.erase(place);
}

Flights::Waited Flights::wait(const std::string& key_hash, const Operation& operation,
                              Clock::time_point deadline, const std::stop_token& stop) {
  std::unique_lock lock{mutex_};
  const auto place = flights_.find(key_hash);
  if (place == flights_.end()) return {.in_time = true};
  const std::shared_ptr<Flight> flight = place->second;
  if (!flight->landed.wait_until(lock, stop, deadline, [&] { return flight->has_landed; }))
    return {.in_time = false};
  if (!flight->result || !is_same(operation, flight->fingerprint).value_or(false))
    return {.in_time = true};
  return {.in_time = true, .result = as_repetition(*flight->result)};
}

}  // namespace outseal::front
