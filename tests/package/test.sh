#!/usr/bin/env bash
# test.sh BUILD_DIR CXX: installs BUILD_DIR into a temporary prefix, checks how that was built,
# uses all of it, and builds the strangers' project against it, with SOCI and without.
set -euo pipefail
build=$1 cxx=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --prefix "$work/prefix" >"$work/install.log"
"$here/hardening.sh" "$work/prefix"
"$here/use.sh" "$work/prefix" "$cxx"

cmake -S "$here" -B "$work/build" -G Ninja -DCMAKE_CXX_COMPILER="$cxx" \
  -DCMAKE_PREFIX_PATH="$work/prefix" >"$work/configure.log"
cmake --build "$work/build" >"$work/build.log" || { cat "$work/build.log"; exit 1; }

# needs_soci FILE: prints what it has of SOCI.
needs_soci() { { ldd "$1"; nm -C "$1"; } | grep -E '\bsoci(::|_)|libsoci'; }
needs_soci "$work/build/stranger_soci" >/dev/null || { echo "SOCI is not recognised" >&2; exit 1; }
for file in "$work/build/stranger_plain" "$work"/prefix/bin/outseal-*; do
  ! needs_soci "$file" || { echo "$file needs SOCI" >&2; exit 1; }
done
