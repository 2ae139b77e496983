#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "bench/bench.h"
#include "sql/connection.h"
#include "store/migrations.h"
#include "support/paths.h"
#include "support/temp_folder.h"

extern char** environ;

namespace outseal::bench {
namespace {

constexpr int kCopyBatch = 2'000;

void fill(const std::string& path, int events) {
  const auto connection = sql::open(Url::parse("--db", "sqlite:" + path), sql::OpenMode::create);
  store::migrate_up(*connection, store::newest_version(), [](const store::MigrationStatus&) {});
  const std::string text = payload(4711);
  sql::transact(*connection, std::chrono::seconds{5}, [&] {
    const auto insert = connection->prepare(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)"
        " INSERT INTO outseal_outbox (topic, key, type, payload)"
        " SELECT 'payments', 'k' || (i % 1000), 'paid', ?2 FROM n");
    insert->bind(0, events);
    insert->bind_text(1, text);
    insert->step();
  });
}

/// The floor: the same rows read in pages and written as bare payload lines, one fsync a page.
void copy(const std::string& database, const std::string& target) {
  const auto connection = sql::open(Url::parse("--db", "sqlite:" + database));
  const int file = ::open(target.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  const auto page = connection->prepare(
      "SELECT seq, event_id, topic, key, type, headers, payload FROM outseal_outbox WHERE seq > ?1"
      " ORDER BY seq LIMIT 2000");
  std::int64_t after = 0;
  for (int rows = kCopyBatch; rows == kCopyBatch;) {
    std::string bytes;
    page->bind(0, after);
    for (rows = 0; page->step(); ++rows) {
      after = page->integer(0);
      for (int column = 1; column <= 6; ++column) bytes += page->blob(column);
      bytes += '\n';
    }
    page->reset();
    if (::write(file, bytes.data(), bytes.size()) < 0 || ::fdatasync(file) != 0) std::abort();
  }
  ::close(file);
}

/// Peak resident memory of the relay's process, in MiB.
double drain(const std::string& database, const std::string& target) {
  const std::string program = outseal::test::program_path("outseal-relay");
  std::string db = "sqlite:" + database;
  std::string sink = "file:" + target;
  const char* argv[] = {program.c_str(), "run",    "--drain",    "--db",
                        db.c_str(),      "--sink", sink.c_str(), nullptr};
  pid_t child = 0;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  if (::posix_spawn(&child, program.c_str(), &actions, nullptr, const_cast<char**>(argv),
                    environ) != 0)
    std::abort();
  posix_spawn_file_actions_destroy(&actions);
  int status = 0;
  rusage usage{};
  if (::wait4(child, &status, 0, &usage) != child || status != 0) {
    std::fprintf(stderr, "outseal-relay ended with status %d\n", status);
    std::exit(1);
  }
  return static_cast<double>(usage.ru_maxrss) / 1024.0;
}

}  // namespace

void sqlite_relay(const Size& size) {
  const int rounds = 3;
  const int events = size.count(200'000);
  const test::TempFolder folder;
  const std::string full = folder.file("full.db");
  fill(full, events);
  std::vector<double> drain_s;
  std::vector<double> ratio;
  double memory_mib = 0;
  for (int round = 0; round < rounds; ++round) {
    const std::string database = folder.file("round.db");
    for (const char* suffix : {"", "-wal", "-shm"}) std::filesystem::remove(database + suffix);
    std::filesystem::copy_file(full, database);
    if (std::filesystem::exists(full + "-wal"))
      std::filesystem::copy_file(full + "-wal", database + "-wal");
    const std::string target = folder.file("events-" + std::to_string(round) + ".ndjson");
    const double a = seconds([&] { copy(database, folder.file("copy")); });
    const double b = seconds([&] { memory_mib = std::max(memory_mib, drain(database, target)); });
    drain_s.push_back(b);
    ratio.push_back(a / b);
  }
  std::printf(
      "  SQLite to file, %d events of 300 bytes: %.0f events/s with fsync per batch,"
      " %.2f of a plain copy of the rows, peak memory %.1f MiB (medians of %d)\n",
      events, events / median(drain_s), median(ratio), memory_mib, rounds);
}

}  // namespace outseal::bench
