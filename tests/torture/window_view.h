// A relay's view of the log: it reads tiny pages, binds them, is restarted at any moment, and
// remembers what it has read in which window.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sim/random.h"
#include "store/subscription.h"
#include "support/history.h"

namespace outseal::test {

/// Encodes an event as one line: position, id, key, payload.
class LineSink : public Sink {
 public:
  SinkFeatures features() const override { return {}; }
  std::optional<std::string> encode(const EventRow& row, Position position,
                                    std::string& out) override;
  OpenResult open() override { return {}; }
  DeliveryResult deliver(const Batch&, std::size_t) override { return {}; }
  void close() noexcept override {}
  std::unique_ptr<SinkReader> read() override { return nullptr; }
};

/// What was read from one window, (from, to].
struct WindowRead {
  std::string from;
  std::string to;
  std::vector<std::int64_t> seqs;
};

/// Threads: Not thread-safe; one thread at a time.
class LogView {
 public:
  /// `open_second` as in store::make_log_reader().
  LogView(sql::Connection& connection, const std::vector<std::string>& topics, std::uint64_t seed,
          store::OpenConnection open_second = {});

  /// Reads a page and binds it, or is restarted instead. False if there was nothing to read.
  bool step();
  /// Steps until there is nothing to read.
  void catch_up();
  /// Reads every batch again by its journal.
  void read_all_again();

  /// In the order of positions.
  const std::vector<StoredEvent>& read() const { return read_; }
  const std::vector<WindowRead>& windows() const { return windows_; }
  std::uint64_t restarts() const { return restarts_; }
  std::uint64_t batches() const { return batches_.size(); }

 private:
  void start();
  void read_again(const Batch& bound);
  void bind(const Batch& batch);
  store::PageLimits limits();

  sql::Connection& connection_;
  store::OpenConnection open_second_;
  sim::Random random_;
  LineSink sink_;
  std::optional<store::SubscriptionLog> log_;
  Cursor cursor_;
  Tail tail_;
  std::optional<Ack> ack_;  ///< Of the last batch, still to be written.
  std::vector<Batch> batches_;
  std::vector<StoredEvent> read_;
  std::vector<WindowRead> windows_;
  std::uint64_t restarts_ = 0;
};

}  // namespace outseal::test
