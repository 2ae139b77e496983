#include "bench/bench.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

namespace {

void print_machine() {
  std::ifstream cpu{"/proc/cpuinfo"};
  std::string line;
  std::string model = "unknown";
  while (std::getline(cpu, line))
    if (line.starts_with("model name")) model = line.substr(line.find(':') + 2);
  std::printf("machine: %s, %ld cores; temporary files on the disk of $TMPDIR\n", model.c_str(),
              ::sysconf(_SC_NPROCESSORS_ONLN));
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  const int size = argc > 2 ? std::atoi(argv[2]) : 0;
  if (what != "append" && what != "relay") {
    std::fputs("usage: outseal_bench append [TRANSACTIONS] | relay [EVENTS]\n", stderr);
    return 2;
  }
  print_machine();
  if (what == "append") outseal::bench::append(7, size > 0 ? size : 2'000);
  if (what == "relay") outseal::bench::relay(3, size > 0 ? size : 200'000);
  return 0;
}
