#!/usr/bin/env bash
# Builds (Release, without failpoints) and runs the benchmarks. Figures are ratios within one run.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$root/build/bench
cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release >/dev/null
cmake --build "$build" --target outseal_bench outseal-relay >/dev/null
"$build/bin/outseal_bench" append "${1:-2000}"
"$build/bin/outseal_bench" relay "${2:-200000}"
