// What the front door remembers, within bounds: new keys per principal, hot replies, and which keys
// this process is executing.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <unordered_map>

#include "outseal/http_front.h"

namespace outseal::front {

using Clock = std::chrono::steady_clock;

/// A bucket of tokens per principal; the principals that were seen last are remembered.
///
/// Threads: Thread-safe.
class KeyRate {
 public:
  explicit KeyRate(const HttpFrontOptions& options);

  /// @returns when to come again if there is no token; nothing if one was taken.
  std::optional<std::chrono::milliseconds> take(const std::string& principal,
                                                Clock::time_point now);
  /// Of who turned out to need none.
  void give_back(const std::string& principal);

 private:
  struct Bucket {
    std::string principal;
    double tokens;
    Clock::time_point filled;
  };

  const double per_ms_;
  const double burst_;
  const std::size_t principals_max_;
  std::mutex mutex_;
  std::list<Bucket> buckets_;  ///< Guarded by mutex_. The one that was used last comes first.
  std::unordered_map<std::string_view, std::list<Bucket>::iterator> by_principal_;  ///< Likewise.
};

/// Final replies, by key hash. Those that were used last are kept.
///
/// Threads: Thread-safe.
class ReplyCache {
 public:
  explicit ReplyCache(const HttpFrontOptions& options);

  bool is_on() const { return bytes_max_ > 0; }
  /// What the store would answer, as far as is known here: replayed or mismatch.
  std::optional<ExecuteResult> find(const std::string& key_hash, const Operation& operation,
                                    Clock::time_point now);
  /// Keeps a reply that is stored, with all of its retention left.
  void keep(const std::string& key_hash, const Operation& operation, const ExecuteResult& result,
            Clock::time_point now);

 private:
  struct Kept {
    std::string key_hash;
    VersionedFingerprint fingerprint;
    ExecuteResult result;
    std::size_t bytes;
    Clock::time_point until;
  };
  using List = std::list<Kept>;

  void drop(List::iterator kept);

  const std::size_t bytes_max_;
  const std::size_t entries_max_;
  const Clock::duration ttl_;
  std::mutex mutex_;
  List kept_;              ///< Guarded by mutex_. The one that was used last comes first.
  std::size_t bytes_ = 0;  ///< Likewise.
  std::unordered_map<std::string_view, List::iterator> by_hash_;  ///< Likewise.
};

/// Executions of this process that others may attach to. One of them leads, the others wait for
/// what it gets.
///
/// Threads: Thread-safe.
class Flights {
 public:
  class Lead;
  struct Flight {
    VersionedFingerprint fingerprint;
    std::optional<ExecuteResult> result = {};  ///< Guarded by the mutex of all.
    bool has_landed = false;                   ///< Likewise.
    std::condition_variable_any landed = {};
  };

  /// Leads if nobody executes the key.
  std::optional<Lead> lead(const std::string& key_hash, const Operation& operation);

  struct Waited {
    bool in_time = false;
    /// The answer, if there is one that answers the same request.
    std::optional<ExecuteResult> result = {};
  };
  /// Waits for the one who leads, if there is one.
  Waited wait(const std::string& key_hash, const Operation& operation, Clock::time_point deadline,
              const std::stop_token& stop);

 private:
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Flight>, std::less<>> flights_;  ///< Guarded by mutex_.
};

/// Lands when it is destroyed, with the answer or without one.
class Flights::Lead {
 public:
  Lead(Flights& flights, std::string key_hash)
      : flights_{&flights}, key_hash_{std::move(key_hash)} {}
  ~Lead();
  Lead(Lead&& other) noexcept
      : flights_{std::exchange(other.flights_, nullptr)}, key_hash_{std::move(other.key_hash_)} {}
  Lead& operator=(Lead&&) = delete;

  void give(const ExecuteResult& result) { result_ = result; }

 private:
  Flights* flights_;
  std::string key_hash_;
  std::optional<ExecuteResult> result_;
};

}  // namespace outseal::front
