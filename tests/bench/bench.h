// Benchmarks print figures measured side by side in one run, so that ratios hold on a noisy
// machine. They judge nothing by themselves: an aim that is missed is printed as missed.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

namespace outseal::bench {

/// How large a benchmark is: 1 as it is meant to be, less to see that it works.
struct Size {
  double scale = 1;

  int count(int full) const { return std::max(1, static_cast<int>(full * scale)); }
  std::chrono::duration<double> seconds(double full) const {
    return std::chrono::duration<double>{full * scale};
  }
};

// --- SQLite

/// What the service pays: a business transaction bare, with append(), and as execute().
void sqlite_append(const Size& size);
/// What the relay reaches: a drain, against a plain copy of the same rows.
void sqlite_relay(const Size& size);
/// What the service feels of many subscriptions that take none of its events.
void sqlite_subscriptions(const Size& size);
/// What a repetition costs, against a SELECT by primary key.
void sqlite_replay(const Size& size);

// --- PostgreSQL

/// What the service pays, at 1 and at 8 clients; round trips, WAL and tuples of one transaction.
void pg_producer(const Size& size);
/// What a repetition costs, against a SELECT by primary key.
void pg_replay(const Size& size);
/// What a record costs in a table of 1 and of 10 million, by the kind of its key.
void pg_records(const Size& size);
/// An operation with one effect, against two transactions with the same rows.
void pg_effect(const Size& size);
/// A drain to a null and to a file sink, against COPY of the same rows.
void pg_drain(const Size& size);
/// From commit to the sink's acknowledgement, at 1,000 events/s.
void pg_latency(const Size& size);
/// Drain and latency beside a transaction that stays open, and beside 8 busy writers.
void pg_disturbed(const Size& size);
/// Millions of events wait: when does the first one arrive, and how much memory does it take?
void pg_backlog(const Size& size);
/// What a relay costs that has nothing to do.
void pg_idle(const Size& size);
/// What writers feel of retention.
void pg_retention(const Size& size);

// --- Network sinks, from PostgreSQL

/// The relay against a plain client of the same server, and how soon an event is there.
void sink_inbox(const Size& size);
void sink_nats(const Size& size);
void sink_http(const Size& size);

/// Seconds that `body` takes.
template <typename Body>
double seconds(Body&& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// The value below which the share `part` of the values lies.
inline double quantile(std::vector<double> values, double part) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1,
                         static_cast<std::size_t>(part * static_cast<double>(values.size())))];
}

inline double median(std::vector<double> values) { return quantile(std::move(values), 0.5); }

/// "472171 (168272 to 480000)": the median, and how far the rounds lie apart.
std::string spread(const std::vector<double>& values);

/// " (aim 0.90: met)"
std::string at_least(double value, double aim);
/// " (aim below 2: missed)"
std::string below(double value, double aim);

/// A payload of 300 bytes, and no two alike if the numbers differ.
std::string payload(int number);

}  // namespace outseal::bench
