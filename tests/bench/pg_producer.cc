// A service's transaction: bare as it was before outseal, with one row more in a table of no
// consequence, with one event appended, and as an operation with an idempotency record and one
// event.
#include <libpq-fe.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "bench/bench.h"
#include "bench/pg_stage.h"

namespace outseal::bench {
namespace {

constexpr int kRounds = 5;

struct Variant {
  const char* name;
  double aim;
  void (*turn)(Client&);
};
constexpr std::array kVariants{
    Variant{"bare", 0, [](Client& client) { client.bare(); }},
    Variant{"one row", 0, [](Client& client) { client.with_row(); }},
    Variant{"append()", 0.90, [](Client& client) { client.with_append(); }},
    Variant{"execute()", 0.85, [](Client& client) { client.with_execute(); }},
};

double rate_of(const Stage& stage, int clients, const Variant& variant, const Size& size) {
  stage.checkpoint();
  const Clients running{stage, clients, variant.turn};
  running.rate(size.seconds(0.3));  // The first touch of a page after a checkpoint is dear.
  return running.rate(size.seconds(1.2));
}

void compare(const Stage& stage, int clients, const Size& size) {
  std::vector<double> bare;
  std::array<std::vector<double>, kVariants.size()> ratios;
  for (int round = 0; round < kRounds; ++round) {
    bare.push_back(rate_of(stage, clients, kVariants[0], size));
    for (std::size_t i = 1; i < kVariants.size(); ++i)
      ratios.at(i).push_back(rate_of(stage, clients, kVariants.at(i), size) / bare.back());
  }
  std::printf("  %d client%s: bare %.0f tx/s;", clients, clients == 1 ? " " : "s", median(bare));
  for (std::size_t i = 1; i < kVariants.size(); ++i) {
    const Variant& variant = kVariants.at(i);
    const double ratio = median(ratios.at(i));
    std::printf(" %s %.2f%s", variant.name, ratio,
                variant.aim > 0 ? at_least(ratio, variant.aim).c_str() : "");
  }
  std::printf(" of it\n");
}

/// Times that the client waits for the server: ReadyForQuery ends each.
int round_trips(const Stage& stage, const Variant& variant) {
  Client client{stage, 0};
  variant.turn(client);  // Prepares.
  PGconn* const handle = client.handle();
  char* text = nullptr;
  std::size_t length = 0;
  std::FILE* const trace = ::open_memstream(&text, &length);
  if (trace == nullptr) return 0;
  PQtrace(handle, trace);
  PQsetTraceFlags(handle, PQTRACE_SUPPRESS_TIMESTAMPS);
  variant.turn(client);
  PQuntrace(handle);
  std::fclose(trace);
  const std::unique_ptr<char, decltype(&std::free)> owner{text, &std::free};
  int count = 0;
  const std::string_view lines{text, length};
  for (std::size_t at = 0; (at = lines.find("ReadyForQuery", at)) != std::string_view::npos; ++at)
    ++count;
  return count;
}

/// CPU time too: it says what a transaction costs where the machine is shared or its disk is slow.
void print_cost(const Stage& stage, const Variant& variant, const Size& size) {
  const int turns = size.count(500);
  double client_s = 0;
  double server_s = 0;
  const auto run = [&] {
    Client client{stage, 0};
    const pid_t server = PQbackendPID(client.handle());
    variant.turn(client);
    client_s = -cpu_seconds(::getpid());
    server_s = -cpu_seconds(server);
    for (int i = 1; i < turns; ++i) variant.turn(client);
    client_s += cpu_seconds(::getpid());
    server_s += cpu_seconds(server);
  };
  stage.checkpoint();
  run();
  const WriteOutcome before = stage.written();
  run();
  const WriteOutcome cost = stage.written() - before;
  std::printf(
      "  per transaction, %-9s: %d round trips, %.2f syncs, %4.0f bytes of WAL, %.2f rows of "
      "outseal"
      " inserted, %.2f updated or deleted; CPU %3.0f us client, %3.0f us server\n",
      variant.name, round_trips(stage, variant), cost.wal_syncs / turns, cost.wal_bytes / turns,
      cost.inserted / turns, cost.dead() / turns, 1e6 * client_s / turns, 1e6 * server_s / turns);
}

}  // namespace

void pg_producer(const Size& size) {
  const Stage stage;
  for (const int clients : {1, 8}) compare(stage, clients, size);
  for (const Variant& variant : kVariants) print_cost(stage, variant, size);
}

}  // namespace outseal::bench
