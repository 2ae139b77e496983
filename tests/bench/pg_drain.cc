// How fast the relay empties a full log, against the fastest way to get the same rows out of
// PostgreSQL; and how fast beside others who use the database.
#include <libpq-fe.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>
#include <stdexcept>

#include "bench/bench.h"
#include "bench/pg_relay.h"
#include "bench/pg_stage.h"

namespace outseal::bench {
namespace {

constexpr int kRounds = 3;
constexpr int kEvents = 500'000;

/// Seconds that all rows of the outbox take on their way to a client that forgets them.
double copy(const Stage& stage) {
  const std::unique_ptr<PGconn, decltype(&PQfinish)> connection{
      PQconnectdb(stage.conninfo().c_str()), &PQfinish};
  return seconds([&] {
    PQclear(
        PQexec(connection.get(), "COPY (SELECT * FROM outseal.outbox) TO STDOUT (FORMAT binary)"));
    char* row = nullptr;
    while (PQgetCopyData(connection.get(), &row, 0) > 0) PQfreemem(row);
    const std::unique_ptr<PGresult, decltype(&PQclear)> end{PQgetResult(connection.get()),
                                                            &PQclear};
    if (PQresultStatus(end.get()) != PGRES_COMMAND_OK)
      throw std::runtime_error{PQerrorMessage(connection.get())};
  });
}

/// Drains to one kind of sink, of which the fastest copy is to be beaten.
struct Series {
  SinkUrl sink;
  const char* name;
  double aim;
  std::vector<double> rates = {};
  std::vector<double> copy_rates = {};
  std::vector<double> ratios = {};
  WriteOutcome written = {};
  Drain last = {};
  double memory_mib = 0;

  void add(const Stage& stage) {
    stage.checkpoint();
    const double copy_s = copy(stage);
    const WriteOutcome before = stage.written();
    reset_own_peak_memory();
    last = drain(stage, sink);
    memory_mib = std::max(memory_mib, peak_memory_mib("self"));
    written = stage.written() - before;
    rates.push_back(static_cast<double>(last.events) / last.seconds);
    copy_rates.push_back(static_cast<double>(last.events) / copy_s);
    ratios.push_back(copy_s / last.seconds);
  }
  void print() const {
    const auto events = static_cast<double>(last.events);
    std::printf(
        "  %s sink: %s events/s, %.2f of COPY at %s%s; %.1f bytes of WAL and %.4f dead tuples an "
        "event,"
        " %.0f events a batch, peak memory %.1f MiB\n",
        name, spread(rates).c_str(), median(ratios), spread(copy_rates).c_str(),
        at_least(median(ratios), aim).c_str(), written.wal_bytes / events, written.dead() / events,
        events / static_cast<double>(last.batches), memory_mib);
  }
};

/// A measurement beside one kind of disturbance.
template <typename Figure>
struct Beside {
  const char* name;
  std::function<std::shared_ptr<void>(const Stage&)> disturb;
  std::vector<Figure> figures = {};
};

template <typename Figure>
std::array<Beside<Figure>, 3> disturbances() {
  return {{{"undisturbed", [](const Stage&) { return nullptr; }},
           {"long transaction",
            [](const Stage& stage) { return std::make_shared<LongTransaction>(stage); }},
           {"8 busy writers", [](const Stage& stage) {
              return std::make_shared<Clients>(stage, 8,
                                               [](Client& client) { client.with_append(); });
            }}}};
}

void disturbed_drain(const Size& size) {
  const Stage stage;
  const int events = size.count(kEvents);
  stage.fill(events);
  auto series = disturbances<double>();
  for (int round = 0; round < kRounds; ++round)
    for (auto& beside : series) {
      stage.checkpoint();
      const auto disturbance = beside.disturb(stage);
      beside.figures.push_back(events / drain(stage, "null:", events).seconds);
    }
  for (const auto& beside : series) {
    std::vector<double> ratios;
    for (int round = 0; round < kRounds; ++round) {
      const auto at = static_cast<std::size_t>(round);
      ratios.push_back(beside.figures[at] / series[0].figures[at]);
    }
    std::printf("  drain, %-16s: %s events/s, %.2f of undisturbed%s\n", beside.name,
                spread(beside.figures).c_str(), median(ratios),
                &beside == &series[1] ? at_least(median(ratios), 0.95).c_str() : "");
  }
}

void disturbed_latency(const Size& size) {
  auto series = disturbances<Latency>();
  for (int round = 0; round < kRounds; ++round)
    for (auto& beside : series)
      beside.figures.push_back(latency("null:", size.seconds(3), beside.disturb));
  const auto middle = [](const Beside<Latency>& beside, double Latency::*part) {
    std::vector<double> values;
    for (const Latency& figure : beside.figures) values.push_back(figure.*part);
    return median(values);
  };
  const auto ratio = [&](const Beside<Latency>& beside, double Latency::*part) {
    return middle(series[0], part) / middle(beside, part);
  };
  for (const auto& beside : series) {
    const bool judged = &beside == &series[1];
    std::printf("  latency, %-16s: p50 %.2f, p95 %.2f, p99 %.2f ms; as good as undisturbed by",
                beside.name, middle(beside, &Latency::p50), middle(beside, &Latency::p95),
                middle(beside, &Latency::p99));
    for (const auto part : {&Latency::p50, &Latency::p99})
      std::printf(" %.2f%s", ratio(beside, part),
                  judged ? at_least(ratio(beside, part), 0.95).c_str() : "");
    std::printf(" (p50, p99)\n");
  }
}

}  // namespace

void pg_drain(const Size& size) {
  const Stage stage;
  stage.fill(size.count(kEvents));
  std::array series{Series{"null:", "null", 0.65}, Series{"file:", "file", 0.50}};
  for (int round = 0; round < kRounds; ++round)
    for (Series& one : series) one.add(stage);
  for (const Series& one : series) one.print();
  std::printf("  medians (and range) of %d rounds of %d events\n", kRounds, size.count(kEvents));
}

void pg_disturbed(const Size& size) {
  disturbed_drain(size);
  disturbed_latency(size);
}

}  // namespace outseal::bench
