#include "bench/bench.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <optional>
#include <sstream>
#include <string_view>

#include "support/temp_folder.h"

namespace outseal::bench {
namespace {

struct Benchmark {
  std::string_view group;
  std::string_view name;
  void (*run)(const Size&);
  std::string_view summary;
};

constexpr std::array kBenchmarks{
    Benchmark{"sqlite", "sqlite_append", sqlite_append, "a service's transaction with events"},
    Benchmark{"sqlite", "sqlite_relay", sqlite_relay, "drain to a file against a plain copy"},
    Benchmark{"sqlite", "sqlite_subscriptions", sqlite_subscriptions,
              "a service beside many subscriptions"},
    Benchmark{"sqlite", "sqlite_replay", sqlite_replay, "repetitions against a SELECT by key"},
    Benchmark{"postgres", "pg_producer", pg_producer,
              "a service's transaction bare, with append(), as execute()"},
    Benchmark{"postgres", "pg_replay", pg_replay, "repetitions against a SELECT by key"},
    Benchmark{"postgres", "pg_records", pg_records,
              "execute() with many records, by the kind of its keys"},
    Benchmark{"postgres", "pg_effect", pg_effect,
              "an operation with one effect against two bare transactions"},
    Benchmark{"postgres", "pg_drain", pg_drain, "drain to null and file against COPY"},
    Benchmark{"postgres", "pg_latency", pg_latency, "commit to acknowledgement at 1,000 events/s"},
    Benchmark{"postgres", "pg_disturbed", pg_disturbed,
              "drain and latency beside a long transaction and busy writers"},
    Benchmark{"postgres", "pg_backlog", pg_backlog, "5 million events wait for the relay"},
    Benchmark{"postgres", "pg_idle", pg_idle, "CPU and queries of an idle relay"},
    Benchmark{"postgres", "pg_retention", pg_retention, "a writer beside retention"},
    Benchmark{"sinks", "sink_inbox", sink_inbox, "a SQL inbox against inserts of many rows"},
    Benchmark{"sinks", "sink_nats", sink_nats, "a stream against js_PublishMsgAsync"},
    Benchmark{"sinks", "sink_http", sink_http, "webhooks against plain posts"},
};

/// Of the folder that the benchmarks write to, for example "ext4".
std::string file_system_of(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return "unknown";
  std::ostringstream wanted;
  wanted << major(status.st_dev) << ':' << minor(status.st_dev);
  std::ifstream mounts{"/proc/self/mountinfo"};
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream fields{line};
    std::string skipped;
    std::string device;
    std::string field;
    std::string type;
    fields >> skipped >> skipped >> device;
    while (fields >> field && field != "-") {
    }
    if (fields >> type && device == wanted.str()) return type;
  }
  return "unknown";
}

/// Milliseconds that the disk takes to make a block durable: what bounds every commit. Where they
/// scatter by steps of some milliseconds, it is the CPU that was waited for.
std::vector<double> sync_times(const std::string& path) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0) return {};
  const std::string block(8192, 'x');
  std::vector<double> times;
  for (int i = 0; i < 200; ++i)
    times.push_back(1e3 * seconds([&] {
                      if (::pwrite(file, block.data(), block.size(), i * 8192) < 0 ||
                          ::fdatasync(file) != 0)
                        std::perror("fdatasync");
                    }));
  ::close(file);
  return times;
}

std::string field_of(const char* file, std::string_view name) {
  std::ifstream lines{file};
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with(name))
      return line.substr(line.find_first_not_of(" \t", line.find(':') + 1));
  return "unknown";
}

/// Above this, other programs take so much of the machine that ratios mean little. Chosen by us.
constexpr double kLoadMax = 0.5;

void print_machine(const Size& size) {
  double load = 0;
  ::getloadavg(&load, 1);
  const test::TempFolder folder;
  const auto syncs = sync_times(folder.file("sync"));
  const long memory_mib = ::sysconf(_SC_PHYS_PAGES) / 1024 * ::sysconf(_SC_PAGE_SIZE) / 1024;
  std::printf("machine: %s, %ld cores, %ld MiB; %s, block synced in %.2f ms (p10 %.2f, p90 %.2f)\n",
              field_of("/proc/cpuinfo", "model name").c_str(), ::sysconf(_SC_NPROCESSORS_ONLN),
              memory_mib, file_system_of(folder.path().string()).c_str(), median(syncs),
              quantile(syncs, 0.1), quantile(syncs, 0.9));
#ifdef OUTSEAL_FAULTS
  std::printf("build: %s with failpoints\n", OUTSEAL_BUILD_TYPE);
#else
  std::printf("build: %s\n", OUTSEAL_BUILD_TYPE);
#endif
  if (load > kLoadMax)
    std::printf("NOT QUIET: load average %.1f; what follows shows only that it works\n", load);
  if (size.scale != 1)
    std::printf("NOT FULL SIZE: scale %.3g; what follows shows only that it works\n", size.scale);
}

