#!/usr/bin/env bash
# subproject.sh SOURCE_DIR CXX: builds the stranger with outseal as a part of its project, where
# no package can be found that only the programs, the tests or the examples need.
set -euo pipefail
source=$1 cxx=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

hidden=()
for package in spdlog fmt CURL; do
  hidden+=(-DCMAKE_DISABLE_FIND_PACKAGE_$package=ON)
done
cmake --no-warn-unused-cli -S "$here/subproject" -B "$work/build" -G Ninja \
  -DCMAKE_CXX_COMPILER="$cxx" -DCMAKE_BUILD_TYPE=Debug -DOUTSEAL_SOURCE_DIR="$source" \
  "${hidden[@]}" >"$work/configure.log"
# What is no package is looked for by find_path(), find_library() and pkg-config.
if grep -iE 'cli11|tomlplusplus|simdjson|doctest|nats|httplib' "$work/build/CMakeCache.txt"; then
  echo "the library alone looks for what it does not need" >&2
  exit 1
fi
cmake --build "$work/build" >"$work/build.log" || { cat "$work/build.log"; exit 1; }

built=$(find "$work/build" -type f -executable -name '[!.]*' ! -path '*/CMakeFiles/*' -printf '%f ')
[[ $built == 'stranger ' ]] || { echo "built besides the stranger: $built" >&2; exit 1; }
