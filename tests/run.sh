#!/usr/bin/env bash
# Builds outseal three times and runs every test in one ctest run.
#
#   gcc    g++, -Werror, failpoints and mutants compiled in
#   asan   the same with AddressSanitizer and UndefinedBehaviorSanitizer
#   tsan   clang++, -Werror, with ThreadSanitizer
#
# Installs what is missing on Debian 12 (as root or through sudo), works from any folder and needs
# no network once the packages are there. It writes to build/ and to the temporary folder.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build

usage() {
  cat <<'USAGE'
usage: tests/run.sh [--quick] [--soak] [--help]

  --quick   only the gcc build, without the tests that are labelled long
  --soak    long loops: thousands of kills, millions of schedules; takes an hour or more
  --help    this text

Environment: OUTSEAL_SEED repeats a randomised test with the seed that it printed.
The exit code is ctest's: 0 if every test passed.
USAGE
}

quick=false
test_seconds_max=900
while [[ $# -gt 0 ]]; do
  case "$1" in
    --quick) quick=true ;;
    --soak) export OUTSEAL_SOAK=1 test_seconds_max=86400 ;;
    --help) usage; exit 0 ;;
    *) echo "tests/run.sh: unknown option $1" >&2; usage >&2; exit 2 ;;
  esac
  shift
done

say() { printf '[%4d s] %s\n' "$SECONDS" "$*"; }

# compile VARIANT CMAKE_OPTION...: configures and builds build/VARIANT; the log is shown on failure.
compile() {
  local variant=$1 log=$build/$1.log
  shift
  say "$variant: compiling (log: build/$variant.log)"
  if ! { cmake -S "$root" -B "$build/$variant" -G Ninja -DOUTSEAL_TEST_PREFIX="$variant." \
           -DOUTSEAL_FAULTS=ON -DOUTSEAL_WERROR=ON \
           -DOUTSEAL_TEST_TIMEOUT="$test_seconds_max" "$@" &&
         cmake --build "$build/$variant" --parallel "$(nproc)"; } >"$log" 2>&1; then
    tail -n 60 "$log" >&2
    say "$variant: does not build" >&2
    exit 1
  fi
}

say "packages: checking"
"$root/tests/support/install_packages.sh" tests
mkdir -p "$build"

compile gcc -DCMAKE_CXX_COMPILER=g++ -DCMAKE_EXPORT_COMPILE_COMMANDS=ON -DOUTSEAL_LINT=ON
variants=(gcc)
if ! $quick; then
  light=-DCMAKE_CXX_FLAGS_RELWITHDEBINFO="-O1 -g1"  # Compiles in half the time.
  compile asan "$light" -DCMAKE_CXX_COMPILER=g++ -DOUTSEAL_ASAN=ON -DOUTSEAL_TEST_SCALE=10
  compile tsan "$light" -DCMAKE_CXX_COMPILER=clang++ -DOUTSEAL_TSAN=ON -DOUTSEAL_TEST_SCALE=5
  variants+=(asan tsan)
fi

# One run over all builds, so that the last lines tell the whole truth.
mkdir -p "$build/all"
printf 'subdirs(../%s)\n' "${variants[@]}" >"$build/all/CTestTestfile.cmake"
selection=()
$quick && selection=(--label-exclude '^long$')

# These compilers' sanitizers do not start under the wide address randomisation of new kernels.
fixed_addresses=()
setarch --addr-no-randomize true 2>/dev/null && fixed_addresses=(setarch --addr-no-randomize)

say "tests: running"
status=0
"${fixed_addresses[@]}" ctest --test-dir "$build/all" --output-on-failure \
  --no-tests=error --parallel "$(nproc)" "${selection[@]}" || status=$?
say "done"
exit "$status"
