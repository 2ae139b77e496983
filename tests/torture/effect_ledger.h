// A provider of payments that several processes call: its ledger is a file that a kill of its
// callers does not touch, and its clock moves only by hand.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "outseal/effects.h"

struct sqlite3;

namespace outseal::test {

/// How a provider deals with requests.
struct ProviderModel {
  enum class Delivery {
    prompt,  ///< Applied and answered.
    lost,    ///< Applied; the first answer to a key is lost.
    late,    ///< Applied after its caller has given up; a request with a known key is answered.
  };
  std::string name;
  bool honours_keys = true;
  Delivery delivery = Delivery::prompt;

  /// How long a late request is on its way.
  static constexpr std::chrono::seconds kLateness{45};
  ProviderProfile profile() const;
};

/// Threads: Not thread-safe; one thread at a time, one object a process.
class Ledger {
 public:
  Ledger(const std::string& path, const ProviderModel& model);
  ~Ledger();
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  CallResult request(const std::string& key);
  AskResult ask(const std::string& key);
  CancelResult cancel(const std::string& key);
  /// What is on its way for long enough arrives.
  void pass(std::chrono::milliseconds time);

  /// Of one key: requests that left, and charges that stand.
  std::int64_t requests(const std::string& key);
  std::int64_t charges(const std::string& key);

 private:
  void run(const std::string& sql, const std::string& key = {});
  std::int64_t number(const std::string& sql, const std::string& key = {});
  void charge(const std::string& key);

  sqlite3* handle_ = nullptr;
  const ProviderModel& model_;
};

}  // namespace outseal::test