/// Keeps idle cores awake as long as it lives, if it may. A virtual core that has slept wakes up
/// after 50 us or more: as much as what is measured, and only for whoever has to wait longer.
/// Source: Linux's documentation, "PM Quality Of Service Interface".
class AwakeCores {
 public:
  AwakeCores() : file_{::open("/dev/cpu_dma_latency", O_WRONLY | O_CLOEXEC)} {
    constexpr std::int32_t kLatency_us = 0;
    const bool held = file_ >= 0 && ::write(file_, &kLatency_us, sizeof kLatency_us) > 0;
    std::printf("  idle cores: %s\n",
                held ? "kept awake" : "may sleep (root could keep them awake); ratios get worse");
  }
  ~AwakeCores() {
    if (file_ >= 0) ::close(file_);
  }
  AwakeCores(const AwakeCores&) = delete;
  AwakeCores& operator=(const AwakeCores&) = delete;

 private:
  int file_;
};

int usage(std::FILE* to) {
  std::fputs(
      "usage: outseal_bench [--scale FACTOR] [NAME]...\n"
      "NAME is a benchmark or a group; all run if none is given. FACTOR makes numbers and times\n"
      "smaller, to see that everything works.\n\n",
      to);
  for (const Benchmark& benchmark : kBenchmarks)
    std::fprintf(to, "  %-9s %-14s %s\n", benchmark.group.data(), benchmark.name.data(),
                 benchmark.summary.data());
  return to == stdout ? 0 : 2;
}

int run(int argc, char** argv) {
  Size size;
  std::vector<const Benchmark*> chosen;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--help") return usage(stdout);
    if (word == "--scale" && i + 1 < argc) {
      size.scale = std::atof(argv[++i]);
      if (!(size.scale > 0 && size.scale <= 10)) return usage(stderr);
      continue;
    }
    const std::size_t before = chosen.size();
    for (const Benchmark& benchmark : kBenchmarks)
      if (word == benchmark.name || word == benchmark.group) chosen.push_back(&benchmark);
    if (chosen.size() == before) return usage(stderr);
  }
  if (chosen.empty())
    for (const Benchmark& benchmark : kBenchmarks) chosen.push_back(&benchmark);
  std::setvbuf(stdout, nullptr, _IOLBF, 0);  // Figures come when they are there, also into a file.
  print_machine(size);
  for (const Benchmark* benchmark : chosen) {
    std::printf("\n%s: %s\n", benchmark->name.data(), benchmark->summary.data());
    std::optional<AwakeCores> awake;  // But not where sleep is what is measured.
    if (benchmark->run != pg_idle) awake.emplace();
    const double took = seconds([&] { benchmark->run(size); });
    std::printf("  (took %.0f s)\n", took);
  }
  return 0;
}

}  // namespace

std::string spread(const std::vector<double>& values) {
  std::array<char, 96> text{};
  std::snprintf(text.data(), text.size(), "%.0f (%.0f to %.0f)", median(values),
                quantile(values, 0), quantile(values, 1));
  return text.data();
}

std::string at_least(double value, double aim) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), " (aim %.2f: %s)", aim, value >= aim ? "met" : "missed");
  return text.data();
}

std::string below(double value, double aim) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), " (aim below %g: %s)", aim,
                value < aim ? "met" : "missed");
  return text.data();
}

std::string payload(int number) {
  std::string text = R"({"order":)" + std::to_string(number) + R"(,"text":")";
  text.resize(298, 'x');
  return text + R"("})";
}

}  // namespace outseal::bench

int main(int argc, char** argv) {
  // As outseal-relay does: pages of megabytes come and go.
  static_cast<void>(::mallopt(M_TRIM_THRESHOLD, 32 << 20));
  static_cast<void>(::mallopt(M_MMAP_THRESHOLD, 16 << 20));
  try {
    return outseal::bench::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "outseal_bench: %s\n", error.what());
    return 70;
  }
}
