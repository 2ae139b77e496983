#!/usr/bin/env bash
# Builds (Release, without failpoints) and runs the benchmarks: all, or those that are named.
#   run.sh [--scale FACTOR] [sqlite | postgres | sinks | NAME]...      run.sh --help lists the names
# Figures are ratios within one run; let nothing else run beside it. All of it takes six minutes.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$root/build/bench
cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release >/dev/null
cmake --build "$build" --target outseal_bench outseal-relay >/dev/null
exec "$build/bin/outseal_bench" "$@"
