#!/usr/bin/env bash
# Builds outseal three times and its fuzz targets, and runs every test in one ctest run.
#
#   gcc    g++, -Werror, failpoints and mutants compiled in
#   asan   clang++, -Werror, with AddressSanitizer and UndefinedBehaviorSanitizer
#   tsan   the same with ThreadSanitizer
#   fuzz   clang++, libFuzzer with AddressSanitizer: the targets of tests/fuzz and what they reach
#
# Installs what is missing on Debian 12 (as root or through sudo), works from any folder and needs
# no network once the packages are there. It writes to build/ and to the temporary folder.
#
# The store suite runs on the oldest and the newest supported PostgreSQL as well as on Debian's.
# Their servers are fetched once, with npm, into build/postgres/; where that is impossible, tests
# on them are skipped, by name.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build

usage() {
  cat <<'USAGE'
usage: tests/run.sh [--quick] [--soak] [--postgres VERSIONS] [--help]

  --quick   only the gcc build, without the tests that are labelled long
  --soak    long loops: thousands of kills, millions of schedules; takes an hour or more
  --postgres all | 13,17,...
            only the gcc build, and only the store suite, roles, migrations and torture, on
            PostgreSQL servers of these versions, which are fetched with npm; fails if one of
            them cannot be fetched
  --help    this text

Environment: OUTSEAL_SEED repeats a randomised test with the seed that it printed.
The exit code is ctest's: 0 if every test passed.
USAGE
}

refuse() { echo "tests/run.sh: $*" >&2; usage >&2; exit 2; }

postgres_all=(13 14 16 17 18)  # Besides Debian's; known to support/fetch_postgres.sh.
postgres=()
quick=false
test_seconds_max=900
while [[ $# -gt 0 ]]; do
  case "$1" in
    --quick) quick=true ;;
    --soak) export OUTSEAL_SOAK=1 test_seconds_max=86400 ;;
    --postgres)
      IFS=, read -ra postgres <<<"${2:-}"
      [[ ${2:-} == all ]] && postgres=("${postgres_all[@]}")
      [[ ${#postgres[@]} -gt 0 ]] || refuse "--postgres needs versions: all, or 13,17"
      for version in "${postgres[@]}"; do
        [[ " ${postgres_all[*]} " == *" $version "* ]] ||
          refuse "--postgres: '$version' is none of" "${postgres_all[@]}"
      done
      shift ;;
    --help) usage; exit 0 ;;
    *) refuse "unknown option $1" ;;
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

only_postgres=false
if [[ ${#postgres[@]} -gt 0 ]]; then
  only_postgres=true
elif ! $quick; then
  postgres=("${postgres_all[0]}" "${postgres_all[-1]}")
fi
fetched=true
if [[ ${#postgres[@]} -gt 0 ]]; then
  say "PostgreSQL ${postgres[*]}: fetching what is not in build/postgres"
  "$root/tests/support/fetch_postgres.sh" "$build/postgres" "${postgres[@]}" || fetched=false
  $fetched || $only_postgres || say "the tests on these versions will be SKIPPED" >&2
fi

compile gcc -DCMAKE_CXX_COMPILER=g++ -DCMAKE_EXPORT_COMPILE_COMMANDS=ON -DOUTSEAL_LINT=ON
variants=(gcc)
if ! $quick && ! $only_postgres; then
  light=-DCMAKE_CXX_FLAGS_RELWITHDEBINFO="-O1 -g1"  # Compiles in half the time.
  compile asan "$light" -DCMAKE_CXX_COMPILER=clang++ -DOUTSEAL_ASAN=ON -DOUTSEAL_TEST_SCALE=10
  compile tsan "$light" -DCMAKE_CXX_COMPILER=clang++ -DOUTSEAL_TSAN=ON -DOUTSEAL_TEST_SCALE=5
  compile fuzz "$light" -DCMAKE_CXX_COMPILER=clang++ -DOUTSEAL_FUZZ=ON
  variants+=(asan tsan fuzz)
fi

# One run over all builds, so that the last lines tell the whole truth.
mkdir -p "$build/all"
printf 'subdirs(../%s)\n' "${variants[@]}" >"$build/all/CTestTestfile.cmake"
if $only_postgres; then
  selection=(--tests-regex "^gcc[.]pg($(IFS='|'; echo "${postgres[*]}"))[.]")
elif $quick; then
  selection=(--label-exclude '^(long|other_postgres)$')
else
  selection=(--label-exclude '^other_postgres$')
fi

# These compilers' sanitizers do not start under the wide address randomisation of new kernels.
fixed_addresses=()
setarch --addr-no-randomize true 2>/dev/null && fixed_addresses=(setarch --addr-no-randomize)

say "tests: running"
status=0
# One more than there are processors: most tests wait for servers half of the time.
"${fixed_addresses[@]}" ctest --test-dir "$build/all" --output-on-failure \
  --no-tests=error --parallel "$(($(nproc) + 1))" "${selection[@]}" || status=$?
if $only_postgres && ! $fetched; then
  say "not all of PostgreSQL ${postgres[*]} could be tested" >&2
  status=1
fi
say "done"
exit "$status"
